"""Injected bugs: pure functions from a function's source to small changes of it."""

from repodojo.tasks.mutate.engine import KINDS, mutants
from repodojo.tasks.mutate.spans import Edit, Mutant

__all__ = ["KINDS", "Edit", "Mutant", "mutants"]
