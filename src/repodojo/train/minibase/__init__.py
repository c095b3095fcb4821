"""A small base for mini-swe-agent: transcripts of a random explorer in that agent's own prompts and shell blocks."""
