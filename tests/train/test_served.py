"""Training over a server: the same run as with the built-in engine, token for token, and what its failures become."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch

from repodojo.core.errors import ConfigError, EngineError, OutageError
from repodojo.core.records import Trajectory
from repodojo.inference import checkpoint, remote_fake
from repodojo.inference.engine import Engine
from repodojo.inference.fake import FakeModel
from repodojo.inference.remote_fake import Served
from repodojo.rollout.orders import group_orders
from repodojo.tasks.store import TaskStore
from repodojo.train import estimates, setup
from repodojo.train.config import Config, dump, load
from repodojo.train.events import Silent
from repodojo.train.loop import train
from repodojo.train.plan import plan
from repodojo.train.rundir import RunDir
from tiny_school import SETTINGS

pytest.importorskip("httpx2")
WHOLE = (*(s for s in SETTINGS if not s.startswith(("rft.", "rl.max_refills"))), "run.stages=rl", "rl.recipe=grpo")


def named(store: TaskStore, model: Path) -> list[str]:
    return [f"tasks.store={json.dumps(str(store.path))}", f"model.path={json.dumps(str(model))}"]


def over(kind: str, *urls: str) -> list[str]:
    return [f"rollout.engine={kind}", f"rollout.engine_urls={json.dumps(list(urls))}"]


@contextlib.contextmanager
def server(model: Path, *others: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The fake in a process of its own, with the built-in engine behind it."""
    words = [sys.executable, "-m", "repodojo.inference.remote_fake", str(model), "--max-context", "800", *others]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def played(run: RunDir) -> dict[str, Trajectory]:
    return {row["id"]: run.load(row["id"]) for row in run.query("1")}


Done = tuple[dict[str, Trajectory], Mapping[str, Any], list[dict[str, Any]]]


def done(folder: Path, settings: Sequence[str]) -> Done:
    """A whole run: its episodes, its final weights, its metrics."""
    with RunDir.create(folder, load(None, settings)) as run:
        weights = checkpoint.read_weights(train(run))
        return played(run), weights, run.metrics()


def versions_of(trajectory: Trajectory) -> set[int]:
    return {version for turn in trajectory.turns for version in turn.versions}


class Meddler(Silent):
    """Does something once a step of RL is over."""

    def __init__(self, what: Callable[[], object]) -> None:
        self._what = what

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        if (stage, step) == ("rl", 0):
            self._what()


def same(found: Mapping[str, Trajectory], wanted: Mapping[str, Trajectory]) -> None:
    assert sorted(found) == sorted(wanted)
    for name, trajectory in found.items():
        theirs = wanted[name]
        assert trajectory.token_ids() == theirs.token_ids() and trajectory.score.value == theirs.score.value
        logprobs = [p for turn in trajectory.turns for p in turn.logprobs]
        assert logprobs == pytest.approx([p for turn in theirs.turns for p in turn.logprobs], abs=1e-4)


@pytest.fixture(scope="module")
def built_in(
    tmp_path_factory: pytest.TempPathFactory, tiny_store: TaskStore, tiny_model: Path
) -> tuple[list[str], Done]:
    """Three steps and an evaluation in between by the built-in engine: settings, and what came of them."""
    given = [*WHOLE, *named(tiny_store, tiny_model), "rl.steps=3", "rl.eval_every=2", "eval.split=train"]
    given += ["eval.attempts=1", "rl.learning_rate=1e-3"]
    return given, done(tmp_path_factory.mktemp("plain") / "run", given)


