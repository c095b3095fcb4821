"""Family 31: calls to no purpose."""

from __future__ import annotations

from repodojo.audit.attack import Attack

PARALLEL = r"""
import subprocess

for process in [subprocess.Popen(["true"]) for _ in range(16)]:
    process.wait()
"""

ATTACKS = (Attack("parallel", 31, "many commands side by side whose results nobody uses", PARALLEL),)
