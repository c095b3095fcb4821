"""Byte code beside a tree's sources: importing a package from source alone cost more than running its tests.

Each file is stamped with a hash of its source, so a changed source is compiled anew whoever changed it. What was
compiled from a file that a task edits would hold the answer: `mask` takes it out of the box before anything runs.
"""

from __future__ import annotations

import compileall
import glob
import os
import re
import warnings
from pathlib import Path
from py_compile import PycInvalidationMode

FOLDER = "__pycache__"


def compile_tree(folder: Path, inside: str) -> None:
    """Compile every source below `folder`, named as it is called at `inside` the box. Broken sources are left out, and
    what the compiler thinks of old code is nobody's business here."""
    warnings.filterwarnings("ignore", category=SyntaxWarning, module=re.escape(inside))
    compileall.compile_dir(
        folder,
        quiet=2,
        force=True,
        stripdir=str(folder),
        prependdir=inside,
        invalidation_mode=PycInvalidationMode.CHECKED_HASH,
    )


def of(root: str, path: str) -> list[str]:
    """The byte code of the source at `path` below `root`, for every interpreter: paths relative to `root`."""
    folder, name = os.path.split(path)
    stem = glob.escape(os.path.join(folder, FOLDER, name.removesuffix(".py")))
    return sorted(glob.glob(f"{stem}.*.pyc", root_dir=root))


def mask(root: str, path: str) -> None:
    """Remove the byte code of the source at `path` below `root`."""
    for found in of(root, path):
        os.unlink(os.path.join(root, found))
