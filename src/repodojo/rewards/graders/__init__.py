"""Graders beside a task's test ids: a command is run in the box that grades, and something that it leaves is read."""
