"""What is rendered is read back, and nothing that a model writes raises."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repodojo.core.errors import FORMAT_ERROR_KINDS, ToolFormatError
from repodojo.inference.toolcalls import RawCall, parse, render

words = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["</tool_call>", "a</tool_call>\n<tool_call>{", "<\\/tool_call>", "\\</tool_call>", '"}}', "\u2028\0\x7f"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
raw_calls = st.builds(RawCall, words, st.dictionaries(words, values, max_size=3))


@given(st.lists(raw_calls, min_size=1, max_size=3), st.sampled_from(["", "\n", " I think so. "]))
def test_what_is_rendered_is_read_back(calls: list[RawCall], between: str) -> None:
    text = between + between.join(render(call.name, call.arguments) for call in calls) + between
    assert parse(text) == calls


fragments = st.sampled_from(
    [
        "<tool_call>",
        "</tool_call>",
        "\n",
        '{"name": "bash"',
        ', "arguments": {',
        "}",
        "]",
        "[",
        '"',
        "\\ud800",
        "NaN",
        "9" * 5000,
    ]
)


@given(st.lists(fragments | st.text(max_size=4), max_size=12))
def test_whatever_is_written_becomes_calls_or_named_errors(parts: list[str]) -> None:
    found = parse("".join(parts))
    assert found
    for item in found:
        if isinstance(item, ToolFormatError):
            assert item.kind in FORMAT_ERROR_KINDS and item.cause
        else:
            item.name.encode()
            repr(item.arguments).encode()


@pytest.mark.parametrize(
    ("text", "kind", "cause"),
    [
        ("", "no-call", "the turn holds no <tool_call>"),
        ("</tool_call>", "no-call", "the turn holds no <tool_call>"),
        ("<tool_call></tool_call>", "bad-json", "not JSON: Expecting value"),
        ("<tool_call>{'name': 'bash'}</tool_call>", "bad-json", "double quotes"),
        ('<tool_call>{"name": "bash"} x</tool_call>', "bad-json", "not JSON: Extra data"),
        ('<tool_call>{"name": "bash", "arguments": {"command": "a\nb"}}</tool_call>', "bad-json", "control character"),
        (f'<tool_call>{{"name": "bash", "arguments": {{"a": {"1" * 5000}}}}}', "bad-json", "a number is too long"),
        ('<tool_call>{"name": "bash", "arguments": {"command": "\\ud800"}}', "bad-json", "surrogate"),
        ('<tool_call>{"name": "\\udfff"}', "bad-json", "surrogate"),
        ("<tool_call>" + "[" * (sys.getrecursionlimit() * 50), "bad-json", "nested too deep"),
        ("<tool_call>[]</tool_call>", "not-an-object", '{"name": ..., "arguments": {...}}'),
        ('<tool_call>{"arguments": {}}</tool_call>', "not-an-object", "name"),
        ('<tool_call>{"name": 3}</tool_call>', "not-an-object", "name"),
        ('<tool_call>{"name": "bash", "arguments": "ls"}</tool_call>', "not-an-object", "arguments must be an object"),
        ('<tool_call>{"name": "bash", "arguments": null}</tool_call>', "not-an-object", "arguments must be an object"),
    ],
)
def test_each_mistake_has_a_kind_and_a_cause(text: str, kind: str, cause: str) -> None:
    (error,) = parse(text)
    assert isinstance(error, ToolFormatError) and error.kind == kind and cause in error.cause


def test_a_call_without_its_end_or_its_arguments_is_a_call() -> None:
    assert parse('<tool_call>{"name": "submit"}') == [RawCall("submit", {})]
    assert parse('<tool_call>{"name": "a", "arguments": {"x": "\\ud83d\\ude00"}}') == [
        RawCall("a", {"x": "\U0001f600"})
    ]


def test_sound_calls_around_a_broken_one_are_kept_in_order() -> None:
    found = parse(f"{render('a', {})}<tool_call>oops</tool_call>{render('b', {'x': 1})}")
    assert [getattr(item, "name", None) or getattr(item, "kind", None) for item in found] == ["a", "bad-json", "b"]
