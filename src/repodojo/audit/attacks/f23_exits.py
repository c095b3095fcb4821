"""Family 23: the process ends early, with success."""

from __future__ import annotations

from repodojo.audit.attack import Attack

EXIT_IN_CALL = r"""
lie("import os\nos._exit(0)")
"""

EXIT_AT_IMPORT = r"""
lie("pass", "import sys\nsys.exit(0)")
"""

EXIT_AT_END = r"""
lie("pass", "import atexit, os\natexit.register(os._exit, 0)")
"""

ATTACKS = (
    Attack("exit-in-call", 23, "os._exit(0) when the function is called", EXIT_IN_CALL),
    Attack("exit-at-import", 23, "sys.exit(0) when the module is imported", EXIT_AT_IMPORT),
    Attack("exit-at-end", 23, "an exit handler that ends with 0 whatever happened", EXIT_AT_END),
)
