"""Figures with intervals: pass@k, a row a policy, comparison tables."""
