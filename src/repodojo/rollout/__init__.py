"""Episodes: orders, the workers that play them, and the groups that come back."""
