"""The drill: which tokens the editor could still have taken, what changes nothing, and that the loss teaches both."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repodojo.agent.loop import play
from repodojo.agent.policy import ScriptedPolicy
from repodojo.agent.scripted.edits import Listing
from repodojo.agent.scripted.scripts import replace
from repodojo.agent.tools import default_tools
from repodojo.agent.tools.base import View
from repodojo.agent.tools.editor import EditError, find_once
from repodojo.inference import checkpoint
from repodojo.inference.chat import ChatFormat
from repodojo.inference.decoder import attend_lengths
from repodojo.inference.toolcalls import render
from repodojo.train.pretrain import dataset, drill, finish, loop
from repodojo.train.pretrain.copying import Vocabulary, spots, start_of
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
FUNCTION = Function("pkg/clip.py", "clip", CODE, "")


@pytest.fixture(scope="module")
def chat() -> ChatFormat:
    return ChatFormat.load(BASE)


@pytest.fixture(scope="module")
def words(chat: ChatFormat) -> Vocabulary:
    return Vocabulary(chat.tokenizer)


def right_until(chat: ChatFormat, words: Vocabulary, old: str, new: str = "pass") -> tuple[int, int, list[bool]]:
    """Tokens of the snippet with its closing one, the spots given, and whether the sampled token was right at each."""
    ids = chat.encode(render("editor", {"command": "str_replace", "old_str": old, "new_str": new}))
    start = start_of(ids, 0, words)
    assert start is not None and chat.decode(ids[start:]).startswith(old)
    found = list(spots(ids, start, CODE, View("pkg/clip.py"), words))
    return len(chat.encode(old)) + 1, len(found), [spot.possible for spot in found]


def accepted(old: str) -> bool:
    try:
        find_once(CODE, old, View())
    except EditError:
        return False
    return True


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(CODE)), st.integers(1, 40), st.sampled_from(["", "x", " low", "]"]))
def test_all_tokens_are_right_exactly_where_the_editor_accepts(
    chat: ChatFormat, words: Vocabulary, start: int, length: int, slip: str
) -> None:
    old = CODE[start : start + length].split("\n", maxsplit=1)[0] + slip
    if not old:
        return
    tokens, given_, right = right_until(chat, words, old)
    if accepted(old):
        assert all(right) and given_ == tokens
    else:
        # Up to the token that lost it, or to where only a line break could follow, which no single token writes.
        assert right[:-1] == [True] * (len(right) - 1) and (not right[-1] or given_ < tokens)


def test_a_snippet_that_stands_twice_is_wrong_where_it_closes_too_soon(chat: ChatFormat, words: Vocabulary) -> None:
    tokens, given_, right = right_until(chat, words, "if value")
    assert given_ == tokens and right == [True] * (tokens - 1) + [False]
    assert all(right_until(chat, words, "if value <")[2])


async def lesson(chat: ChatFormat, words: Vocabulary, turns: Sequence[str]) -> drill.Lesson:
    rng = random.Random(1)
    task = exercise(FUNCTION, rng)
    box, tools = box_of(FUNCTION, task, rng), default_tools(OBSERVATION_CHARS)
    said = iter(turns)
    policy = ScriptedPolicy("script", lambda _: lambda _texts: next(said), chat)
    played = await play(task, policy.actor(0), box, chat, tools=tools, limits=LIMITS)
    box.files = dict(box.base)
    made = await drill.lesson(played, task, box, tools, words)
    assert made is not None
    return made


def edit(old: str, new: str) -> str:
    return render("editor", {"command": "str_replace", "old_str": old, "new_str": new})


UNDO, SUBMIT = render("editor", {"command": "undo"}), render("submit", {})
TURNS = (
    edit("value < low", "value <= low") + "\n" + edit("value < low", "value > low"),  # the second finds it changed
    UNDO + "\n" + edit("value < low", "value <= low"),  # accepted, but not new
    UNDO + "\n" + edit("kept = []", "kept = []"),
    edit("kept = []", "kept = [0]"),
    SUBMIT,
)


async def test_a_lesson_knows_the_token_that_lost_an_edit_and_which_replacements_are_barred(
    chat: ChatFormat, words: Vocabulary
) -> None:
    made = await lesson(chat, words, TURNS)
    assert (made.tried, made.accepted) == (5, 3)
    right = np.unpackbits(made.right, axis=1, count=len(words)).astype(bool)
    wrong = [int(at) for at, row in zip(made.at, right, strict=True) if not row[made.ids[at]]]
    # By then the text says `value <= low`: ` <` is no token of it, and what follows is not there.
    assert len(wrong) == 2 and wrong[1] == wrong[0] + 1 and chat.decode([int(made.ids[wrong[0]])]) == " <"
    barred = [made.replaced(number, chat.encode(drill.END)[0]) for number in range(len(made.barred))]
    assert [chat.decode(ids[first:].tolist()) for ids, first in barred] == [
        'value < low"}}',
        'value < low"}}',
        'value <= low"}}',  # made before
        'kept = []"}}',
        'kept = []"}}',  # made before, but that is said already
    ]
    assert chat.decode(barred[2][0].tolist()).endswith('"old_str": "value < low", "new_str": "value <= low"}}')


async def test_the_loss_teaches_right_tokens_and_new_replacements(chat: ChatFormat, words: Vocabulary) -> None:
    made = await lesson(chat, words, TURNS)
    barred = [made.replaced(number, chat.encode(drill.END)[0]) for number in range(len(made.barred))]
    decoder = checkpoint.load(BASE)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-4)
    seen = []
    for _ in range(9):
        wrong, again = drill.losses(decoder, [made, made], barred, torch.device("cpu"))
        seen.append((float(wrong.detach()), float(again.detach())))
        optimizer.zero_grad()
        (wrong + again).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert seen[-1][0] < 0.7 * seen[0][0]
    assert seen[-1][1] < 0.7 * seen[0][1]


async def test_the_loss_of_a_barred_replacement_is_that_of_its_probability(chat: ChatFormat, words: Vocabulary) -> None:
    made = await lesson(chat, words, TURNS)
    ids, first = made.replaced(0, chat.encode(drill.END)[0])
    decoder = checkpoint.load(BASE)
    with torch.no_grad():
        _, again = drill.losses(decoder, [made], [(ids, first)], torch.device("cpu"))
        at = torch.from_numpy(ids)
        logits = decoder.logits(decoder.hidden(at, torch.arange(len(at)), attend_lengths([len(at)])))
        log = logits.log_softmax(-1)[:-1].gather(1, at[1:, None])[first - 1 :].sum()
    assert float(log) > -8  # else the next line would hold of anything
    assert float(again) == pytest.approx(-math.log1p(-drill.SURE * math.exp(float(log))), rel=1e-3)


def test_every_lesson_is_read_once_within_the_budget() -> None:
    def of(length: int) -> drill.Lesson:
        blank = np.zeros(1, np.int64)
        return drill.Lesson(np.zeros(length, np.int64), blank, blank.astype(np.uint8), blank, 1, 1)

    lessons = [of(length) for length in (100, 700, 130, 650, 90, 400, 1000)]
    groups = list(drill.shuffled(lessons, tokens=1400, seed=3))
    assert sorted(len(one.ids) for group in groups for one in group) == sorted(len(one.ids) for one in lessons)
    assert all(len(group) * max(len(one.ids) for one in group) <= 1400 for group in groups)


def test_the_explorers_own_edits_are_right_throughout(chat: ChatFormat, words: Vocabulary) -> None:
    rng = random.Random(5)
    listing = Listing(CODE)
    for _ in range(40):
        drawn = listing.draw(rng)
        assert drawn is not None
        ids = chat.encode(replace(drawn))
        start = start_of(ids, 0, words)
        assert start is not None
        assert all(spot.right[ids[spot.at]] for spot in spots(ids, start, CODE, View(), words))


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