def test_a_run_over_vllm_is_that_of_the_built_in_engine(
    tmp_path: Path, built_in: tuple[list[str], Done], tiny_model: Path
) -> None:
    """Weights that did not arrive, or arrived late, would change tokens."""
    given, (wanted, want, _) = built_in
    assert len(wanted) == 3 * 8 + 2 and {0, 1, 2} == set().union(*map(versions_of, wanted.values()))
    with server(tiny_model) as (url, _process):
        found, got, lines = done(tmp_path / "served", [*given, *over("vllm", url), "rollout.workers=2"])
    same(found, wanted)
    for name, trajectory in found.items():
        assert versions_of(trajectory) == ({2} if name.startswith("eval/") else versions_of(wanted[name]))
    assert all(torch.allclose(got[name], want[name], atol=1e-5) for name in want)
    for line in lines:
        if line["stage"] == "rl":
            assert line["mismatch_max"] < 1e-3 and line["outages"] == 0 and line["engine_decoded_tokens"] > 0


@pytest.mark.slow
def test_a_server_started_anew_stops_the_run_and_resumed_it_ends_the_same(
    tmp_path: Path, built_in: tuple[list[str], Done], tiny_model: Path
) -> None:
    """After the first step the server dies, and one that nobody gave weights takes its place."""
    given, (wanted, want, _) = built_in
    with contextlib.ExitStack() as servers:
        url, process = servers.enter_context(server(tiny_model))
        port = str(urlsplit(url).port)

        def anew() -> None:
            process.kill()
            process.wait()
            assert servers.enter_context(server(tiny_model, "--port", port))[0] == url

        with RunDir.create(tmp_path / "cut", load(None, [*given, *over("vllm", url)])) as run:
            with pytest.raises(OutageError, match="all of 8 episodes met an outage, the last: EngineError"):
                train(run, Meddler(anew))
            assert run.state.step == 1 and run.state.version == 1
        with RunDir.resume(tmp_path / "cut") as run:
            final = checkpoint.read_weights(train(run))
            same(played(run), wanted)
        assert all(torch.allclose(final[name], want[name], atol=1e-5) for name in want)


@pytest.mark.slow
@pytest.mark.parametrize("spans", [True, False])
def test_sglang_ahead_of_the_learner(tmp_path: Path, tiny_store: TaskStore, tiny_model: Path, spans: bool) -> None:
    """Weights are swapped under turns in flight. Where it tells the last version alone, no token is said too new."""
    ahead = ["rl.steps=3", "rollout.max_staleness=1", "rollout.workers=2", "rl.learning_rate=1e-3"]
    shared = tmp_path / "shared"
    (tmp_path / "key").write_text("k\n")
    with server(tiny_model, *([] if spans else ["--no-spans"])) as (url, _process):
        where = [f"rollout.engine_weights={json.dumps(str(shared))}"]
        where += [f"rollout.engine_key_file={json.dumps(str(tmp_path / 'key'))}"]
        given = [*WHOLE, *named(tiny_store, tiny_model), *ahead, *over("sglang", url), *where]
        found, _, lines = done(tmp_path / "run", given)
    assert list(shared.iterdir()) == []
    rl = [line for line in lines if line["stage"] == "rl"]
    assert [line["outages"] for line in rl] == [0, 0, 0] and len(found) == 24
    for name, trajectory in found.items():
        assert versions_of(trajectory) <= {0, 1, 2}, name
    if spans:
        assert all(line["mismatch_max"] < 1e-3 for line in rl if not line["ratio_max"] > 1)
    assert set().union(*map(versions_of, found.values())) >= {0, 1}


def test_a_server_that_fails_is_an_outage_and_never_a_reward(
    tmp_path: Path, tiny_store: TaskStore, tiny_model: Path
) -> None:
    orders = group_orders([task.id for task in tiny_store.tasks()], size=2, prefix="t", seed=0)
    served = Served(Engine(tiny_model, max_context=800))
    with remote_fake.running(served) as url:
        config = load(None, [*WHOLE, *named(tiny_store, tiny_model), *over("vllm", url), "rollout.retries=1"])
        with setup.open_pool(config) as pool:
            assert {t.score.value for t in pool.run(orders)} <= {0.0, 1.0}
            served.fault = lambda asked: 500 * asked.endswith("generate")
            before = len(served.asked)
            for number, trajectory in enumerate(
                pool.run(group_orders([orders[0].task_id], size=3, prefix="u", seed=0))
            ):
                assert (trajectory.score.value, trajectory.score.error) == (None, "EngineError"), number
            assert len(served.asked) - before == 3 * 2  # each tried once more, and no oftener
            served.fault = lambda asked: 500 * ("collective_rpc" in asked)
            with pytest.raises(EngineError, match="could not be published"):
                pool.publish(1, checkpoint.read_weights(tiny_model))
            assert served.paused
    with setup.open_pool(config) as pool, pytest.raises(EngineError, match="ConnectError"):
        pool.start()


