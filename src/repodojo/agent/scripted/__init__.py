"""Policies without a model, of the same interface: references for every table, and the explorer behind the base."""
