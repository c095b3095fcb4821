"""Injected bugs: pure functions from a function's (or class's) source to small changes of it."""

from repodojo.tasks.mutate.engine import ALL_KINDS, KINDS, OF_CLASSES, mutants
from repodojo.tasks.mutate.spans import Edit, Mutant

__all__ = ["ALL_KINDS", "KINDS", "OF_CLASSES", "Edit", "Mutant", "mutants"]
