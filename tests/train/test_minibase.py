"""The base for mini-swe-agent: its room acts as bash does, its tokens are the gateway's, and a run ends in a model."""

from __future__ import annotations

import asyncio
import copy
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from repodojo.agent.tools import editor
from repodojo.cli import main
from repodojo.core.errors import ConfigError
from repodojo.gateway.asks import Ask, Message
from repodojo.gateway.session import Session, Terms
from repodojo.inference import checkpoint
from repodojo.inference.architecture import Architecture
from repodojo.inference.chat import ChatFormat
from repodojo.inference.fake import FakeModel
from repodojo.train.events import Silent
from repodojo.train.minibase import episodes, explorer, helper, stages
from repodojo.train.minibase.prompts import END, FENCE, SUBMIT, Prompts, action
from repodojo.train.pretrain import tokenizer as words
from repodojo.train.pretrain.corpus import Function
from repodojo.train.pretrain.initialise import initialise
from repodojo.train.pretrain.loop import Schedule
from repodojo.train.pretrain.settings import Machine, Settings
from repodojo.train.setup import base_path

CONFIGURATION = f"""
agent:
  system_template: |
    Answer with one block.
    {FENCE.strip()}
    your_command_here
    ```
  instance_template: |
    Solve this: {{{{task}}}}
    You are on {{{{system}}}} {{{{release}}}} {{{{version}}}} {{{{machine}}}}.
model:
  observation_template: |
    <returncode>{{{{output.returncode}}}}</returncode>
    <output>
    {{{{ output.output -}}}}
    </output>
"""


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "mini.yaml"
    path.write_text(CONFIGURATION)
    return path


@pytest.fixture
def prompts(configuration: Path) -> Prompts:
    return Prompts.load(configuration)


def given(functions: list[Function], prompts: Prompts, number: int) -> tuple[episodes.Exercise, random.Random]:
    rng = random.Random(number)
    return episodes.exercise(functions[number], functions[number + 1], prompts, rng), rng


@pytest.mark.parametrize("number", range(8))
def test_the_room_does_what_bash_does(number: int, functions: list[Function], prompts: Prompts, tmp_path: Path) -> None:
    made, rng = given(functions, prompts, 5 * number)
    room = made.room
    room.lines += ["", "def after():", '    """One line."""', '    """Several', "    lines.", '    """', "    return 1"]
    path = tmp_path / room.path
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = "\n".join(room.lines) + "\n"
    path.write_text(whole)

    def bash(command: str) -> str:
        files = f"{explorer.COPY}|{explorer.NOTE}|{explorer.HELPER}"
        own = re.sub(rf"({files})\b", lambda m: str(tmp_path / m[0][5:]), command).replace("&& repro", "")
        own = own.replace("python ", f"{sys.executable} ", 1) if own.startswith("python ") else own
        return subprocess.run(["bash", "-c", own], cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    script = explorer.Explorer(room.path, made.name, rng)
    assert room.run(f"{explorer.TRY}1{explorer.OLD}a{explorer.NEW}b{explorer.TESTS}") == (
        "",
        127,
    )  # no file is noted yet
    listing = ""
    for _ in range(6):
        said = script.act(prompts.observed(listing, 0) if listing else "")
        command = said.removeprefix(FENCE).removesuffix(END)
        if command == SUBMIT:
            break
        changed, shown = room.changed, bash(command)
        output, code = room.run(command)
        if not listing:
            assert (output, code) == (shown, 0) and room.show("after")[0].endswith("    return 1\n")
            listing = output
        else:
            assert (path.read_text() != whole) and room.changed == changed + 1, command
    assert room.run("rm -rf x") == ("", 127)


def test_what_achieved_nothing_is_followed_by_what_does(functions: list[Function], prompts: Prompts) -> None:
    chat = ChatFormat.load(base_path())
    again = missed = 0
    for number in range(40):
        made, rng = given(functions, prompts, number)
        answers = episodes.explorer_answers(made, chat, rng, faults=0.5)
        spoken = asyncio.run(episodes.speak(made, prompts, chat, answers, turns=8, context=9000))
        said = [chat.decode(tokens) for _, tokens in spoken.turns]
        assert spoken.formed == len(said)
        if 0 in spoken.idle:  # it named no file
            again += 1
            assert f"echo {made.room.path} >" in said[1] and f"echo {made.room.path} >" not in said[0]
        assert made.room.listed and made.room.changed == made.room.tried - len(spoken.idle - {0})
        missed += len(spoken.idle - {0})
    assert again > 5 and missed > 20


def test_answers_that_achieved_nothing_are_not_imitated() -> None:
    spoken = episodes.Spoken([([1, 2], [3]), ([4], [5, 6]), ([7, 8], [9]), ([10], [11])], idle={1, 2})
    assert spoken.ids() == list(range(1, 12))
    assert spoken.weights(0.2) == [0.2, 0.2, 1.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("line", [1, 2, 4, 9, 14, 15, 30])
@pytest.mark.parametrize("old", ["a", "in", " b", "b", "none"])
def test_its_editor_takes_what_the_built_in_one_takes(line: int, old: str) -> None:
    rows = ["aa a", "", "in line a", "b in ba", *[""] * 9, "a b", "line in", "x"]
    text = "\n".join(rows)
    (at,) = editor._nearest(text, old, line) or (None,)
    made = helper.edited(rows, line, old, "new")
    assert (made and "\n".join(made)) == (None if at is None else text[:at] + "new" + text[at + len(old) :])


def test_its_tokens_are_those_that_the_gateway_would_have(functions: list[Function], prompts: Prompts) -> None:
    chat = ChatFormat.load(base_path())
    made, rng = given(functions, prompts, 3)
    inner = episodes.explorer_answers(made, chat, rng)
    heards: list[str] = []

    async def answer(ids: list[int], heard: str) -> list[int]:
        heards.append(heard)
        return await inner(ids, heard)

    spoken = asyncio.run(episodes.speak(made, prompts, chat, answer, turns=4, context=4000))
    assert spoken.formed == len(spoken.turns) and made.room.tried == made.room.changed > 0
    turns = iter([said for _, said in spoken.turns])

    async def through_the_gateway() -> list[tuple[list[int], list[int]]]:
        session = Session("s", FakeModel(lambda call: next(turns)), chat, Terms(8000))
        messages = [Message(m["role"], m["content"]) for m in made.opening]  # type: ignore[arg-type]
        for heard in heards:
            if heard:
                messages.append(Message("user", heard))
            messages.append((await session.prepare(Ask(tuple(messages))).answer()).message)
        return [(list(t.observation_ids), list(t.action_ids)) for t in session.tree.paths()[0]]

    assert asyncio.run(through_the_gateway()) == spoken.turns


def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, configuration: Path) -> None:
    for text in ("a: 1", "[", CONFIGURATION.replace(FENCE.strip(), "```bash")):
        (tmp_path / "other.yaml").write_text(text)
        with pytest.raises(ConfigError):
            Prompts.load(tmp_path / "other.yaml")


def test_the_command_says_what_is_wrong_before_it_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["pretrain-mini", "-o", str(tmp_path / "base"), "--prompts", str(tmp_path / "none.yaml")])
    assert end.value.code == 2 and "no configuration of mini-swe-agent" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_every_piece_that_repeats_is_one_token(functions: list[Function], prompts: Prompts, tokenizer: Any) -> None:
    own = copy.deepcopy(tokenizer)
    own.add_tokens(stages.added([*prompts.fixed(), *explorer.HEADS, FENCE, END]))
    chat = ChatFormat(own)
    assert len(chat.encode(action(SUBMIT))) == 1
    made, _ = given(functions, prompts, 0)
    fewer = chat.prompt(made.opening, ())
    assert len(fewer) < len(ChatFormat(tokenizer).prompt(made.opening, ()))
    assert chat.decode(fewer).replace("<|im_start|>", "").count(made.opening[0]["content"]) == 1


