"""The drill: which tokens can still make an edit, what a lesson holds, and that the loss teaches it."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repodojo.agent.focus import listing
from repodojo.agent.loop import Played, play
from repodojo.agent.policy import ScriptedPolicy
from repodojo.agent.scripted.edits import Listing
from repodojo.agent.scripted.scripts import UNDO
from repodojo.agent.tools import default_tools
from repodojo.agent.tools.base import View
from repodojo.agent.tools.editor import EditError, EditorArguments, replaced
from repodojo.inference import checkpoint
from repodojo.inference.chat import ChatFormat
from repodojo.inference.decoder import attend_lengths
from repodojo.inference.toolcalls import render
from repodojo.train.pretrain import dataset, drill, finish, loop
from repodojo.train.pretrain.copying import Edits, Words
from repodojo.train.pretrain.corpus import Function
from repodojo.train.pretrain.dataset import LIMITS
from repodojo.train.pretrain.transcripts import OBSERVATION_CHARS, box_of, exercise

CODE = """def clip(values, low, high):
    kept = []
    for value in values:
        if value < low:
            value = low
        if value > high:
            value = high
        kept.append(value)
    return kept"""
BASE = Path(str(files("repodojo") / "assets" / "base"))
FIRST = 120
SHOWN = listing("a.py", "\n" * (FIRST - 1) + CODE, "clip")
FUNCTION = Function("pkg/clip.py", "clip", CODE, "")


@pytest.fixture(scope="module")
def chat() -> ChatFormat:
    return ChatFormat.load(BASE)


@pytest.fixture(scope="module")
def words(chat: ChatFormat) -> Words:
    return Words(chat)


def edit(line: int, old: str, new: str) -> str:
    return render("editor", {"command": "str_replace", "line": line, "old_str": old, "new_str": new})


def walk(words: Words, line: int, old: str, new: str) -> tuple[list[str], bool]:
    """The tokens of an edit that have a spot, and whether all of its tokens were right."""
    ids = words.chat.encode(edit(line, old, new))
    ((start, _),) = words.starts(ids)
    found = Edits(SHOWN, words).spots(ids, start)
    right = [ids[spot.at] in spot.right for spot in found]
    assert right[:-1] == [True] * (len(right) - 1)  # it ends at the first that is not
    return [words.texts[ids[spot.at]] for spot in found], right[-1] and found[-1].at + 1 == words.end(ids, start)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6))
def test_the_explorers_own_edits_are_right_throughout(words: Words, seed: int) -> None:
    drawn = Listing(SHOWN.text, SHOWN.numbers).draw(random.Random(seed))
    assert drawn is not None
    tokens, right = walk(words, drawn.line, drawn.old, drawn.new)
    assert right and "".join(tokens) == f'{drawn.line}, "old_str": "{drawn.old}", "new_str": "{drawn.new}"}}}}'


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, len(CODE)), st.integers(1, 40), st.sampled_from(["", "x", " low", "]"]), st.sampled_from((0, 0, 3))
)
def test_what_the_editor_refuses_or_does_elsewhere_is_right_nowhere(
    words: Words, start: int, length: int, slip: str, off: int
) -> None:
    old = CODE[start : start + length].split("\n", maxsplit=1)[0] + slip
    line = FIRST + CODE.count("\n", 0, start) + off
    for new in (old, old + " + 1", "pass"):
        arguments = EditorArguments(command="str_replace", line=line, old_str=old, new_str=new)
        try:
            elsewhere = replaced("\n" * (FIRST - 1) + CODE, arguments, View())[1] != line
        except EditError:
            elsewhere = True
        if elsewhere:
            assert not walk(words, line, old, new)[1]


def test_the_token_that_lost_an_edit_is_the_last_of_its_spots(words: Words) -> None:
    assert walk(words, FIRST + 3, " <=", " <")[0][-1] == " <="
    assert walk(words, FIRST + 3, " value", " low")[1] and not walk(words, FIRST + 2, " in", " not in")[1]
    assert walk(words, FIRST + 50, " <", " <=")[0][-1] == str(FIRST + 50)[1:]  # no such line
    tokens, right = walk(words, FIRST + 3, " <", " <")
    assert tokens[-1] == " <" and tokens.count(" <") == 2 and not right  # only another sign makes it an edit


def played(chat: ChatFormat, turns: Sequence[str]) -> Played:
    rng = random.Random(1)
    task = exercise(FUNCTION, rng)
    said = iter(turns)
    policy = ScriptedPolicy("script", lambda _: lambda _texts: next(said), chat)
    box, tools = box_of(FUNCTION, task, rng), default_tools(OBSERVATION_CHARS)
    return asyncio.run(play(task, policy.actor(0), box, chat, tools=tools, limits=LIMITS))


SUBMIT = render("submit", {})
TURNS = (
    edit(4, " <", " <=") + "\n" + edit(6, " >", " >="),  # the first stands: not looked at
    UNDO + "\n" + UNDO + "\n" + edit(4, " <", " <="),  # made before
    UNDO + "\n" + edit(4, " <", " >"),
    UNDO + "\n" + edit(6, " >", " <").replace('"}}', " 1 1 1"),  # without an end
    SUBMIT,
)


def wrong_tokens(made: drill.Lesson, words: Words) -> list[str]:
    right = set(zip(made.spot.tolist(), made.token.tolist(), strict=True))
    return [words.texts[made.ids[at]] for spot, at in enumerate(made.at) if (spot, int(made.ids[at])) not in right]


def test_shares_are_those_of_the_explorers_draws(words: Words) -> None:
    listing = Listing(SHOWN.text, SHOWN.numbers)
    rng = random.Random(3)
    drawn = Counter(str(one.line)[1:] for _ in range(4000) if (one := listing.draw(rng)))
    ids = words.chat.encode(edit(FIRST + 3, " <", " <="))
    ((start, _),) = words.starts(ids)
    found = Edits(SHOWN, words).spots(ids, start)
    assert all(abs(sum(spot.right.values()) - 1) < 1e-9 for spot in found)
    lines = {words.texts[token]: share for token, share in found[1].right.items()}
    assert lines.keys() == drawn.keys()
    assert all(abs(share - drawn[line] / 4000) < 0.04 for line, share in lines.items()), (lines, drawn)


def test_a_lesson_holds_what_lost_an_edit_repeated_one_or_never_ended_it(chat: ChatFormat, words: Words) -> None:
    made = drill.lesson(played(chat, TURNS), listing("a.py", CODE, "clip"), words)
    assert made is not None and (made.tried, made.accepted) == (4, 4)
    text = chat.decode(made.ids.tolist())
    assert text.count("old_str") == 5 and len(made.at) == len(set(made.at.tolist()))
    assert wrong_tokens(made, words) == [" <=", " 1"]  # made before; an end should have come


def test_the_loss_teaches_right_tokens(chat: ChatFormat, words: Words) -> None:
    made = drill.lesson(played(chat, TURNS), listing("a.py", CODE, "clip"), words)
    assert made is not None
    decoder = checkpoint.load(BASE)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-4)
    seen = []
    for _ in range(6):
        wrong = drill.loss(decoder, [made, made], torch.device("cpu"), spread=0.25)
        seen.append(float(wrong.detach()))
        optimizer.zero_grad()
        wrong.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert seen[-1] < 0.7 * seen[0]


@pytest.mark.parametrize("spread", [0.0, 0.25, 1.0])
def test_the_loss_is_that_of_wrong_tokens_and_the_divergence_from_the_shares(
    spread: float, chat: ChatFormat, words: Words
) -> None:
    made = drill.lesson(played(chat, TURNS), listing("a.py", CODE, "clip"), words)
    assert made is not None
    decoder, at = checkpoint.load(BASE), torch.from_numpy(made.ids)
    with torch.no_grad():
        found = drill.loss(decoder, [made, made], torch.device("cpu"), spread=spread, tokens=2048)
        p = decoder.logits(decoder.hidden(at, torch.arange(len(at)), attend_lengths([len(at)]))).softmax(-1)
    apart, right = 0.0, [0.0] * len(made.at)
    for spot, token, share in zip(made.spot.tolist(), made.token.tolist(), made.share.tolist(), strict=True):
        one = float(p[made.at[spot] - 1][token])
        apart, right[spot] = apart + share * math.log(share / one), right[spot] + one
    wrong = -sum(map(math.log, right))
    assert float(found) == pytest.approx((wrong + spread * (apart - wrong)) / made.tried, rel=1e-4)


def test_every_lesson_is_read_once_within_the_budget() -> None:
    def of(length: int) -> drill.Lesson:
        blank = np.zeros(1, np.int64)
        return drill.Lesson(np.zeros(length, np.int64), blank, blank, blank, np.ones(1, np.float32), 1, 1)

    lessons = [of(length) for length in (100, 700, 130, 650, 90, 400, 1000)]
    groups = list(drill.shuffled(lessons, tokens=1400, seed=3))
    assert sorted(len(one.ids) for group in groups for one in group) == sorted(len(one.ids) for one in lessons)
    assert all(len(group) * max(len(one.ids) for one in group) <= 1400 for group in groups)


def test_a_round_plays_learns_and_writes_another_model(tmp_path: Path) -> None:
    functions = [FUNCTION] * 3
    read = dataset.make(functions, BASE, seed=1, workers=1, on_part=lambda _: None)
    said: list[int] = []
    finish.drilled(
        BASE,
        tmp_path / "out",
        functions,
        read,
        finish.Finish(episodes=3, rounds=1),
        loop.Schedule(2048, batch_tokens=4096),
        seed=1,
        workers=1,
        device=torch.device("cpu"),
        on_progress=lambda done, _note: said.append(done),
    )
    before, after = checkpoint.load(BASE).state_dict(), checkpoint.load(tmp_path / "out").state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(bool(torch.isfinite(weight).all()) for weight in after.values())
    assert said[0] == 3 and sum(said[1:]) <= 3  # episodes played, then lessons read
