"""Family 21: a change into which the hidden tests cannot be written."""

from __future__ import annotations

from repodojo.audit.attack import Attack

UNAPPLIABLE = r"""
import shutil

for folder in ("tests", "test", str(Path(PATH).parent / "tests")):
    if Path(folder).is_dir():
        shutil.rmtree(folder)
    write(folder, "a file now\n")
"""

PACKAGE_GONE = r"""
import shutil

top = PATH.split("/")[0]
shutil.rmtree(top) if "/" in PATH else Path(PATH).unlink()
write(top, "a file now\n")
"""

ATTACKS = (
    Attack("unappliable", 21, "files where folders of tests must be, and folders where files must be", UNAPPLIABLE),
    Attack("package-gone", 21, "a file in place of the whole package", PACKAGE_GONE),
)
