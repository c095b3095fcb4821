"""Scripted policies on real functions: their edits fit, differ, cover the families, and repeat by seed."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from repodojo.agent.policy import Script
from repodojo.agent.scripted.edits import CLASSES, Edit, Listing
from repodojo.agent.scripted.lexer import pieces_of
from repodojo.agent.scripted.scripts import (
    SUBMIT,
    UNDO,
    Explorer,
    NegateFirstIf,
    RandomEdit,
    TestedSearch,
    is_green,
    run_tests,
    scripted,
    slip,
)
from repodojo.agent.tools.base import View, numbered
from repodojo.agent.tools.editor import EditError, EditorArguments, replaced
from repodojo.core.errors import ConfigError
from repodojo.inference.chat import ChatFormat
from repodojo.inference.toolcalls import RawCall, parse
from repodojo.train.pretrain.corpus import Function
from repodojo.train.pretrain.dataset import LIMITS
from repodojo.train.pretrain.transcripts import transcript

FAMILIES = {family for family, _ in CLASSES} | {"variable", "negation", "constant", "off-by-one", "swap", "statement"}
FIRST = 120
CODE = "def take(n, items):\n    if n < 0 and items:\n        return items[n - 1]\n    return items[:n]"


def opening(code: str = CODE) -> list[str]:
    listing = "\n".join(map(numbered, itertools.count(FIRST), code.split("\n")))
    return ["system", f"`take` fails.\nRun `repro` to see it fail.\n```python\n{listing}\n```"]


def edits_of(text: str) -> list[Edit]:
    calls = [call.arguments for call in parse(text) if isinstance(call, RawCall) and "old_str" in call.arguments]
    return [Edit("", c["line"], c["old_str"], c["new_str"]) for c in calls]


def edited(code: str, edit: Edit, first: int = 1) -> str:
    """The code after an edit, as the editor makes it; `code` begins at line `first`."""
    arguments = EditorArguments(command="str_replace", line=edit.line, old_str=edit.old, new_str=edit.new)
    return replaced("\n" * (first - 1) + code, arguments, View())[0][first - 1 :]


def test_every_drawn_edit_stands_once_differs_and_is_plain(functions: list[Function]) -> None:
    rng = random.Random(5)
    seen: Counter[str] = Counter()
    for function in functions:
        listing = Listing(function.code)
        for _ in range(6):
            edit = listing.draw(rng)
            if edit is None:
                continue
            seen[edit.family] += 1
            assert edited(function.code, edit) != function.code and edit.old != edit.new
            for text in (edit.old, edit.new):
                assert text.isascii() and text.isprintable() and '"' not in text and "\\" not in text
    assert set(seen) == FAMILIES and min(seen.values()) >= 10


def test_every_candidate_that_can_be_written_changes_its_own_line_only(functions: list[Function]) -> None:
    rng = random.Random(6)
    broken: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    for function in functions[:60]:
        listing = Listing(function.code)
        for family, candidates in listing.by_family.items():
            for candidate in rng.sample(candidates, min(3, len(candidates))):
                edit = listing.edit(candidate)
                if edit is None:
                    continue
                after = edited(function.code, edit).split("\n")
                differ = [i for i, (a, b) in enumerate(zip(listing.lines, after, strict=True)) if a != b]
                assert differ == [candidate.line] == [edit.line - 1] and edit.family == family == candidate.family
                old = listing.lines[candidate.line]
                assert len(after[candidate.line]) - len(after[candidate.line].lstrip()) == len(old) - len(old.lstrip())
                tried[family] += 1
                broken[family] += not parses("\n".join(after))
    assert sum(broken.values()) < 0.15 * sum(tried.values()), broken  # well-typed mostly means that it still parses


def parses(code: str) -> bool:
    try:
        compile(code, "edited.py", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def test_edits_of_a_small_function_are_the_ones_a_reader_expects() -> None:
    listing = Listing(CODE)
    rng = random.Random(0)
    drawn = [edit for _ in range(900) if (edit := listing.draw(rng))]
    lines = {line.strip() for edit in drawn for line in edited(CODE, edit).split("\n")}
    assert listing.names == ["items", "n"]
    assert lines >= {
        "if not n < 0 and items:",
        "if n <= 0 and items:",
        "if n < 0 or items:",
        "if n < 1 and items:",
        "if items < 0 and items:",
        "return items[n + 1]",
        "return items[n]",
        "return items[:n + 1]",
        "pass  # return items[:n]",
    }
    assert Listing("").draw(rng) is None and Listing("def f():\n    ...").draw(rng, tries=0) is None


def test_pieces_are_the_tokens_of_a_line() -> None:
    line = """    if x_1>=2 and 'a # b' != f"{y}":  # why"""
    pieces = pieces_of(line, 3)
    assert [p.text for p in pieces] == ["if", "x_1", ">=", "2", "and", "'a # b'", "!=", 'f"{y}"', ":"]
    assert all(line[p.start : p.end].lstrip() == p.text and p.line == 3 for p in pieces)
    assert pieces_of("   ", 0) == [] and [p.kind for p in pieces_of("é'", 0)][-1] == "string"


def play(script: Script, outputs: Sequence[str]) -> list[str]:
    """Turns of a script that is answered with `outputs`."""
    texts = opening()
    turns = []
    for output in outputs:
        turns.append(script(texts))
        texts += [turns[-1], output]
    return turns


