"""Sweeps: what their files may say, the shipped ones, and a tiny one that is stopped, goes on, and makes one table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_school import TASKS, carry_out, make_model

from repodojo.cli import main
from repodojo.core.errors import ConfigError, OutageError, RunError
from repodojo.core.records import Score, Task, Trajectory
from repodojo.evaluate.summary import Row, summarise
from repodojo.evaluate.sweeps import markdown, put
from repodojo.evaluate.tables import read_rows
from repodojo.tasks.store import TaskStore
from repodojo.train.config import Config
from repodojo.train.rundir import RunDir
from repodojo.train.sweep import read
from repodojo.train.sweeping import Parts, Sweeping
from tiny_school import SETTINGS

SWEEPS = Path(__file__).parents[2] / "recipes" / "sweeps"
SHIPPED = sorted(p for p in SWEEPS.glob("*.toml") if not p.stem.endswith("-run"))


def test_every_shipped_sweep_can_be_carried_out() -> None:
    names = ["edits", "grpo-pp", "length-penalty", "mini-swe-agent", "outliers", "overlong", "stages"]
    assert [p.stem for p in SHIPPED] == names
    for file in SHIPPED:
        sweep = read(file)
        made: list[Config] = [sweep.configuration(name, 1, ["tasks.store=x"]) for name in sweep.variants]
        assert len(sweep.seeds) == 3 and all(config.run.seed == 1 for config in made), file
        assert len({config.model_dump_json() for config in made}) == len(made), file  # no two variants are one
        assert f"recipes/sweeps/{file.name}" in file.read_text()
    assert all(len(read(SWEEPS / f"{name}.toml").variants) == 16 for name in ("outliers", "edits"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('reference = "b"\n[variants]\na = []\n', "reference 'b' is no variant"),
        ('reference = "a"\nsedes = [1]\n[variants]\na = []\n', "sedes"),
        ('reference = "a"\nseeds = [1, 1]\n[variants]\na = []\n', "seed is named twice"),
        ('reference = "a"\nmeasure = ["stage:x"]\n[variants]\na = []\n', "cannot measure"),
        ('reference = "a"\nsplits = ["test"]\n[variants]\na = []\n', "splits"),
        ('reference = "a"\nsplits = ["dev", "dev"]\n[variants]\na = []\n', "split is named twice"),
        ('reference = "a"\nshare = "sft"\n[variants]\na = []\n', "no stage follows sft"),
        ('reference = "a"\nshare = "rft"\n[variants]\na = []\nshared = []\n', "named shared"),
        (
            'reference = "a"\nshare = "rft"\n[variants]\na = []\nb = ["agent.max_turns=3"]\n',
            "b cannot share rft: it has settings of its own in agent",
        ),
        (
            'reference = "a"\nset = ["run.stages=rl"]\nbaselines = ["rft"]\n[variants]\na = []\n',
            "unknown baselines: rft",
        ),
        ('reference = "a"\nbaselines = ["nobody"]\n[variants]\na = []\n', "unknown baselines"),
        ('reference = "a"\n[variants]\na = []\n"../b" = []\n', "folder name"),
        ('reference = "a"\n[variants]\na = ["rl.stps=1"]\n', r"variant a: .*rl\.stps"),
        ("reference = 1\n", "reference"),
        ("[variants\n", "not TOML"),
    ],
)
def test_what_a_sweep_cannot_say_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read(tmp_path / "s.toml")


def test_a_part_of_a_sweep_has_the_same_runs() -> None:
    whole = read(SWEEPS / "outliers.toml")
    part = whole.narrowed(seeds=[1], only=["gapo-20", "grpo-0"])
    assert part.seeds == (1,) and list(part.variants) == ["grpo-0", "gapo-20"] and whole.narrowed() == whole
    store = ["tasks.store=x"]
    assert part.configuration("gapo-20", 1, store) == whole.configuration("gapo-20", 1, store)
    with pytest.raises(ConfigError, match="no variant 'gapo'"):
        whole.narrowed(only=["gapo", "grpo-0"])
    with pytest.raises(ConfigError, match="reference grpo-0 is left out"):
        whole.narrowed(only=["gapo-0"])


class Stopped(BaseException):
    """Stands for a kill."""


class Watching:
    """Counts what is measured, and dies when a phase's name holds `until`."""

    def __init__(self, until: str = "?") -> None:
        self.until, self.done, self.phases = until, 0, [""]

    def phase(self, name: str, total: int) -> None:
        self.phases.append(name)
        if self.until in name:
            raise Stopped

    def advance(self, done: int = 1, note: str = "") -> None:
        self.done += done

    def metrics(self, stage: str, step: int, values: Any) -> None:
        pass


