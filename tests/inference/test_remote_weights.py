"""Weights given to servers on a socket, and whose tokens come back: both dialects, and everything that may go wrong."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_helpers import error, some, tiny

from repodojo.core.errors import ConfigError, EngineError
from repodojo.core.protocols import Completion, SamplingParams
from repodojo.inference import checkpoint, remote_fake
from repodojo.inference.engine import Engine
from repodojo.inference.fake import FakeModel
from repodojo.inference.remote import Kind, RemoteModel, Servers
from repodojo.inference.remote_fake import Served
from repodojo.inference.remote_weights import WeightsPublisher

pytest.importorskip("httpx2")
KINDS: tuple[Kind, ...] = ("vllm", "sglang")
PARAMS = SamplingParams(1.0, 9, (4,))
AT_ONCE = (0.0, 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    checkpoint.save(tiny(1), tmp_path / "new")
    return tmp_path / "new"


def fake(versions: tuple[int, ...] = (), finished: Any = "stop", logprob: float = -0.5) -> FakeModel:
    """A model whose tokens are of these versions, as it knows them."""
    count = len(versions)
    return FakeModel(lambda call: Completion(tuple(range(1, count + 1)), (logprob,) * count, versions, finished))


async def asked(kind: Kind, served: Served, version: int) -> Completion:
    """One turn of run "r", which has published up to `version`."""
    async with remote_fake.listening(served) as url:
        client = RemoteModel(kind, url, version=version, run="r")
        try:
            return await client.generate([1, 2], PARAMS, seed=3)
        finally:
            await client.aclose()


@pytest.mark.parametrize("kind", KINDS)
async def test_each_token_carries_the_version_that_the_server_says(kind: Kind) -> None:
    served = Served(fake((5, 5, 6)))
    served.names = {5: "r.2", 6: "r.3"}
    assert (await asked(kind, served, 2)).versions == (2, 2, 3)
    served = Served(fake((6, 6)))  # it was swapped after the worker was told of 2, and before it asked
    served.names = {6: "r.3"}
    assert (await asked(kind, served, 2)).versions == (3, 3)


async def test_a_server_that_names_the_last_weights_alone_has_all_charged_to_the_oldest() -> None:
    served = Served(fake((5, 5, 6)), spans=False)
    served.names = {5: "r.2", 6: "r.3"}
    assert (await asked("sglang", served, 2)).versions == (2, 2, 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["default", "q.3", "r.1", "r", "3", ""])
async def test_weights_that_nobody_published_are_no_answer(kind: Kind, name: str) -> None:
    served = Served(fake((5, 5)), spans=name != "r.1")
    served.names = {5: name}
    with pytest.raises(EngineError, match=r"'r\.2' were published"):
        await asked(kind, served, 2)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_nobody_may_learn_from_is_no_answer(kind: Kind) -> None:
    for model, said in ((fake((0,), "aborted"), "gave a turn up"), (fake((0,), logprob=float("nan")), "not finite")):
        served = Served(model)
        served.names = {0: "r.0"}
        with pytest.raises(EngineError, match=said):
            await asked(kind, served, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_loaded_between_a_pause_and_a_resumption(kind: Kind, folder: Path) -> None:
    models = [FakeModel([]), FakeModel([])]
    served = [Served(model, key="k") for model in models]
    with remote_fake.running(served[0]) as one, remote_fake.running(served[1]) as two:
        with WeightsPublisher(Servers(kind, (one, two), "r", key="k"), waits=()) as publisher:
            publisher.publish(7, folder)
        keyless = WeightsPublisher(Servers(kind, (one,), "r"), waits=())
        with keyless, pytest.raises(EngineError, match="answered 401"):
            keyless.publish(8, folder)
    routes = {
        "vllm": ["pause", "collective_rpc", "update_weight_version", "reset_prefix_cache", "weight_info", "resume"],
        "sglang": ["pause_generation", "update_weights_from_disk", "model_info", "continue_generation"],
    }
    for each, model in zip(served, models, strict=True):
        found = [asked.split("/")[1].partition("?")[0] for asked in each.asked]
        assert found[: len(routes[kind])] == routes[kind]
        assert model.published == [1] and each.name == "r.7" and not each.paused


@pytest.mark.parametrize("kind", KINDS)
def test_a_publication_is_tried_again_and_given_up_paused(kind: Kind, folder: Path) -> None:
    served, left = Served(FakeModel([])), [2]

    def fault(asked: str) -> int:
        if left[0] and asked.startswith(("POST /collective_rpc", "POST /update_weights_from_disk")):
            left[0] -= 1
            return 500
        return 0

    served.fault = fault
    with remote_fake.running(served) as url, WeightsPublisher(Servers(kind, (url,), "r"), waits=AT_ONCE) as publisher:
        publisher.publish(1, folder)
        assert (served.name, served.paused, left) == ("r.1", False, [0])
        left[0] = 3
        with pytest.raises(EngineError, match=r"'r\.2' could not be published.*500"):
            publisher.publish(2, folder)
        assert (served.name, served.paused) == ("r.1", True)  # what may be half loaded is not sampled from
        publisher.publish(3, folder)
        assert (served.name, served.paused) == ("r.3", False)
        with pytest.raises(EngineError, match=r"no model\.safetensors"):
            publisher.publish(4, folder / "missing")
    nobody = WeightsPublisher(Servers(kind, ("http://127.0.0.1:1",), "r"), waits=AT_ONCE)
    with nobody, pytest.raises(EngineError, match="ConnectError"):
        nobody.publish(5, folder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_says_other_weights_is_not_resumed(kind: Kind, folder: Path) -> None:
    class Stubborn(Served):
        name = "default"  # type: ignore[assignment]

    served = Stubborn(FakeModel([]))
    with remote_fake.running(served) as url, WeightsPublisher(Servers(kind, (url,), "r"), waits=()) as publisher:
        with pytest.raises(EngineError, match="says that its weights are 'default'"):
            publisher.publish(1, folder)
        assert served.paused


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_is_asked_how_much_it_takes(kind: Kind) -> None:
    served = Served(FakeModel([]), context=800)
    with remote_fake.running(served) as url, WeightsPublisher(Servers(kind, (url,), "r")) as publisher:
        publisher.check(800)
        with pytest.raises(ConfigError, match=r"takes 800 tokens, agent\.max_context is 801"):
            publisher.check(801)


def test_vllm_without_its_weight_routes_says_what_to_start_it_with(folder: Path) -> None:
    served = Served(FakeModel([]))
    served.fault = lambda asked: 404
    with remote_fake.running(served) as url, pytest.raises(EngineError) as caught:
        WeightsPublisher(Servers("vllm", (url,), "r"), waits=()).publish(1, folder)
    assert "VLLM_SERVER_DEV_MODE=1" in caught.value.way_out


@pytest.mark.parametrize("kind", KINDS)
async def test_a_turn_across_a_swap_has_each_token_of_the_weights_that_sampled_it(kind: Kind, folder: Path) -> None:
    """The built-in engine behind the socket: its log-probs before and after are those of one full forward each."""
    old, ids = tiny(0), some(random.Random(0), 20)
    served = Served(Engine(old, max_context=400))
    async with remote_fake.listening(served) as url:
        publisher = WeightsPublisher(Servers(kind, (url,), "r"), waits=())
        checkpoint.save(old, folder.parent / "old")
        await asyncio.to_thread(publisher.publish, 0, folder.parent / "old")
        client = RemoteModel(kind, url, run="r")
        waiting = asyncio.create_task(client.generate(ids, SamplingParams(max_tokens=300), seed=5))
        while not served.asked[-1].endswith("generate"):  # noqa: ASYNC110  # the server is no part of this test's
            await asyncio.sleep(0)
        await asyncio.to_thread(publisher.publish, 1, folder)
        done = await waiting
        await client.aclose()
        publisher.close()
    first = done.versions.index(1)
    assert done.versions == (0,) * first + (1,) * (300 - first) and 0 < first < 300
    assert torch.tensor(error(old, ids, done, 0, first)) < 1e-4 < error(old, ids, done, first)
    assert error(tiny(1), ids, done, first) < 1e-4
