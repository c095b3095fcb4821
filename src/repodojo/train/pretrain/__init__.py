"""How the small base that ships with the package is made: sources of index packages and random transcripts."""
