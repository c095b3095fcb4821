"""A repository in eleven languages, each file edited twice, and a few commits that make no edit."""

from __future__ import annotations

from pathlib import Path

from tiny_history import Git

LINES = {
    "python": ("app/main.py", "value_{n} = compute({n}, scale=2)"),
    "rust": ("src/lib.rs", "let value_{n} = compute({n}, 2);"),
    "typescript": ("web/app.ts", "const value{n}: number = compute({n}, 2);"),
    "javascript": ("web/old.js", "var value{n} = compute({n}, 2);"),
    "go": ("cmd/main.go", "value{n} := compute({n}, 2)"),
    "java": ("src/Main.java", "int value{n} = compute({n}, 2);"),
    "c": ("src/core.c", "int value_{n} = compute({n}, 2);"),
    "c++": ("src/core.cpp", "auto value_{n} = compute({n}, 2);"),
    "ruby": ("lib/core.rb", "value_{n} = compute({n}, scale: 2)"),
    "php": ("web/index.php", "$value{n} = compute({n}, 2);"),
    "kotlin": ("src/App.kt", "val value{n} = compute({n}, 2)"),
}
COUNT = 90


def text(language: str, **changed: str) -> str:
    """A file of COUNT lines; `changed` maps "line_N" to other text."""
    line = LINES[language][1]
    return "".join(changed.get(f"line_{n}", line.replace("{n}", str(n))) + "\n" for n in range(COUNT))


def build(root: Path) -> Git:
    """The repository: first everything, then one hunk a commit, then two hunks in one."""
    git = Git(root)
    git.commit("Begin", {path: text(name) for name, (path, _) in LINES.items()} | {"LICENSE": "Apache License 2.0"})
    for name, (path, line) in LINES.items():
        one = line.replace("{n}", "7").replace("compute", "recompute")
        git.commit(f"fix({name}): recompute the seventh value (#3)", {path: text(name, line_7=one)})
        two = line.replace("{n}", "60").replace("compute", "recompute")
        three = line.replace("{n}", "20").replace("2", "3")
        both = text(name, line_7=one, line_20=three, line_60=two)
        git.commit("wip", {path: both})
    git.commit("Only white space", {"app/main.py": (root / "app/main.py").read_text().replace("(1, ", "(1,  ")})
    git.commit("Say more", {"README.md": "more\n", "vendor/x.py": "a = 1\n"})
    git.commit("Vendor", {"vendor/x.py": "a = 2\n"})
    return git
