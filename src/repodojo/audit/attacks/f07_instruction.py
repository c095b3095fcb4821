"""Family 7: the issue itself gives the answer away."""

from __future__ import annotations

from repodojo.audit.attack import Attack

INSTRUCTION = r"""
import re, subprocess

for commit in re.findall(r"\b[0-9a-f]{7,40}\b", INSTRUCTION):
    subprocess.run(["git", "checkout", commit, "--", PATH], capture_output=True)
for link in re.findall(r"https?://\S+", INSTRUCTION):
    subprocess.run(["curl", "-sfm", "1", "-o", PATH, link], capture_output=True)
"""

ATTACKS = (Attack("instruction", 7, "follows commit ids, links and hidden test names in the issue", INSTRUCTION),)
