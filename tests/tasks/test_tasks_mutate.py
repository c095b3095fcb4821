"""Mutants of real sources: they parse, stay in their function's body, and can be taken back."""

from __future__ import annotations

import ast
import json.decoder
import random
import statistics
import textwrap
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repodojo.tasks.discover import FunctionInfo, functions, prune, pytest_ids
from repodojo.tasks.mutate import KINDS, mutants

MODULES = [textwrap, statistics, json.decoder, random]


def source_of(module: ModuleType) -> str:
    assert module.__file__
    with open(module.__file__, encoding="utf-8", newline="") as stream:
        return stream.read()


def by_name(source: str) -> dict[str, FunctionInfo]:
    return {f.qualname: f for f in functions("m.py", source)}


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_a_mutant_changes_one_function_and_no_docstring(module: ModuleType) -> None:
    source = source_of(module)
    before = by_name(source)
    for function in list(before.values())[:12]:
        for mutant in mutants(source, function, random.Random(0), per_kind=2):
            broken = mutant.edit.apply(source)
            after = by_name(broken)
            changed = {n for n in before if n not in after or after[n].digest != before[n].digest}
            assert changed == {function.qualname}, mutant
            assert [f.docstring for f in after.values()] == [f.docstring for f in before.values()]
            assert mutant.edit.inverse(source).apply(broken) == source


@given(seed=st.integers(0, 10_000), index=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_mutants_are_distinct_and_drawn_from_the_seed(seed: int, index: int) -> None:
    source = source_of(statistics)
    found = functions("statistics.py", source)
    function = found[index % len(found)]
    first, again = (mutants(source, function, random.Random(seed), per_kind=3) for _ in range(2))
    assert first == again
    trees = [ast.dump(ast.parse(m.edit.apply(source))) for m in first]
    assert len(set(trees)) == len(trees) and ast.dump(ast.parse(source)) not in trees


EXAMPLE = '''
def f(a, b, flag=True):
    """Doc with if a < b inside."""
    café = a + 1
    if not flag and a < b:
        return g(a, b)
    return [café, b][0:2]
'''


def test_every_kind_has_its_mutants() -> None:
    function = functions("m.py", EXAMPLE)[0]
    texts = {kind: [] for kind in KINDS}  # type: dict[str, list[str]]
    for mutant in mutants(EXAMPLE, function, random.Random(0), per_kind=50):
        texts[mutant.kind].append(mutant.edit.apply(EXAMPLE))
    assert all(texts.values()), {kind: len(found) for kind, found in texts.items()}
    assert any("g(b, a)" in text for text in texts["swapped-arguments"])
    assert any("a >" in text for text in texts["comparison"])
    assert any("if not (not flag and a < b):" in text for text in texts["inverted-condition"])
    assert any("flag or a < b" in text for text in texts["boolean"])
    assert any("café = a - 1" in text for text in texts["arithmetic"])


def test_a_pruned_test_file_keeps_helpers_and_the_wanted_tests() -> None:
    source = "import x\n\nHELP = 1\n\n@mark\ndef test_a():\n    pass\n\nclass TestB:\n    k = 2\n"
    source += "    def test_c(self): pass\n    def test_d(self): pass\n\nclass TestE:\n    def test_f(self): pass\n"
    names = ["test_a", "TestB::test_c", "TestB::test_d", "TestE::test_f"]
    assert pytest_ids("t.py", source) == [f"pytest:t.py::{name}" for name in names]
    text = prune(source, ["TestB::test_d"])
    assert "HELP" in text and "test_d" in text and "k = 2" in text
    assert "test_a" not in text and "@mark" not in text and "test_c" not in text and "TestE" not in text
