"""`python -m repodojo`."""

from repodojo.cli import main

main()