def played(
    config: Config, model: Path, tasks: Sequence[Task], policy: str, name: str, watcher: Any
) -> list[Trajectory]:
    """Three tries a task: one solves it, two where the learning rate is high."""
    good = 1 + (config.rl.learning_rate > 5e-4)
    watcher.advance(3 * len(tasks))
    return [
        Trajectory(f"{name}/{t.id}/{n}", t.id, t.id, "m", config.run.seed, (), "submit", Score(float(n < good)))
        for t in tasks
        for n in range(3)
    ]


def row(name: str, found: Sequence[Trajectory], tasks: Sequence[Task], store: Path, seed: int) -> Row:
    return summarise(found, tasks, name=name, seed=seed)


def fakes() -> Parts:
    return Parts(lambda config: None, lambda config: TASKS, lambda run, watcher: carry_out(run), played, row)


def test_a_sweep_over_seeds_that_was_stopped_goes_on_and_pairs_by_task(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    given = ["run.stages=rl", "run.trackers=jsonl", "monitor.enabled=false", "agent.max_turns=2", "rl.recipe=grpo"]
    given += ["rl.steps=1", "rl.groups_per_step=2", "rollout.group_size=2", "eval.attempts=3", f"model.path={model}"]
    given += ["agent.max_context=60", "rl.mismatch_alarm=9.0"]
    text = (
        f'reference = "a"\nseeds = [3, 4]\nset = {json.dumps(given)}\nmetrics = ["solve_rate"]\nbaselines = ["base"]\n'
        'curves = ["turns"]\n'
    )
    (tmp_path / "s.toml").write_text(
        text + '[variants]\na = ["rl.learning_rate=1e-4"]\nb = ["rl.learning_rate=1e-3"]\n'
    )
    sweep, out = read(tmp_path / "s.toml"), tmp_path / "out"
    with pytest.raises(Stopped):
        Sweeping(sweep, out, Watching("b seed-4: b"), parts=fakes()).play()  # trained and not yet measured
    assert json.loads((out / "results.json").read_text())["missing"] == ["b/seed-4"]
    assert "Not done yet: b/seed-4." in markdown(out / "results.json")
    again = Watching()
    rows = Sweeping(sweep, out, again, parts=fakes()).play()
    assert again.done == 3 * len(TASKS)  # only the last measuring was left
    found = json.loads((out / "results.json").read_text())
    assert (
        set(rows) == {"base", "a", "b"} == set(read_rows(out / "results.json"))
        and not found["errors"]
        and not found["missing"]
    )
    assert rows["a"].pass1 == pytest.approx(1 / 3) and rows["b"].episodes == 2 * 3 * len(TASKS)
    by_name = {d["better"]: d for d in found["differences"]}
    assert by_name["b"]["value"] == pytest.approx(1 / 3) and by_name["b"]["tasks"] == len(TASKS)
    assert by_name["base"]["value"] == 0 and by_name["b"]["worse"] == "a"
    assert found["by_seed"]["b"] == pytest.approx({"3": 2 / 3, "4": 2 / 3})
    assert found["training"]["a"]["rollouts"] == {"mean": 4.0, "by_seed": [4.0, 4.0], "ci": [4.0, 4.0]}
    assert found["curves"]["b"]["turns"]["step"] == [0.0] and "| b, step | turns |" in markdown(out / "results.json")
    assert found["reward"]["a"]["mean"] == pytest.approx(1 / 3)
    text = markdown(out / "results.json")
    assert "33.3" in text and "Seeds 3, 4;" in text and "| training | rollouts | solve_rate |" in text
    with pytest.raises(ConfigError, match="other settings"):
        Sweeping(sweep, out, Watching(), ("rl.grad_clip=0.5",), parts=fakes()).play()


def test_splits_are_measured_apart_and_compared_apart(tmp_path: Path) -> None:
    text = 'reference = "a"\nsplits = ["dev", "held-out"]\nbaselines = ["unchanged"]\n'
    (tmp_path / "s.toml").write_text(text + '[variants]\na = []\nb = ["rl.steps=3"]\n')

    def by_split(config: Config) -> list[Task]:
        return TASKS[:2] if config.eval.split == "dev" else TASKS[2:]

    parts = replace(fakes(), find=by_split, train=lambda run, watcher: run.path)
    rows = Sweeping(read(tmp_path / "s.toml"), tmp_path / "out", Watching(), parts=parts).play()
    assert set(rows) == {f"{name} ({split})" for name in ("a", "b", "unchanged") for split in ("dev", "held-out")}
    assert set(rows["a (dev)"].counts) == {task.id for task in TASKS[:2]}
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    pairs = {(d["better"], d["worse"]): d["tasks"] for d in found["differences"]}
    assert pairs[("b (dev)", "a (dev)")] == 2 and pairs[("b (held-out)", "a (held-out)")] == len(TASKS) - 2


def test_a_table_goes_into_its_place_and_nothing_else_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- one -->\nold\n<!-- /one -->\nbelow\n<!-- two -->\n<!-- /two -->\n")
    put(page, "one", "new\\1\n")
    put(page, "two", "too\n")
    wanted = "above\n<!-- one -->\nnew\\1\n<!-- /one -->\nbelow\n<!-- two -->\ntoo\n<!-- /two -->\n"
    assert page.read_text() == wanted
    with pytest.raises(RunError, match="no place for three"):
        put(page, "three", "")
    machine = {"cores": 2, "load": 1, "python": "3"}
    made = {"bench": "x", "ratio": 1.23456, "ci": [1, 2.0], "quick": True, "machine": machine}
    (tmp_path / "b.json").write_text(json.dumps(made))
    assert ends(["tabulate", str(tmp_path / "b.json"), "--into", str(page), "--name", "two"]) == 0
    assert "| ratio | 1.235 |" in page.read_text() and "bench x --quick" in page.read_text()
    assert ends(["tabulate", str(tmp_path / "b.json"), "--name", "two"]) == 2  # --name alone would do nothing
    (tmp_path / "results.json").write_text('{"rows": {}}')
    with pytest.raises(RunError, match="no sweep's"):
        markdown(tmp_path / "results.json")


def ends(words: list[str]) -> object:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code


def test_a_part_that_there_is_not_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", str(SWEEPS / "overlong.toml"), "-o", str(tmp_path / "out")]
    for wrong, said in (("--seeds=one", "no numbers"), ("--only=penalise,maks", "'maks'"), ("--only=mask", "penalise")):
        assert ends([*words, wrong]) == 2 and said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_that_fails_is_reported_and_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('reference = "a"\n[variants]\na = []\nb = ["rl.steps=3"]\n')

    def fails(run: RunDir, watcher: Any) -> Path:
        if run.config.rl.steps == 3:
            raise OutageError("no more processes")
        return run.path

    parts = replace(fakes(), train=fails)
    sweeping = Sweeping(read(tmp_path / "s.toml"), tmp_path / "out", Watching(), parts=parts)
    assert set(sweeping.play()) == {"a"} and "no more processes" in sweeping.errors["b/seed-0"]
    assert "b/seed-0" in json.loads((tmp_path / "out" / "results.json").read_text())["errors"]


@pytest.mark.slow
def test_a_shared_stage_is_carried_out_once_and_every_run_is_what_it_would_have_been_alone(
    tmp_path: Path, tiny_store: TaskStore, tiny_model: Path
) -> None:
    given = [s for s in SETTINGS if not s.startswith(("rl.steps", "rl.groups", "rl.max_refills"))]
    given += ["rl.recipe=grpo", "rl.steps=1", "rl.groups_per_step=1", "run.seed=0", "eval.split=train"]
    given += ["eval.attempts=1", f"tasks.store={tiny_store.path}", f"model.path={tiny_model}"]
    text = f'reference = "a"\nset = {json.dumps(given)}\nbaselines = ["rft"]\n'
    variants = '[variants]\na = []\nb = ["rl.learning_rate=1e-3"]\n'
    (tmp_path / "alone.toml").write_text(text + variants)
    (tmp_path / "together.toml").write_text(text + 'share = "rft"\n' + variants)
    alone = Sweeping(read(tmp_path / "alone.toml").narrowed(only=["a"]), tmp_path / "alone", Watching())
    assert set(alone.play()) == {"rft", "a"}
    with pytest.raises(Stopped):
        Sweeping(read(tmp_path / "together.toml"), tmp_path / "together", Watching("a seed-0: rft")).play()
    watching = Watching()
    together = Sweeping(read(tmp_path / "together.toml"), tmp_path / "together", watching)
    assert set(together.play()) == {"rft", "a", "b"} and not together.errors
    assert not any("rejection" in phase for phase in watching.phases)
    assert done(tmp_path / "together" / "a" / "seed-0") == done(tmp_path / "alone" / "a" / "seed-0")
    assert together.training["b"][0]["rollouts"] == alone.training["a"][0]["rollouts"] == 4 + 4


def done(path: Path) -> list[Any]:
    """Every episode of a run and the steps of its metrics."""
    with RunDir.read(path) as run:
        rows = run.query("1 ORDER BY stage, step, id")
        steps = [(line["stage"], line["step"]) for line in run.metrics()]
        return [steps, [(row["id"], row["reward"], run.load(row["id"]).token_ids()) for row in rows]]


@pytest.mark.slow
def test_a_sweep_that_was_stopped_goes_on_and_makes_one_table(
    tmp_path: Path, tiny_store: TaskStore, tiny_model: Path
) -> None:
    given = [s for s in SETTINGS if not s.startswith(("rft.", "rl.steps", "rl.groups", "rl.max_refills", "rollout.gr"))]
    given += ["run.stages=rl", "rl.recipe=grpo", "rl.steps=1", "rl.groups_per_step=1", "rollout.group_size=2"]
    given += ["eval.split=train", "eval.attempts=1", f"tasks.store={tiny_store.path}", f"model.path={tiny_model}"]
    text = f'reference = "a"\nset = {json.dumps(given)}\nmetrics = ["solve_rate"]\n'
    (tmp_path / "s.toml").write_text(text + '[variants]\na = []\nb = ["rl.learning_rate=1e-3"]\n')
    sweep, out = read(tmp_path / "s.toml"), tmp_path / "out"
    with pytest.raises(Stopped):
        Sweeping(sweep, out, Watching("b seed-0: b")).play()  # b is trained and not yet measured
    assert json.loads((out / "results.json").read_text())["missing"] == ["b/seed-0"]
    again = Watching()
    rows = Sweeping(sweep, out, again).play()
    assert again.done == 2 and not any("reinforcement" in name for name in again.phases)  # only b's measuring was left
    found = json.loads((out / "results.json").read_text())
    assert set(rows) == {"a", "b"} == set(read_rows(out / "results.json")) and not found["errors"]
    (d,) = found["differences"]
    assert (d["better"], d["worse"], d["tasks"]) == ("b", "a", 2) and d["ci"][0] <= d["value"] <= d["ci"][1]
    assert found["by_seed"]["b"].keys() == {"0"} and found["training"]["a"]["rollouts"]["mean"] == 2
    with pytest.raises(ConfigError, match="other settings"):
        Sweeping(sweep, out, Watching(), ("rl.grad_clip=0.5",)).play()
