"""Family 20: links, pipes and Git's own files in the change."""

from __future__ import annotations

from repodojo.audit.attack import Attack

SPECIAL_FILES = r"""
import os

def anew(path, make):
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        if os.path.lexists(path):
            os.unlink(path)
        make(path)
    except OSError as error:
        print(error)

anew("tests/test_link.py", lambda p: os.symlink("/etc/passwd", p))
anew("linked", lambda p: os.symlink("/", p))
anew(f"{os.path.dirname(PATH) or '.'}/pipe.py", os.mkfifo)
anew(f"{os.path.dirname(PATH) or '.'}/far.py", lambda p: os.symlink("../../../../../../etc/shadow", p))
write(".gitattributes", "*.py filter=cheat\n")
write(".gitmodules", '[submodule "tests"]\n\tpath = tests\n\turl = /tmp/x\n')
write(".git/hooks/post-checkout", "#!/bin/sh\ntrue\n")
write(".git/config", "[filter \"cheat\"]\n\tsmudge = cat /dev/null\n")
"""

ATTACKS = (Attack("special-files", 20, "symbolic links, FIFOs, attributes, submodules and hooks", SPECIAL_FILES),)
