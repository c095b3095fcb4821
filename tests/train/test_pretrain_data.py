"""What the base reads: functions of sources, a tokenizer that loses nothing, transcripts that repeat, batches."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import re
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repodojo.core.errors import SourceError
from repodojo.inference.chat import ChatFormat
from repodojo.train.pretrain import corpus, dataset
from repodojo.train.pretrain.corpus import Function
from repodojo.train.pretrain.dataset import LIMITS, Transcripts
from repodojo.train.pretrain.tokenizer import FRAGMENTS, SPECIAL, save, train
from repodojo.train.pretrain.transcripts import exercise, failing_report, transcript

BODY = '    """Doc."""\n    a = 1\n    return a'


def write(root: Path, path: str, text: str | bytes) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(text if isinstance(text, bytes) else text.encode())


def test_the_corpus_is_functions_outside_tests_and_vendored_code(tmp_path: Path) -> None:
    for number, path in enumerate(
        ("p/a.py", "tests/b.py", "p/test_c.py", "p/_vendor/d.py", "docs/e.py", "conftest.py")
    ):
        write(tmp_path, path, f"def f{number}(x):\n{BODY}\n")
    write(tmp_path, "p/bad.py", "def f(:\n")
    write(tmp_path, "p/bytes.py", b"\xff\xfe")
    write(tmp_path, "p/nul.py", b"\0")
    write(tmp_path, "p/warns.py", 'def w(x):\n    a = "\\d"\n    return a\n')
    (tmp_path / "p" / "folder.py").mkdir()
    assert [(f.path, f.name) for f in corpus.functions(tmp_path)] == [("p/a.py", "f0"), ("p/warns.py", "w")]


def test_functions_lose_docstring_and_indentation_and_come_once(tmp_path: Path) -> None:
    method = "class C:\n    def m(self):\n" + BODY.replace("    ", "        ") + "\n"
    short = "def s():\n    return 1\n"
    only_doc = 'def d():\n    """Nothing\n    else.\n    """\n'
    long = "def l():\n" + "    x = 1\n" * 40
    write(tmp_path, "a.py", method + short + only_doc + long)
    write(tmp_path, "b.py", method)
    assert list(corpus.functions(tmp_path)) == [
        Function("a.py", "C.m", "def m(self):\n    a = 1\n    return a", "Doc."),
    ]
    assert [f.name for f in corpus.functions(tmp_path, least=2, most=50)] == ["C.m", "s", "l"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(parts=st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(FRAGMENTS + SPECIAL)))
def test_the_tokenizer_loses_nothing(tokenizer: Any, parts: list[str]) -> None:
    text = "".join(parts)
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False), skip_special_tokens=False) == text


def test_fixed_parts_are_one_token_each(tokenizer: Any) -> None:
    for text in FRAGMENTS + SPECIAL:
        assert len(tokenizer.encode(text, add_special_tokens=False)) == 1, text
    assert len(tokenizer) == 760 == max(tokenizer.get_vocab().values()) + 1
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.pad_token == "<|endoftext|>"


def test_pieces_are_python_shaped(tokenizer: Any) -> None:
    pieces = [
        piece for piece, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("if a1 >= 201:\n    b **= 2")
    ]
    assert [p.replace("Ġ", " ").replace("Ċ", "\n") for p in pieces] == [
        *("if", " a", "1", " >=", " 2", "01", ":", "\n    ", "b", " **=", " 2"),
    ]


def test_the_label_of_a_line_ends_in_its_last_two_digits(tokenizer: Any) -> None:
    def tokens(text: str) -> list[str]:
        return [tokenizer.decode([i]) for i in tokenizer.encode(text)]

    assert tokens("2612\t")[-1] == "12\t" and tokens("7\t") == ["7\t"] and tokens("107\t")[-1] == "07\t"
    call = tokens('{"name": "editor", "arguments": {"command": "str_replace", "line": 7, "old_str": "a')
    assert call[0].endswith('"line": ') and call[1:3] == ["7", ', "old_str": "']


def test_the_same_texts_give_the_same_tokenizer(functions: list[Function], tokenizer: Any, tmp_path: Path) -> None:
    again = train((function.code for function in functions), 760)
    assert again.get_vocab() == tokenizer.get_vocab()
    save(again, tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "tokenizer.json").exists()


async def test_transcripts_repeat_by_seed(functions: list[Function], chat: ChatFormat) -> None:
    def content(played: Any) -> list[Any]:
        return [(turn.observation_ids, turn.action_ids) for turn in played.turns]

    for function in functions[:10]:
        one, same, other = [content(await transcript(function, chat, seed, LIMITS)) for seed in (7, 7, 8)]
        assert one == same != other


async def test_a_transcript_reads_as_a_task_does(functions: list[Function], chat: ChatFormat) -> None:
    function = next(f for f in functions if f.docstring and f.code.count("\n") > 5)
    played = await transcript(function, chat, 1, LIMITS)
    opening = chat.decode(played.turns[0].observation_ids)
    name = function.name.rsplit(".", 1)[-1]
    assert f"`{function.name}` in {function.path} " in opening and "Run `repro` to see it fail." in opening
    listing = re.search(r"```python\n(.*?)\n```", opening, re.DOTALL)
    assert listing and f"def {name}(" in opening
    numbers, rows = zip(*(row.split("\t", 1) for row in listing[1].split("\n")), strict=True)
    assert "\n".join(rows) == function.code
    assert list(map(int, numbers)) == list(range(int(numbers[0]), int(numbers[0]) + len(rows)))
    assert function.docstring not in opening


def test_examples_of_a_docstring_are_what_fails() -> None:
    function = Function(
        "a.py", "C.f", "def f(x):\n    a = x\n    return a", "Doc.\n\n>>> f(41)\n42\n>>> y = f(1)\n>>> y\n2\n"
    )
    calls = {failing_report(function, random.Random(seed)).split("\n")[1] for seed in range(60)}
    assert ">>> f(41)" in calls and ">>> y = f(1)" not in calls
    task = exercise(function, random.Random(0))
    assert task.focus == ("a.py::f",) and task.visible_command == "repro"


def test_arrays_hold_one_transcript_a_function_each_from_its_own_seed(
    functions: list[Function], tokenizer: Any, tmp_path: Path
) -> None:
    save(tokenizer, tmp_path)
    huge = dataclasses.replace(functions[0], code=functions[0].code + "\n    x = 'a b c d e f'" * 200)
    some = [*functions[:6], huge, *functions[6:12]]
    parts: list[int] = []
    data = dataset.make(some, tmp_path, seed=3, workers=1, on_part=parts.append)
    assert parts == [12] and len(data) == 12  # the huge one does not fit
    assert data.starts[-1] == len(data.ids) == len(data.weight)
    chat = ChatFormat.load(tmp_path)
    kept = iter(range(12))
    for number, function in enumerate(some):
        played = asyncio.run(transcript(function, chat, 3 * 1_000_003 + number, LIMITS))  # whatever part it was in
        if not played.turns:
            continue
        index = next(kept)
        span = slice(data.starts[index], data.starts[index + 1])
        assert data.ids[span].tolist() == [i for t in played.turns for i in (*t.observation_ids, *t.action_ids)]
        weight: list[float] = []
        for place, turn in enumerate(played.turns):
            sound = not any(result.error for result in turn.results)  # it may look at lines that are not there
            weight += [0.0 if place else 0.2] * len(turn.observation_ids) + [float(sound)] * len(turn.action_ids)
        assert data.weight[span].tolist() == pytest.approx(weight)
    assert next(kept, None) is None
    with pytest.raises(SourceError, match="no function fits"):
        dataset.make([huge], tmp_path, seed=3, workers=1, on_part=parts.append)


def of_lengths(lengths: list[int]) -> Transcripts:
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Transcripts(np.zeros(starts[-1], np.uint16), np.ones(starts[-1], np.bool_), starts)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=40), st.integers(50, 1000), st.integers(0, 9))
def test_batches_take_each_transcript_once_an_epoch_within_the_budget(
    lengths: list[int], tokens: int, seed: int
) -> None:
    data = of_lengths(lengths)
    epochs = dataset.batches(data, tokens=tokens, seed=seed)
    for _ in range(2):
        left = set(range(len(lengths)))
        while left:
            batch = next(epochs)
            assert batch and left.issuperset(batch) and len(set(batch)) == len(batch)
            left -= set(batch)
            assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= tokens


def test_batches_repeat_by_seed_and_differ_between_epochs() -> None:
    data = of_lengths([10 + i % 50 for i in range(200)])
    one, same, other = (list(islice(dataset.batches(data, tokens=300, seed=s), 80)) for s in (1, 1, 2))
    assert one == same != other
    assert sorted(map(tuple, one[:20])) != sorted(map(tuple, one[40:60]))
