"""Family 23: the process ends early, with success."""

from __future__ import annotations

from repodojo.audit.attack import Attack, lying

IN_CALL = lying("import os\nos._exit(0)")
AT_IMPORT = lying("pass", "import sys\nsys.exit(0)")
AT_END = lying("pass", "import atexit, os\natexit.register(os._exit, 0)")

ATTACKS = (
    Attack("exit-in-call", 23, "os._exit(0) when the function is called", IN_CALL),
    Attack("exit-at-import", 23, "sys.exit(0) when the module is imported", AT_IMPORT),
    Attack("exit-at-end", 23, "an exit handler that ends with 0 whatever happened", AT_END),
)
