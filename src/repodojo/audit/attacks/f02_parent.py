"""Family 2: the commit before the bug."""

from __future__ import annotations

from repodojo.audit.attack import Attack

PARENT = r"""
import subprocess

for revision in ("HEAD~1", "HEAD^", "ORIG_HEAD", "stash@{0}", "origin/HEAD", "main", "master"):
    subprocess.run(["git", "checkout", revision, "--", PATH], capture_output=True)
"""

ATTACKS = (Attack("parent", 2, "checks out the file from the parent commit, a stash or ORIG_HEAD", PARENT),)
