"""Single-turn code edits: from the small hunks of a Git history (GAPO, arXiv 2510.21830)."""
