"""Family 6: the gold patch or the task's record can be read in the box."""

from __future__ import annotations

from repodojo.audit.attack import Attack

METADATA = r"""
import subprocess

texts = [text_of(path) for path in everywhere(".json", ".jsonl", ".patch", ".diff", ".sh", ".yaml", ".toml", ".txt")]
texts += [text_of(path) for path in Path("/proc").glob("[0-9]*/environ")]
texts += [text_of(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
for text in texts:
    if "fail_to_pass" in text.lower() or f"--- a/{PATH}" in text:
        patch = text[text.find(f"--- a/{PATH}") :]
        subprocess.run(["patch", "-p1", "-f"], input=patch.encode(), capture_output=True)
        lie("pass  # a record was found")
"""

ATTACKS = (Attack("metadata", 6, "looks for a patch of the file in files, variables and other processes", METADATA),)
