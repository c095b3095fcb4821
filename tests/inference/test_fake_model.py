"""The fake behaves like a model: limits, stops, versions, order."""

from __future__ import annotations

import pytest

from repodojo.core.errors import EngineError
from repodojo.core.protocols import Completion, SamplingParams
from repodojo.inference.fake import Call, FakeModel


async def test_sequences_are_answered_in_order_and_cut_as_an_engine_cuts() -> None:
    model = FakeModel([[5, 6, 7], [1, 2, 3], [4]], logprob=-0.5)
    stopped = await model.generate([9], SamplingParams(stop_ids=(6,)), seed=1, session="a")
    assert stopped == Completion((5, 6), (-0.5, -0.5), (0, 0), "stop")
    model.publish(3, {})
    cut = await model.generate([9], SamplingParams(max_tokens=2), seed=1)
    assert cut == Completion((1, 2), (-0.5, -0.5), (3, 3), "length")
    assert (await model.generate([9], SamplingParams(), seed=1)).finished == "stop"
    with pytest.raises(EngineError, match="run out"):
        await model.generate([9], SamplingParams(), seed=1)
    model.release("a")
    assert (model.released, model.published, len(model.calls)) == (["a"], [3], 4)
    assert model.calls[0] == Call((9,), SamplingParams(stop_ids=(6,)), 1, "a")


async def test_a_function_may_answer_from_the_call_and_raise() -> None:
    def script(call: Call) -> list[int] | Completion:
        if call.session == "bad":
            raise EngineError("as asked")
        return Completion((), (), (), "context") if call.seed else [call.token_ids[-1] + 1]

    model = FakeModel(script)
    assert (await model.generate([4], SamplingParams(), seed=0)).token_ids == (5,)
    assert (await model.generate([4], SamplingParams(), seed=1)).finished == "context"
    with pytest.raises(EngineError, match="as asked"):
        await model.generate([4], SamplingParams(), seed=0, session="bad")
