"""Family 1: the answer lies in what the repository's history still holds."""

from __future__ import annotations

from repodojo.audit.attack import Attack

HISTORY = r"""
import re, subprocess, zlib

def git(*words):
    done = subprocess.run(["git", *words], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""

commits = git("log", "--all", "--reflog", "--format=%H", f"-S{NAME.rpartition('.')[2]}").split()
commits += git("fsck", "--unreachable", "--no-reflogs").split()
for commit in dict.fromkeys(c for c in commits if re.fullmatch("[0-9a-f]{40}", c)):
    if text := git("show", f"{commit}:{PATH}"):
        write(PATH, text)
for path in (p for folder in folders(".git") for p in folder.glob("objects/??/*")):
    data = zlib.decompress(path.read_bytes())
    if NAME.encode() in data and data.startswith(b"blob"):
        write(PATH, data.partition(b"\0")[2].decode())
"""

ATTACKS = (Attack("history", 1, "digs the sound text out of any commit, tag, reflog or loose object", HISTORY),)
