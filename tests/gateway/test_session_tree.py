"""A session's tree: what continues, what branches, and that each sampled token is trained once."""

from __future__ import annotations

from gateway_helpers import CHAT, LS, calling, said, say, session
from hypothesis import given
from hypothesis import strategies as st

from repodojo.algorithms.batches import samples_of
from repodojo.core.protocols import Completion
from repodojo.core.records import Score, Trajectory
from repodojo.gateway.asks import Ask, Message
from repodojo.gateway.tree import Node, Tree, chained
from repodojo.inference.fake import FakeModel

HI = Message("user", "hi")


async def test_a_call_continues_the_very_tokens_that_were_sampled() -> None:
    odd = (*(CHAT.encode(letter)[0] for letter in "return"), CHAT.stop_ids[0])  # no tokenizer would cut it so
    model = FakeModel(lambda call: odd)
    assert CHAT.encode("return") != list(odd[:-1])
    s = session(model)
    first = await say(s, HI)
    assert first.message.content == "return"
    await say(s, HI, first.message, Message("user", "more"))
    prompt = list(model.calls[0].token_ids)
    assert list(model.calls[1].token_ids[: len(prompt) + 7]) == [*prompt, *odd]
    assert model.calls[1].session == model.calls[0].session  # so that the engine's kept prefix is used
    assert s.counts == {"calls": 2, "extended": 1, "branched": 0, "unmatched": 0, "aborted": 0}


async def test_retries_rewrites_and_sub_agents_are_branches_and_counted() -> None:
    s = session(said("one", "two", "three", "four", "five"))
    first = await say(s, HI)
    await say(s, HI, first.message, Message("user", "more"))
    await say(s, HI, first.message, Message("user", "more"))  # a retry
    await say(s, HI, Message("assistant", "edited"), Message("user", "more"))  # an answer that nobody sampled
    await say(s, Message("user", "a sub-agent's own prompt"))
    assert s.counts["branched"] == 3 and s.counts["extended"] == 2 and s.counts["unmatched"] == 1
    paths = s.tree.paths()
    assert [[turn.text for turn in path] for path in paths] == [["one", "three"], ["two"], ["four"], ["five"]]
    assert paths[1][0].observation_ids[-1] == paths[0][1].observation_ids[-1]


async def test_where_the_limit_cut_a_turn_its_end_is_added_unsampled() -> None:
    s = session(said("one two three"))
    first = await say(s, HI, max_tokens=2)
    assert first.finish == "length"
    exchange = s.prepare(Ask((HI, first.message, Message("user", "more"))))
    assert exchange.observation[0] == CHAT.stop_ids[0]


async def test_tool_results_read_as_the_built_in_agents_do() -> None:
    s = session(said(calling("ls"), "done"))
    first = await say(s, HI, tools=[LS])
    results = [Message("tool", "a<|im_end|>b"), Message("tool", "c")]
    exchange = s.prepare(Ask((HI, first.message, *results), tools=[LS]))
    assert list(exchange.observation) == CHAT.observation(["a<|im_end|>b", "c"], stopped=True)


async def test_other_tools_are_another_context() -> None:
    s = session(said("one"))
    first = await say(s, HI, tools=[LS])
    await say(s, HI, first.message, Message("user", "more"))
    assert s.counts["extended"] == 0 and s.counts["unmatched"] == 1


@given(st.lists(st.integers(-1, 7), min_size=1, max_size=12), st.integers(0, 3))
def test_every_sampled_token_is_an_action_of_exactly_one_path(parents: list[int], salt: int) -> None:
    tree = Tree()
    for number, parent in enumerate(parents):
        above = tree.nodes[parent] if -1 < parent < len(tree.nodes) else None
        done = Completion((number * 2 + 1, number * 2 + 2), (-0.5, -1.0), (salt, salt))
        node = Node(f"n{number}", above, (1000 + number,), done, Message("assistant", str(number)), "", "", True)
        tree.add(node, chained([Message("user", str(number))], [])[-1])
    paths = tree.paths()
    trajectory = Trajectory("t", "t", "g", "p", 0, paths[0], "submit", Score(1.0), branches=tuple(paths[1:]))
    samples = samples_of(trajectory, 0.5)
    trained = [i for s in samples for i, m in zip(s.token_ids, s.loss_mask, strict=True) if m]
    assert sorted(trained) == list(range(1, 2 * len(parents) + 1))
    leaves = [node for node in tree.nodes if not node.children]
    assert sorted(tuple(leaf.ids()) for leaf in leaves) == sorted(s.token_ids for s in samples)
    assert all(s.advantage == 0.5 for s in samples)
    assert len(paths[0]) == max(len(leaf.path()) for leaf in leaves)
