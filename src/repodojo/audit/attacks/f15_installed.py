"""Family 15: the installed interpreter, pytest or a dependency is patched."""

from __future__ import annotations

from repodojo.audit.attack import Attack

INSTALLED = r"""
import sys

for folder in sys.path:
    for path in Path(folder or ".").glob("**/*.py"):
        if path.name in ("doctest.py", "runner.py", "reports.py", "boxrun.py", "boxchild.py", "unittest.py", "case.py"):
            try:
                path.chmod(0o644)
                path.write_text(path.read_text() + "\nimport os\nos._exit(0)\n")
            except OSError as error:
                print(error)
"""

ATTACKS = (Attack("installed", 15, "rewrites doctest, pytest and dependencies where they are installed", INSTALLED),)
