"""Tasks from a repository's history: commits that change code and tests together, run before and after."""