def test_tested_search_never_repeats_an_edit_and_undoes_what_is_red() -> None:
    turns = play(TestedSearch(3, tries=20), ["edited line 2\n1 failed"] * 21)
    edits = [edit for turn in turns for edit in edits_of(turn)]
    assert len(edits) == len(set(edits)) == 20
    assert turns[-1] == SUBMIT
    assert UNDO not in turns[0] and all(turn.startswith(UNDO) for turn in turns[1:-1])
    assert all(turn.endswith(run_tests(opening())) for turn in turns[:-1])
    assert play(TestedSearch(3, tries=20), ["1 failed"] * 21) == turns


def test_tested_search_submits_when_green() -> None:
    turns = play(
        TestedSearch(4), ["edited line 2\n1 failed, 0 passed", "undid the last edit\nedited line 2\n3 passed", ""]
    )
    assert turns[2] == SUBMIT and SUBMIT not in turns[:2]


@pytest.mark.parametrize(
    ("output", "green"),
    [
        ("3 passed", True),
        ("x\n3 passed, 1 skipped in 0.02s\n", True),
        ("10 passed, 0 failed", True),
        ("0 failed, 10 passed", True),
        ("10 failed, 1 passed", False),
        ("1 passed, 1 error", False),
        ("1 passed\n[stopped: time limit]", False),
        ("", False),
        ("no tests ran", False),
    ],
)
def test_green_is_passes_and_nothing_else(output: str, green: bool) -> None:
    assert is_green(output) == green


def test_negate_first_if_is_without_chance() -> None:
    texts = opening()
    turns = {NegateFirstIf(seed)(texts) for seed in range(5)}
    assert len(turns) == 1
    (edit,) = edits_of(turns.pop())
    assert edited(CODE, edit, FIRST).split("\n")[1] == "    if not n < 0 and items:"
    assert NegateFirstIf(0)([*texts, "turn", "edited line 2"]) == SUBMIT
    assert NegateFirstIf(0)(opening("def f(x):\n    return x")) == SUBMIT


def test_random_edit_makes_one_edit_and_submits() -> None:
    turns = {RandomEdit(seed)(opening()) for seed in range(30)}
    assert len(turns) > 5 and all(len(edits_of(turn)) == 1 for turn in turns)
    assert RandomEdit(0)([*opening(), "turn", "edited"]) == SUBMIT
    assert RandomEdit(0)(["system", "an issue without a listing"]) == SUBMIT


async def test_the_explorers_calls_are_taken_by_the_real_tools(functions: list[Function], chat: ChatFormat) -> None:
    results: Counter[tuple[str, str]] = Counter()
    for seed, function in enumerate(functions[:150]):
        played = await transcript(function, chat, seed, LIMITS)
        assert not any(turn.format_error for turn in played.turns)
        for turn in played.turns:
            for call, result in zip(turn.calls, turn.results, strict=True):
                results[str(call.arguments.get("command")) if call.name == "editor" else call.name, result.error] += 1
    edits = {error: count for (name, error), count in results.items() if name == "str_replace"}
    assert sum(edits.values()) > 200
    assert edits[""] > 0.99 * sum(edits.values()), edits
    assert {name for name, _ in results} == {"str_replace", "undo", "bash", "search", "view", "submit"}
    assert results["undo", ""] and not results["undo", "nothing-to-undo"]


def test_an_explorer_repeats_by_seed() -> None:
    one, same, other = (Explorer(seed) for seed in (1, 1, 2))
    texts = opening()
    turns = [[script(texts) for _ in range(6)] for script in (one, same, other)]
    assert turns[0] == turns[1] != turns[2]


def test_policies_go_by_name(chat: ChatFormat) -> None:
    assert scripted("random-edit", chat, tries=3).name == "random-edit"
    with pytest.raises(ConfigError, match=r"no policy 'luck'\. Way out: use one of random-edit"):
        scripted("luck", chat, tries=3)


def test_slips_are_edits_that_the_editor_refuses(functions: list[Function]) -> None:
    rng = random.Random(8)
    seen: Counter[str] = Counter()
    for function in functions:
        edit = slip(Listing(function.code), rng)
        if edit is None:
            continue
        try:
            edited(function.code, edit)
        except EditError as error:
            seen[error.kind] += 1
        else:
            raise AssertionError(edit)
    assert set(seen) == {"no-change", "not-found"} and min(seen.values()) > 5, seen


async def test_an_explorer_with_faults_goes_on_after_them(functions: list[Function], chat: ChatFormat) -> None:
    refused = recovered = 0
    for seed, function in enumerate(functions[:40]):
        played = await transcript(function, chat, seed, LIMITS, faults=0.3)
        errors = [[r.error for r in turn.results] for turn in played.turns]
        refused += sum(any(turn) for turn in errors)
        recovered += sum(any(one) and not any(two) for one, two in itertools.pairwise(errors))
        assert not any("nothing-to-undo" in turn for turn in errors)
    assert refused > 20 and recovered > 10


async def test_an_explorer_with_faults_submits_most_often_when_tests_pass(
    functions: list[Function], chat: ChatFormat
) -> None:
    after: Counter[bool] = Counter()
    for seed, function in enumerate(functions * 2):
        played = await transcript(function, chat, seed, LIMITS, faults=0.3)
        if played.stop_reason == "submit":
            after[any(is_green(result.output) for result in played.turns[-2].results)] += 1
    assert after[True] > 2 * after[False] > 0, after
