"""The engine away from the CPU.

Torch's meta device refuses two devices in one operation (indices excepted), so it finds what stays behind.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import torch
from engine_helpers import VOCABULARY, tiny

from repodojo.core.errors import ConfigError
from repodojo.core.protocols import SamplingParams
from repodojo.inference import scheduler
from repodojo.inference.devices import device_of
from repodojo.inference.engine import Engine
from repodojo.inference.sampling import drawn
from repodojo.train.config import load
from repodojo.train.setup import pool_settings

META = torch.device("meta")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """Devices of drawn tokens. What is drawn cannot be read from this device: the tokens are made up."""
    seen = list[torch.device]()

    def draw(logits: torch.Tensor, temperatures: list[float], u: list[float]) -> Any:
        tokens, logprobs = drawn(logits, temperatures, u)
        seen.extend((tokens.device, logprobs.device))
        assert tokens.shape == logprobs.shape == (len(u),)
        return [(len(seen) + n) % VOCABULARY for n in range(len(u))], [-1.0] * len(u)

    monkeypatch.setattr(scheduler, "draw", draw)
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_of_a_step_stays_behind_on_the_cpu(taken: list[torch.device], dtype: torch.dtype) -> None:
    decoder = tiny()
    engine = Engine(decoder, dtype=dtype, max_context=512, max_rows=4, prefill_tokens=48, device=META)
    prompt = [n % VOCABULARY for n in range(80)]

    async def talk(name: str, more: int, temperature: float) -> int:
        ids = [*prompt, *range(more)]
        for turn in range(3):
            params = SamplingParams(max_tokens=9, temperature=temperature)
            done = await engine.generate(ids, params, seed=turn, session=name)
            ids += [*done.token_ids, *range(more + 30)]
            engine.publish(turn, decoder.state_dict())
        return len(ids)

    async def everyone() -> list[int]:
        # a group on one prompt (with more rows than a shared prefix is padded for), others, and some who must wait
        group = [talk(f"group-{n}", 0, 1.0) for n in range(20)]
        return await asyncio.gather(*group, *(talk(f"other-{n}", n, n % 2 * 0.7) for n in range(6)))

    lengths = asyncio.run(everyone())
    assert min(lengths) > 150
    assert set(taken) == {META}
    asyncio.run(engine.aclose())


def test_the_c_kernel_is_the_cpus_alone() -> None:
    with pytest.raises(ConfigError, match="computes on the CPU, not on meta"):
        Engine(tiny(), max_context=64, attention="c", device=META)


def test_a_run_says_where_it_computes() -> None:
    config = load(None, ['model.device="auto"', 'tasks.store="x"'])
    assert pool_settings(config).device == config.model.device == "auto"
    assert pool_settings(load(None, ['tasks.store="x"'])).device == "cpu"
    for idle in ('rollout.attention="c"', "rollout.lent_threads=1"):
        with pytest.raises(ConfigError, match=r"model\.device is not"):
            load(None, ['model.device="cuda"', idle])


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto") == device_of("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="no CUDA device that torch can use"):
        device_of("cuda")
    with pytest.raises(ConfigError, match="no device 'tpu'"):
        device_of("tpu")


def test_processes_take_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [device_of("auto", place).index for place in range(3)] == [0, 1, 0]
    assert device_of("cpu", 1) == torch.device("cpu")