@pytest.fixture
def earlier(tmp_path: Path, tokenizer: Any) -> Path:
    """A base that speaks the built-in agent's format, as small as they come."""
    size = len(tokenizer)
    small = Architecture("qwen3", size, 64, 96, 2, 2, 1, 16, max_positions=2048, rope_theta=1e6)
    words.save(tokenizer, tmp_path / "words")
    checkpoint.save(initialise(small, 0), tmp_path / "earlier", tokenizer=tmp_path / "words")
    return tmp_path / "earlier"


def test_the_parts_of_a_command_are_one_token_each_and_begin_as_those_of_a_call(tmp_path: Path, earlier: Path) -> None:
    given = Settings(("none",), start=earlier)
    made = stages.Stages(given, Prompts("", FENCE, ""), Silent(), [], tmp_path / "work", earlier)
    chat, before = ChatFormat.load(made.words()), ChatFormat.load(earlier)
    table = made.begun(made.words()).model.embed_tokens.weight
    old = checkpoint.load(earlier).model.embed_tokens.weight
    for part, call in explorer.ALIKE.items():
        (here,), (there,) = chat.encode(part), before.encode(call)
        assert chat.decode([here]) == part and torch.equal(table[here], old[there])
    asked = chat.encode(action(f"{explorer.TRY}7{explorer.OLD}a{explorer.NEW}b{explorer.TESTS}"))
    start, *parts, end = [chat.decode([token]) for token in asked]
    assert parts == ["7", explorer.OLD, "a", explorer.NEW, "b"]
    assert (start, end) == (f"{FENCE}{explorer.TRY}", f"{explorer.TESTS}{END}")


def test_a_run_from_functions_to_a_base(tmp_path: Path, sources: Path, prompts: Prompts, earlier: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    schedule = Schedule(8192, batch_tokens=4096)
    settings = Settings((str(sources),), schedule, 24, excluded=(), held=0.1, episodes=3, start=earlier)
    made = stages.make(settings, prompts, tmp_path / "base", tmp_path / "work", Machine(torch.device("cpu")), Silent())
    torch.set_num_threads(threads)
    assert made.functions == 24 and made.tokens == 8192 and made.figures.submits.of == 3
    chat = ChatFormat.load(tmp_path / "base")
    assert len(chat.encode(action(SUBMIT))) == 1
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "work").rglob("*.npz")}
    again = stages.make(settings, prompts, tmp_path / "base", tmp_path / "work", Machine(torch.device("cpu")), Silent())
    assert again == made  # from what is kept, to the same figures
    assert "24 functions" in (tmp_path / "base" / "README.md").read_text()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="something else"):
        stages.make(settings, prompts, tmp_path / "other", tmp_path / "work", Machine(torch.device("cpu")), Silent())
    assert kept == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "work").rglob("*.npz")}
