"""Conversations as tokens, by the tokenizer's own chat template, rendered once and only ever appended to.

What was sampled is never tokenised again: a later observation is the text that the template puts between an assistant
turn and the next, encoded alone and appended.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from repodojo.core.errors import CheckpointError
from repodojo.core.recent import Recent

_MARK = "\u241e\u241e"
_OPENINGS, _OBSERVATIONS = 256, 2048  # that are remembered


class ChatFormat:
    """Renders prompts and observations for one tokenizer. `stop_ids` end an assistant turn."""

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise CheckpointError("the tokenizer has no chat template", way_out="use an instruct model's tokenizer")
        self.tokenizer = tokenizer
        self.stop_ids: tuple[int, ...] = (int(tokenizer.eos_token_id),)
        self._marks = tuple(mark for mark in tokenizer.all_special_tokens if len(mark) > 1)
        self._between = self._template_between_turns()
        self._openings: Recent[str, array[int]] = Recent(_OPENINGS)
        self._observations: Recent[str, array[int]] = Recent(_OBSERVATIONS)

    @classmethod
    def load(cls, path: Path) -> ChatFormat:
        """The format of the tokenizer in a model folder."""
        if not (path / "tokenizer_config.json").is_file():  # transformers would speak of the network instead
            cause = f"no usable tokenizer in '{path}': tokenizer_config.json is missing"
            raise CheckpointError(cause, way_out="save tokenizer and model in one folder")
        from transformers import AutoTokenizer  # takes over a second to import

        try:
            return cls(AutoTokenizer.from_pretrained(str(path), local_files_only=True))
        except (OSError, ValueError) as error:
            way_out = "save tokenizer and model in one folder"
            raise CheckpointError(f"no usable tokenizer in '{path}': {error}", way_out=way_out) from error

    def prompt(self, messages: Sequence[Mapping[str, str]], tools: Sequence[Mapping[str, Any]]) -> list[int]:
        """Tokens up to where the assistant begins to write."""
        harmless = [{**message, "content": self.harmless(message["content"])} for message in messages]
        text = self.tokenizer.apply_chat_template(
            harmless, tools=list(tools), tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return self.encode(text)

    def opening(self, messages: Sequence[Mapping[str, str]], tools: Sequence[Mapping[str, Any]]) -> list[int]:
        """`prompt`, remembered: the episodes of a group begin alike."""
        key = json.dumps([list(messages), list(tools)])
        return _remembered(self._openings, key, lambda: self.prompt(messages, tools))

    def observation(self, outputs: Sequence[str], *, stopped: bool) -> list[int]:
        """Tokens from the end of an assistant turn to the start of the next, tool outputs between.

        `stopped` says that the policy sampled the end-of-turn token itself; else it is added here, unsampled.
        Lately rendered ones are remembered: tools say much the same to the episodes of a group.
        """
        head, joint, tail = self._between
        text = head + joint.join(self.harmless(output) for output in outputs) + tail
        ids = _remembered(self._observations, text, lambda: self.encode(text))
        return ids[1:] if stopped and ids and ids[0] in self.stop_ids else ids

    def continuation(self, messages: Sequence[Mapping[str, Any]], *, stopped: bool) -> list[int]:
        """Like `observation`, for any messages after an assistant turn (in OpenAI's form, made harmless by the caller).

        jinja2.TemplateError where the template refuses them.
        """
        call = {"type": "function", "function": {"name": "submit", "arguments": {}}}
        before = [{"role": "user", "content": "u"}, {"role": "assistant", "content": _MARK, "tool_calls": [call]}]
        text = str(
            self.tokenizer.apply_chat_template(
                [*before, *messages], tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        )
        after = text.split(_MARK, 1)[1]
        ids = self.encode(after[after.find(str(self.tokenizer.eos_token)) :])
        return ids[1:] if stopped and ids and ids[0] in self.stop_ids else ids

    def harmless(self, text: str) -> str:
        """Text of others without control tokens: a file that holds `<|im_end|>` must not end a turn.

        They are broken by a blank, which a reader hardly sees and the tokenizer does.
        """
        for mark in self._marks:
            text = text.replace(mark, f"{mark[0]} {mark[1:]}")
        return text

    def encode(self, text: str) -> list[int]:
        """Tokens of text, nothing added."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of tokens, end-of-turn tokens left out."""
        kept = [i for i in ids if i not in self.stop_ids]
        return str(self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _template_between_turns(self) -> tuple[str, str, str]:
        """What the template writes before, between and after tool outputs, found by rendering marks."""
        call = {"type": "function", "function": {"name": "submit", "arguments": {}}}
        messages = [
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": _MARK, "tool_calls": [call]},
            {"role": "tool", "content": f"{_MARK}1"},
            {"role": "tool", "content": f"{_MARK}2"},
        ]
        try:
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        except jinja2.TemplateError as error:
            cause = f"the chat template refuses tool results: {error}"
            raise CheckpointError(cause, way_out="use a model whose template knows the 'tool' role") from error
        eos = str(self.tokenizer.eos_token)
        after = text.split(_MARK, 1)[1]
        cut = after.find(eos)
        parts = after[max(cut, 0) :].replace(f"{_MARK}1", _MARK).replace(f"{_MARK}2", _MARK).split(_MARK)
        if cut < 0 or len(parts) != 3:
            cause = "the chat template does not render tool results"
            raise CheckpointError(cause, way_out="use a model whose template knows the 'tool' role")
        return parts[0], parts[1], parts[2]


def _remembered(known: Recent[str, array[int]], key: str, make: Callable[[], list[int]]) -> list[int]:
    """A list of its own for each caller; kept as an array, which takes a fifth of a list's memory."""
    ids = known.get(key)
    if ids is None:
        ids = known[key] = array("q", make())
    return ids.tolist()
