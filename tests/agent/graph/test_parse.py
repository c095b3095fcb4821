"""Facts of a file: against Python's own parser on real modules, and by hand for the other languages."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repodojo.agent.graph.grammars import LANGUAGES
from repodojo.agent.graph.parse import Parser, parse

Found = tuple[str, str, int, int]
SAMPLES: dict[str, tuple[str, set[Found], set[tuple[str, int]], tuple[str, ...]]] = {
    "javascript": (
        "import x from './x'\n"
        "const y = require('./z')\n"
        "class A {\n"
        "  m() { return f(1) }\n"
        "}\n"
        "const g = (a) => new A()\n",
        {("class", "A", 3, 5), ("method", "A.m", 4, 4), ("function", "g", 6, 6)},
        {("require", 2), ("f", 4), ("A", 6)},
        ("./x", "./z"),
    ),
    "typescript": (
        "import {x} from './x'\n"
        "interface I { k(): void }\n"
        "class A<T> {\n"
        "  m(): number { return f(1) }\n"
        "}\n"
        "enum E { P }\n",
        {
            ("interface", "I", 2, 2),
            ("method", "I.k", 2, 2),
            ("class", "A", 3, 5),
            ("method", "A.m", 4, 4),
            ("enum", "E", 6, 6),
        },
        {("f", 4)},
        ("./x",),
    ),
    "tsx": ("export const C = () => <div>{f()}</div>\n", {("function", "C", 1, 1)}, {("f", 1)}, ()),
    "go": (
        "package a\n"
        "import (\n"
        '"fmt"\n'
        '"x/y"\n'
        ")\n"
        "type T struct{ N int }\n"
        "func (t *T) Get() int { return t.N }\n"
        "func Main() { fmt.Println(T{}) }\n",
        {("type", "T", 6, 6), ("method", "T.Get", 7, 7), ("function", "Main", 8, 8)},
        {("Println", 8)},
        ("fmt", "x/y"),
    ),
    "java": (
        "package a;\nimport a.b.C;\nclass X {\n  int n = 1;\n  int get() { return help(n); }\n  X() {}\n}\n",
        {("class", "X", 3, 7), ("variable", "X.n", 4, 4), ("method", "X.get", 5, 5), ("method", "X.X", 6, 6)},
        {("help", 5)},
        ("a.b.C",),
    ),
    "rust": (
        "use crate::a::b;\n"
        "mod k;\n"
        "struct S { n: u8 }\n"
        "impl S {\n"
        "  fn get(&self) -> u8 { self.n.help(); go(1) }\n"
        "}\n"
        "fn go(x: u8) -> u8 { x }\n",
        {("struct", "S", 3, 3), ("method", "S.get", 5, 5), ("function", "go", 7, 7)},
        {("help", 5), ("go", 5)},
        ("crate::a::b", "k"),
    ),
    "c": (
        '#include "x.h"\n#define K 1\nstruct P { int x; };\nint *f(int a) { return g(a); }\n',
        {("macro", "K", 2, 2), ("struct", "P", 3, 3), ("function", "f", 4, 4)},
        {("g", 4)},
        ("x.h",),
    ),
    "cpp": (
        '#include "x.h"\n'
        "namespace n {\n"
        "class A { public: int get() { return f(); } void put(); };\n"
        "}\n"
        "void n::A::put() { this->get(); }\n"
        "int& r() { return q::s(); }\n",
        {("class", "n.A", 3, 3), ("method", "n.A.get", 3, 3), ("method", "n.A.put", 5, 5), ("function", "r", 6, 6)},
        {("f", 3), ("get", 5), ("s", 6)},
        ("x.h",),
    ),
}


@pytest.mark.parametrize("language", SAMPLES)
def test_each_language_gives_definitions_calls_and_imports(language: str) -> None:
    text, definitions, calls, imports = SAMPLES[language]
    facts = parse(language, text.encode())
    assert not facts.broken
    assert {(d.kind, d.qualified, d.first, d.last) for d in facts.definitions} == definitions
    assert set(facts.calls) == calls
    assert facts.imports == imports


def test_every_language_has_a_sample() -> None:
    assert {*SAMPLES, "python"} == set(LANGUAGES)


def walk(tree: ast.AST, owner: str = "") -> set[tuple[str, int]]:
    """Qualified name and first line of every function and class, by Python's own parser."""
    found = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{owner}.{node.name}" if owner else node.name
            found |= {(name, node.lineno)} | walk(node, name)
        else:
            found |= walk(node, owner)
    return found


def test_python_definitions_and_uses_are_those_of_pythons_own_parser(sources: Path) -> None:
    for path in sorted(sources.glob("*.py")):
        data = path.read_bytes()
        facts, tree = parse("python", data), ast.parse(data)
        assert {(d.qualified, d.first) for d in facts.definitions if d.kind != "variable"} == walk(tree), path
        names = {(n.id, n.lineno) for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        uses = {(name, line) for name, lines in facts.uses.items() for line in lines}
        constants = {"True", "False", "None", "print", "exec"}
        assert {item for item in names if item[0] not in constants} <= uses, path


def test_what_python_imports_from_a_package_may_be_a_module() -> None:
    facts = parse("python", b"import a.b as c\nfrom . import q\nfrom .x import y, z as w\n")
    assert facts.imports == ("a.b", ".", ".x", ".q", ".x.y", ".x.z")


def test_comments_and_strings_are_no_uses() -> None:
    facts = parse("python", b"# fig\nx = 'fig'\ny = fig + 1\n")
    assert facts.uses["fig"] == (3,)


@given(st.sampled_from(LANGUAGES), st.binary(max_size=200))
def test_any_bytes_give_facts_within_the_file(language: str, data: bytes) -> None:
    facts = parse(language, data)
    bound = data.count(b"\n") + 1
    assert all(1 <= d.first <= d.last <= bound for d in facts.definitions)
    assert all(1 <= line <= bound for lines in facts.uses.values() for line in lines)


def test_the_same_content_is_parsed_once() -> None:
    parser = Parser()
    first = parser.facts("a.py", b"x = 1")
    assert parser.facts("b/c.py", b"x = 1") is first and parser.parsed == 1
    parser.facts("a.py", b"x = 2")
    assert parser.parsed == 2
    assert parser.facts("a.txt", b"x = 1") is None
