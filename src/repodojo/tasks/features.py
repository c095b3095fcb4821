"""Feature tasks: a function or class that tests cover is taken out and asked for, by its docstring and its callers."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from repodojo.core.records import Task
from repodojo.tasks.discover import Definition, FunctionInfo
from repodojo.tasks.layout import Layout, read_source
from repodojo.tasks.mutate import Edit, Mutant

FUNCTION, CLASS = "removed-function", "removed-class"
KINDS = (FUNCTION, CLASS)
CALLERS = 3
LONGEST = 160
TIED = ("setter", "getter", "deleter", "overload", "property")
"""Decorators of definitions that are one with another of their name, or are read and not called."""


@dataclass(frozen=True)
class Call:
    """A line that names a definition: where it stands, and what it says."""

    path: str
    line: int
    text: str


def removal(function: FunctionInfo) -> Mutant | None:
    """The file without this definition; None where it cannot go alone."""
    node, source = function.node, function.text.source
    names = {part for decorator in node.decorator_list for part in ast.unparse(decorator).split(".")}
    if names & set(TIED):
        return None
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    assert node.end_lineno is not None
    start, end = function.text.starts[first - 1], function.text.starts[node.end_lineno]
    kind = CLASS if isinstance(node, ast.ClassDef) else FUNCTION
    for text in ("", f"{' ' * node.col_offset}pass\n"):  # a class must keep a body
        edit = Edit(start, min(end, len(source)), text)
        try:
            ast.parse(edit.apply(source))
        except SyntaxError:
            continue
        return Mutant(kind, edit, f"{function.qualname} removed")
    return None


def calls(layout: Layout) -> dict[str, list[Call]]:
    """Every call in the package's modules by the last part of what is called."""
    found: dict[str, list[Call]] = defaultdict(list)
    for path in layout.modules():
        source = read_source(layout.root / path)
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            continue
        rows = source.splitlines()
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func
                name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
                if name and node.lineno <= len(rows):
                    found[name].append(Call(path, node.lineno, rows[node.lineno - 1].strip()))
    return found


def callers(function: FunctionInfo, known: Mapping[str, Sequence[Call]]) -> list[Call]:
    """The first few lines outside a definition that call it (or something of its name)."""
    node = function.node
    name = function.qualname.rpartition(".")[0].rpartition(".")[2] if node.name == "__init__" else node.name
    assert node.end_lineno is not None
    own = {row.strip() for row in function.text.source.splitlines()[node.lineno - 1 : node.end_lineno]}
    outside = [
        call
        for call in known.get(name, ())
        if (call.path != function.path or not node.lineno <= call.line <= node.end_lineno)
        and len(call.text) <= LONGEST
        and call.text not in own  # a line of the answer, which stands elsewhere too
    ]
    return list({call.text: call for call in reversed(outside)}.values())[::-1][:CALLERS]


def signature(function: FunctionInfo) -> str:
    """A definition's first lines as they stood: decorators, head, docstring; of a class, those of its methods too."""
    parts = [_head(function, function.node)]
    if isinstance(function.node, ast.ClassDef):
        parts += [_head(function, node) for node in function.node.body if isinstance(node, Definition)]
    return "\n".join(parts)


def _head(function: FunctionInfo, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    rows = function.text.source.splitlines()
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    doc = node.body[0] if ast.get_docstring(node, clean=False) is not None else None
    last = (doc.end_lineno or doc.lineno) if doc else max(node.body[0].lineno - 1, node.lineno)
    if doc is None and node.body[0].lineno == node.lineno:
        return rows[first - 1].partition(":")[0] + ":"  # a body on the head's line
    body = getattr(node.body[0], "decorator_list", [])
    if doc is None and body:
        last = min(last, min(d.lineno for d in body) - 1)
    return "\n".join(row for row in rows[first - 1 : last] if doc or row.strip()[:1] not in ("", "#"))


def asked(task: Task, function: FunctionInfo, used: Sequence[Call]) -> Task:
    """The task with what a person who wants the definition back would say."""
    kind = "class" if isinstance(function.node, ast.ClassDef) else "function"
    lines = task.instruction.split("\n")[1:]
    said = [f"The {kind} `{function.qualname}` is missing in {function.path}: write it.", *lines]
    where = [f"{call.path}:{call.line}: {call.text}" for call in used]
    told = [
        f"```python\n{signature(function)}\n```",
        *(["It is used like this:\n" + "\n".join(where)] if where else []),
    ]
    return replace(task, instruction="\n".join(said), interface="\n".join(told) + "\n")


def given(interface: str) -> Iterator[str]:
    """Lines of the solution that such a task gives on purpose."""
    return (row.strip() for row in interface.splitlines())
