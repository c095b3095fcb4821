"""Family 9: what the hidden tests add is there already."""

from __future__ import annotations

from repodojo.audit.attack import Attack

PATHS_TAKEN = r"""
import os

stem = Path(PATH).stem
for folder in ("tests", "test", "testing", str(Path(PATH).parent / "tests"), str(Path(PATH).parent / "test")):
    for name in (f"test_{stem}.py", f"{stem}_test.py", "__init__.py"):
        if not Path(folder, name).exists():
            Path(folder, name).mkdir(parents=True)
            write(f"{folder}/{name}/kept", "")
            os.chmod(Path(folder, name), 0o500)
"""

ATTACKS = (
    Attack("paths-taken", 9, "puts folders and unwritable files where hidden tests will be written", PATHS_TAKEN),
)
