"""Patches: whatever git makes, its reverse takes back, and names and parts are found in it."""

from __future__ import annotations

import difflib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repodojo.core.errors import TaskError
from repodojo.tasks import patches

LINES = st.lists(st.sampled_from(["a", "b", "-- c", "++ d", "", "--- a/x", "@@ -1 +1 @@", " e", "diff --git a/x b/x"]))
TEXTS = st.tuples(LINES, st.booleans()).map(lambda t: "\n".join(t[0]) + ("\n" if t[1] and t[0] else ""))


def diff(old: str, new: str) -> str:
    rows = difflib.unified_diff(old.splitlines(True), new.splitlines(True), "a/x.py", "b/x.py")
    return "".join(row if row.endswith("\n") else f"{row}\n\\ No newline at end of file\n" for row in rows)


@given(old=TEXTS, new=TEXTS)
@settings(max_examples=40)
def test_the_reverse_takes_a_patch_back(old: str, new: str) -> None:
    patch = diff(old, new)
    if not patch:
        return
    assert patches.paths(patch) == ["x.py"]
    files = {"x.py": old.encode()}
    assert patches.applied(patch, files)["x.py"] == new.encode()
    assert patches.applied(patches.reverse(patch), {"x.py": new.encode()})["x.py"] == old.encode()
    assert patches.reverse(patches.reverse(patch)) == patch


def git(root: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words],
        cwd=root, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip


def test_new_deleted_renamed_and_executable_files(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    before = {"keep.py": "a\nb\nc\n", "gone.py": "x\n", "old name.py": "1\n2\n3\n4\n5\n", "run.sh": "exit\n"}
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "one")
    (tmp_path / "gone.py").unlink()
    (tmp_path / "old name.py").rename(tmp_path / "new name.py")
    (tmp_path / "fresh.py").write_text("new\n")
    (tmp_path / "keep.py").write_text("a\nB\nc")
    (tmp_path / "run.sh").chmod(0o755)
    git(tmp_path, "add", "-A")
    patch = git(tmp_path, "diff", "--cached", "-M")
    assert sorted(patches.paths(patch)) == ["fresh.py", "gone.py", "keep.py", "new name.py", "run.sh"]
    bytes_before = {name: text.encode() for name, text in before.items()}
    after = patches.applied(patch, bytes_before)
    assert after["gone.py"] is None and after["old name.py"] is None
    assert after["fresh.py"] == b"new\n" and after["keep.py"] == b"a\nB\nc"
    now = {k: v for k, v in {**bytes_before, **after}.items() if v is not None}
    back = patches.applied(patches.reverse(patch), now)
    assert {k: v for k, v in {**now, **back}.items() if v is not None} == bytes_before
    assert patches.applied(patch, now, back=True) == back
    assert patches.paths(patches.only(patch, lambda path: path == "keep.py")) == ["keep.py"]


def test_a_patch_that_does_not_fit_and_a_binary_one() -> None:
    with pytest.raises(TaskError, match="does not fit"):
        patches.applied(diff("a\n", "b\n"), {"x.py": b"other\n"})
    with pytest.raises(TaskError, match="binary"):
        patches.reverse("diff --git a/x b/x\nindex 1..2 100644\nGIT binary patch\nliteral 0\n")
