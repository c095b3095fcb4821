"""The whole of `repodojo pretrain` on a small folder: what it writes, what it refuses, and that a kill is harmless."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pretrain_child import TINY, make, settings
from typer.testing import CliRunner

from repodojo.cli import _app
from repodojo.core.errors import CheckpointError, ConfigError, SourceError
from repodojo.inference import checkpoint
from repodojo.inference.architecture import Architecture
from repodojo.inference.chat import ChatFormat
from repodojo.inference.decoder import attend_lengths
from repodojo.inference.devices import has_bfloat16
from repodojo.train import splits
from repodojo.train.events import Silent
from repodojo.train.pretrain import corpus, dataset, finish, gate, sources
from repodojo.train.pretrain import run as running
from repodojo.train.pretrain.corpus import Function
from repodojo.train.pretrain.dataset import LIMITS
from repodojo.train.pretrain.initialise import initialise
from repodojo.train.pretrain.loop import Schedule
from repodojo.train.pretrain.settings import Machine, Result
from repodojo.train.pretrain.transcripts import transcript

CHILD = Path(__file__).parent / "pretrain_child.py"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real code: some modules of the standard library."""
    folder = tmp_path_factory.mktemp("sources") / "stdlib"
    folder.mkdir()
    for module in ("argparse", "shutil", "textwrap", "tarfile", "zipfile", "inspect", "pdb", "mailbox"):
        path = Path(sys.modules["os"].__file__ or "").parent / f"{module}.py"
        if path.is_file():
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def made(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Result]:
    home = tmp_path_factory.mktemp("made")
    return home / "base", home / "work", make(packages, home / "base", home / "work")


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(path).state_dict()


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_folder_is_a_model_with_a_card(made: tuple[Path, Path, Result]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out, _, result = made
    model = AutoModelForCausalLM.from_pretrained(out)
    words = AutoTokenizer.from_pretrained(out)
    assert model.dtype == torch.float32 and len(words) == TINY.vocabulary
    assert not result.gate.passed  # some seconds of training make no base
    card = (out / "README.md").read_text()
    assert "| stdlib | local | not stated |" in card and "Failed: over 90%" in card
    assert str(result.gate.accepted) in card and f"{result.functions:,} functions" in card.replace("\n ", "")
    assert result.tokens == 30 * 2048


def test_the_same_command_again_changes_nothing_and_does_nothing(
    packages: Path, made: tuple[Path, Path, Result], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out, work, result = made
    again = make(packages, tmp_path / "again", work)
    said = capfd.readouterr().out
    assert "phase training, from step 30 0" in said and "phase tokenizer" not in said
    assert same(out, tmp_path / "again")
    assert dataclasses.replace(again, out=out) == result


def test_killed_in_training_it_goes_on_to_the_same_weights(
    packages: Path, made: tuple[Path, Path, Result], tmp_path: Path
) -> None:
    command = [sys.executable, str(CHILD), str(packages), str(tmp_path / "base"), str(tmp_path / "work")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("at"):
            break
    child.kill()
    child.stdout.close()
    child.wait()
    assert not (tmp_path / "base").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    start = next(line for line in done.splitlines() if line.startswith("phase training"))
    assert start.startswith("phase training, from step ") and int(start.split()[4]) >= 10
    assert same(tmp_path / "base", made[0])


def test_a_decay_begun_early_ends_early(packages: Path, tmp_path: Path) -> None:
    whole = settings(packages, episodes=1)
    seen: list[int] = []

    class Stop(Silent):
        def advance(self, done: int = 1, note: str = "") -> None:
            if note.startswith("loss"):
                seen.append(done)
                raise KeyboardInterrupt

    machine = Machine(torch.device("cpu"), every=0)
    with pytest.raises(KeyboardInterrupt):
        running.run(whole, tmp_path / "base", tmp_path / "work", machine, Stop())
    short = dataclasses.replace(machine, decay_now=True)
    result = running.run(whole, tmp_path / "base", tmp_path / "work", short, Silent())
    assert seen == [10] and result.tokens == 15 * 2048
    again = running.run(whole, tmp_path / "base", tmp_path / "work", short, Silent())
    assert again.tokens == result.tokens


@given(steps=st.integers(1, 3000), share=st.floats(0.05, 0.9), step=st.integers(0, 3000))
def test_the_schedule_is_constant_then_falls(steps: int, share: float, step: int) -> None:
    schedule = Schedule(tokens=1, warmup=1, decay=share)
    factors = [schedule.factor(s, steps) for s in range(steps)]
    start = schedule.decay_start(steps)
    assert set(factors[:start]) <= {1.0} and factors == sorted(factors, reverse=True) and factors[-1] > 0
    assert schedule.decay_start(schedule.shortened(step)) >= step > schedule.decay_start(schedule.shortened(step)) - 2


def test_workers_make_the_same_transcripts(packages: Path, made: tuple[Path, Path, Result], tmp_path: Path) -> None:
    _, work, _ = made
    words = next(work.glob("*/tokenizer"))
    functions = list(corpus.functions(packages)) * 3  # more than one part
    one, two = (
        dataset.make(functions, words, seed=5, workers=n, on_part=lambda _: None, cache=None if n == 1 else tmp_path)
        for n in (1, 2)
    )
    assert (one.ids == two.ids).all() and (one.weight == two.weight).all() and (one.starts == two.starts).all()
    assert len(list(tmp_path.iterdir())) == -(-len(functions) // 500) > 1  # parts, nothing half-written


async def test_the_explorer_itself_passes_the_gate(packages: Path, made: tuple[Path, Path, Result]) -> None:
    chat = ChatFormat.load(made[0])
    functions = list(corpus.functions(packages))[:60]
    figures = gate.judge([await transcript(f, chat, seed, LIMITS) for seed, f in enumerate(functions)])
    assert figures.passed and figures.format_errors.hits == 0 and figures.several_calls.hits > 0
    assert 0 < figures.submits.hits <= figures.submits.of == 60


def test_few_edits_do_not_pass() -> None:
    nothing = gate.Share(0, 100)
    assert gate.Gate(gate.Share(91, 100), nothing, nothing, nothing, nothing).passed
    assert not gate.Gate(gate.Share(90, 100), nothing, nothing, nothing, nothing).passed
    assert not gate.Gate(gate.Share(49, 49), nothing, nothing, nothing, nothing).passed


def test_wilson_gives_the_known_intervals() -> None:
    assert gate.Share(81, 263).interval == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I
    assert gate.Share(0, 20).interval == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert gate.Share(0, 0).interval == (0.0, 1.0)


def test_held_functions_are_never_read_and_depend_on_nothing_else(packages: Path) -> None:
    found = list(corpus.functions(packages))
    whole, part = (corpus.divide(some, excluded=(), held=0.1, seed=0) for some in (found, found[::2]))
    codes = {corpus.normal(f) for f in whole.held}
    assert 5 < len(codes) < len(found) / 3
    assert not codes & {corpus.normal(f) for f in (*whole.train, *part.train)}
    assert {corpus.normal(f) for f in part.held} <= codes


def test_copies_of_excluded_code_are_left_out() -> None:
    code = "def f(x):\n    # says why\n    y = x\n    return y"
    copy = Function("a.py", "g", "def g(x):\n    y = x\n    return y", "")
    other = Function("a.py", "h", "def h(x):\n    y = x + 1\n    return y", "")
    read = corpus.divide([copy, other], excluded=[Function("b.py", "f", code, "")], held=0.0, seed=0)
    assert list(read.train) == [other] and read.removed == 1


@pytest.mark.parametrize("name", ["sortedcontainers==2.0.0", "Humanize==4.0", *splits.DEV, *splits.HELD_OUT])
def test_packages_that_are_measured_on_are_refused(name: str, tmp_path: Path) -> None:
    refused = dataclasses.replace(settings(tmp_path), requirements=("attrs==26.1.0", name))
    with pytest.raises(ConfigError, match="dev or held-out"):
        running.run(refused, tmp_path / "o", tmp_path / "w", Machine(torch.device("cpu")), Silent())
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("path", ["sortedcontainers-1.0.0", "mine/boltons", "humanize", "a/src/inflection"])
def test_folders_of_such_packages_are_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / path).mkdir(parents=True)
    (tmp_path / path / "__init__.py").touch()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "inflection.py").touch()
    for folder in (tmp_path / path, (tmp_path / path).parent, tmp_path / "one"):
        with pytest.raises(ConfigError, match="dev or held-out"):
            sources.refuse_measured([str(folder)])


def test_the_shipped_list_is_pinned_and_clean() -> None:
    listed = sources.read_list(running.packaged_list())
    assert len(listed) > 90 and all("==" in line for line in listed)
    sources.refuse_measured(listed)
    assert splits.TRAIN and not {*splits.TRAIN} & {*splits.DEV, *splits.HELD_OUT}


def test_a_wheel_gives_its_code_and_licence_and_is_fetched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    index.mkdir()
    with zipfile.ZipFile(index / "zzz_demo-1.5-py3-none-any.whl", "w") as wheel:
        wheel.writestr("zzz_demo/__init__.py", "def f(x):\n    y = x\n    return y\n")
        wheel.writestr("zzz_demo/data.bin", "data")
        wheel.writestr(
            "zzz_demo-1.5.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: zzz-demo\nVersion: 1.5\nLicense-Expression: MIT\n",
        )
        wheel.writestr("zzz_demo-1.5.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("zzz_demo-1.5.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "none").as_uri())
    found, missed = sources.fetch_all(["zzz-demo==1.5", "zzz-absent==1"], tmp_path / "kept", Silent())
    assert [name for name, _ in missed] == ["zzz-absent==1"]
    assert [(p.version, p.licence) for p in found] == [("1.5", "MIT")]
    assert [f.name for f in corpus.functions(Path(found[0].root))] == ["f"]
    assert not list(Path(found[0].root).rglob("*.bin"))
    shutil.rmtree(index)
    assert sources.fetch("zzz-demo==1.5", tmp_path / "kept") == found[0]
    assert [p.name for p in (tmp_path / "kept").iterdir()] == ["zzz-demo==1.5"]


def test_what_cannot_be_used_is_said(packages: Path, tmp_path: Path) -> None:
    machine = Machine(torch.device("cpu"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="something else"):
        running.run(settings(packages), tmp_path / "full", tmp_path / "w", machine, Silent())
    with pytest.raises(SourceError, match="no package could be fetched"):
        running.run(settings(tmp_path / "absent"), tmp_path / "o", tmp_path / "w", machine, Silent())
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        running.check(tmp_path, settings(packages), tmp_path / "w", Silent())
    with pytest.raises(ConfigError, match="names no package"):
        (tmp_path / "empty.txt").write_text("# nothing\n")
        sources.read_list(tmp_path / "empty.txt")


def test_bfloat16_is_asked_of_the_hardware() -> None:
    assert has_bfloat16(torch.device("meta")) is False
    assert has_bfloat16(torch.device("cpu")) in (True, False)


def test_gate_only_measures_and_fails_with_exit_code_1(
    packages: Path, made: tuple[Path, Path, Result], tmp_path: Path
) -> None:
    for requirement in (*splits.DEV, *splits.HELD_OUT):  # as fetched before: nothing is asked of the network
        folder = tmp_path / "work" / "excluded" / requirement
        (folder / "files").mkdir(parents=True)
        about = {"requirement": requirement, "version": "1", "licence": "", "digest": requirement}
        (folder / "about.json").write_text(json.dumps(about))
    (tmp_path / "list.txt").write_text(f"{packages}  # local\n")
    words = ["pretrain", "--gate-only", str(made[0]), "--packages", str(tmp_path / "list.txt"), "--json"]
    words += ["--work", str(tmp_path / "work"), "--episodes", "3", "--threads", "1", "--held", "0.1"]
    done = CliRunner().invoke(_app(words), words)
    assert done.exit_code == 1, done.output
    report = json.loads(done.stdout)["gate"]
    assert report["passed"] is False and report["figures"]["episodes that end by submitting"]["of"] == 3


def test_sharper_logits_are_scaled_logits(tmp_path: Path) -> None:
    decoder = initialise(Architecture("qwen3", 64, 64, 64, 2, 2, 1, 32), 0, copying=False)
    checkpoint.save(decoder, tmp_path / "m")
    ids, positions = torch.arange(9), torch.arange(9)
    before = decoder.logits(decoder.hidden(ids, positions, attend_lengths([9])))
    finish.sharpen(tmp_path / "m", 1.5)
    sharp = checkpoint.load(tmp_path / "m")
    torch.testing.assert_close(sharp.logits(sharp.hidden(ids, positions, attend_lengths([9]))), 1.5 * before)
