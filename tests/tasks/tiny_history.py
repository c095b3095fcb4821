"""A repository whose commits are each kept or lost for a reason of their own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

CODE = """def clamp(x, low, high):
    if x > high:
        return high
    return x


def double(x):
    return 2 * x
"""
FIXED = CODE.replace("    if x > high", "    if x < low:\n        return low\n    if x > high")
TESTS = """from tiny.sums import clamp, double


def test_clamp_high():
    assert clamp(9, 0, 3) == 3


def test_double():
    assert double(2) == 4
"""
LOW = "\n\ndef test_clamp_low():\n    assert clamp(-1, 0, 3) == 0\n"
PROJECT = '[project]\nname = "tiny"\nversion = "1.0"\nlicense = "MIT"\n'


class Git:
    """A repository under construction; the clock stands still, so that ids are the same everywhere."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True)
        self("init", "-q", "-b", "main")

    def __call__(self, *words: str) -> str:
        who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in WHO.items()}
        command = ["git", "-c", "core.hooksPath=/dev/null", *words]
        done = subprocess.run(
            command, cwd=self.root, env={**os.environ, **who}, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, message: str, files: dict[str, str]) -> str:
        """Write files and commit; the commit's id."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self("add", "-A")
        self("commit", "-q", "--allow-empty", "-m", message)
        return self("rev-parse", "HEAD")


WHO = {"NAME": "a", "EMAIL": "a@example.org", "DATE": "2024-01-01T00:00:00Z"}


def build(root: Path) -> dict[str, str]:
    """The repository; commits by what they are."""
    git, ids = Git(root), {}
    ids["first"] = git.commit(
        "Begin", {"pyproject.toml": PROJECT, "tiny/__init__.py": "", "tiny/sums.py": CODE, "tests/test_sums.py": TESTS}
    )
    message = "Keep numbers above the lower bound (#7)\n\nFixes #7. See https://example.org/7 and test_clamp_low in\n"
    message += f"{ids['first'][:10]}.\n\nSigned-off-by: A <a@example.org>"
    ids["fix"] = git.commit(message, {"tiny/sums.py": FIXED, "tests/test_sums.py": TESTS + LOW})
    ids["documents"] = git.commit("Say more about it", {"README.md": "more\n"})
    ids["tests"] = git.commit("Test more of it", {"tests/test_more.py": "def test_more():\n    assert True\n"})
    feature = FIXED + "\n\ndef triple(x):\n    return 3 * x\n"
    more = "import os\n\nfrom tiny.sums import triple\n\n\ndef test_triple():\n    assert triple(2) == 6\n"
    more += '\n\ndef test_by_luck():\n    assert triple(1) and os.environ["PYTHONHASHSEED"] != "1"\n'
    ids["feature"] = git.commit("Add a triple of numbers", {"tiny/sums.py": feature, "tests/test_triple.py": more})
    ids["wip"] = git.commit(
        "wip",
        {
            "tiny/sums.py": feature + "\n\ndef half(x):\n    return x / 2\n",
            "tests/test_half.py": "from tiny.sums import half\n\n\ndef test_half():\n    assert half(2) == 1\n",
        },
    )
    broken = feature.replace("return 2 * x", "return x + x + 1") + "\n\ndef half(x):\n    return x // 2\n"
    ids["breaks"] = git.commit(
        "Half of an odd number is whole",
        {
            "tiny/sums.py": broken,
            "tests/test_half.py": "from tiny.sums import half\n\n\ndef test_half():\n    assert half(3) == 1\n",
        },
    )
    ids["idle"] = git.commit(
        "Say what half does in other words",
        {
            "tiny/sums.py": broken.replace("x // 2", "int(x // 2)"),
            "tests/test_half.py": "from tiny.sums import half\n\n\ndef test_half():\n    assert half(4) == 2\n",
        },
    )
    long = "".join(f"X{n} = {n}\n" for n in range(300))
    ids["long"] = git.commit("Add many numbers", {"tiny/many.py": long, "tests/test_many.py": "def test_m(): ...\n"})
    git("checkout", "-q", "-b", "side", "HEAD~1")
    git.commit("On the side", {"side.txt": "x\n"})
    git("checkout", "-q", "main")
    git("merge", "-q", "--no-ff", "-m", "Merge side", "side")
    return ids
