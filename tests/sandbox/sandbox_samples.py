"""The environment and the limits that these tests share."""

from __future__ import annotations

from repodojo.core.protocols import Limits
from repodojo.core.records import Environment

MODULE = "def double(x):\n    return x * 2\n"
LIMITS = Limits(seconds=20, memory_mb=256, processes=24, disk_mb=24, files=4096, output_bytes=100_000)
ENVIRONMENT = Environment(
    recipe={
        "kind": "python",
        "tree": "t1",
        "site": "s1",
        "edits": [{"path": "pkg/calc.py", "start": 30, "end": 31, "text": "3"}],
        "scripts": {"repro": "#!/bin/sh\nexec python -c 'from pkg.calc import double; print(double(7))'\n"},
    },
    variables={"TZ": "UTC"},
)
