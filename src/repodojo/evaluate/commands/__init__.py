"""How well terminal commands are written: a set of prompts in three shells, and what came of it."""