def test_a_server_that_takes_too_little_is_refused(tiny_store: TaskStore, tiny_model: Path) -> None:
    with remote_fake.running(Served(FakeModel([]), context=799)) as url:
        config = load(None, [*WHOLE, *named(tiny_store, tiny_model), *over("sglang", url)])
        with setup.open_pool(config) as pool, pytest.raises(ConfigError, match="takes 799 tokens"):
            pool.start()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["rollout.engine=vllm"], "engine_urls names none"),
        ([*over("vllm", "http://a", "http://b")], "ask no more servers"),
        ([*over("vllm", "http://a", "http://a"), "rollout.workers=2"], "names a server twice"),
        ([*over("vllm", "a:8000")], "no http"),
        (["rollout.engine_urls=http://a"], 'rollout.engine is "builtin"'),
        (["rollout.engine_weights=w"], 'rollout.engine is "builtin"'),
        ([*over("sglang", "http://a"), "rollout.engine_model=m"], 'rollout.engine is not "vllm"'),
        ([*over("vllm", "http://a"), "rollout.kv_mb=64"], "its own memory"),
        ([*over("vllm", "http://a"), "rollout.lent_threads=1"], "its own memory and threads"),
        ([*over("vllm", "http://a"), "rollout.max_staleness=1", "rollout.kv_after_publish=keep"], "anew"),
    ],
)
def test_what_a_server_makes_of_no_use_is_refused(given: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(None, given)


def test_a_plan_says_what_a_server_may_get_wrong() -> None:
    machine = estimates.machine("h100", 1)
    made = plan(load(None, [*over("vllm", "http://a"), "rollout.temperature=0.7"]), machine)
    assert sum("processed_logprobs" in said or "tied output head" in said for said in made.warnings) == 2
    engine = made.sections["rollout"]["engine"]
    assert (engine.value, engine.how) == ("vllm", "http://a")
    assert not plan(load(None, over("sglang", "http://a")), machine).warnings


def test_yarn_is_refused_since_a_server_reads_it_once(tmp_path: Path) -> None:
    file = tmp_path / "stages.toml"
    file.write_text('[[stages]]\nname = "long"\nyarn = 2.0\nrl.steps = 1\n')
    with pytest.raises(ConfigError, match="stage long sets yarn"):
        load(file, over("vllm", "http://a"))


def test_settings_reach_the_workers_and_a_resumed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("key").write_text(" secret \n")
    given = [*over("vllm", "http://a/", "http://b"), "rollout.workers=3", "rollout.engine_model=m"]
    given += ["rollout.engine_key_file=key", "rollout.engine_weights=w"]
    with RunDir.create(tmp_path / "run", load(None, given)) as run:
        config: Config = run.config
        monkeypatch.chdir("/")
        servers = setup.pool_settings(config).servers
    assert servers is not None and servers.urls == ("http://a", "http://b") and servers.key == "secret"
    assert (servers.kind, servers.model, servers.folder) == ("vllm", "m", str(tmp_path / "w"))
    assert "secret" not in repr(servers) + dump(config)
    again = setup.pool_settings(config).servers
    assert again is not None and again.run != servers.run  # nobody's weights are taken for another run's
    (tmp_path / "key").write_text("\n")
    with pytest.raises(ConfigError, match="holds no key"):
        setup.pool_settings(config)
    assert setup.pool_settings(load(None)).servers is None
