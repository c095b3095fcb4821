"""Repodojo turns a Git repository into a school for coding agents."""

__version__ = "0.1.0"
