"""The base's own byte-level BPE: Python-shaped pieces, and one token for each fixed part of a tool call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# Parts that every transcript repeats. They are ordinary text: a call decodes to the JSON that any other model writes.
FRAGMENTS = (
    "<|im_start|>assistant\n",
    "\n<|im_start|>assistant\n",
    "\n<|im_start|>user\n<tool_response>\n",
    "\n</tool_response>\n<tool_response>\n",
    "\n</tool_response>",
    "<tool_call>\n",
    "\n</tool_call>",
    "\n</tool_call>\n<tool_call>\n",
    '{"name": "editor", "arguments": {"command": "str_replace", "line": ',
    ', "old_str": "',
    '{"name": "editor", "arguments": {"command": "undo"}}',
    '{"name": "editor", "arguments": {"command": "view", "view_range": [',
    '{"name": "bash", "arguments": {"command": "',
    '{"name": "search", "arguments": {"query": "',
    '{"name": "submit", "arguments": {}}',
    '", "new_str": "',
    '"}}',
    "]}}",
)
# The last two digits of a line's number are one token, which nothing else is made of: what a listing's lines are
# looked up by.
LABELS = (*(f"{number}\t" for number in range(10)), *(f"{number:02}\t" for number in range(100)))
# A blank belongs to what follows it; digits go in pairs from the right; a line break takes its indentation along.
OPERATORS = r"\*\*=|//=|\*\*|//|<<|>>>|>>|<=|>=|==|!=|->|:=|\+=|-=|\*=|/=|\.\.\."
PIECES = rf" ?[A-Za-z_]+| ?\d{{1,2}}(?=(?:\d\d)*(?!\d))|\n *| ?(?:{OPERATORS})| ?[^\sA-Za-z0-9_]| +|\s"
TEMPLATE = """{%- for m in messages -%}
{%- if m.role == 'system' -%}
{{- '<|im_start|>system\\n' + m.content -}}
{%- if tools -%}{{- '\\nTools:' -}}{%- for t in tools -%}{{- ' ' + t.function.name -}}{%- endfor -%}{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- elif m.role == 'tool' -%}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' -%}{{- '<|im_start|>user' -}}{%- endif -%}
{{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' -}}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}{{- '<|im_end|>\\n' -}}{%- endif -%}
{%- else -%}
{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""


def train(texts: Iterator[str], size: int) -> Any:
    """A Hugging Face tokenizer of `size` entries, made from `texts`."""
    from transformers import PreTrainedTokenizerFast  # slow to import

    fixed = len(SPECIAL) + len(FRAGMENTS) + len(LABELS)
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size - fixed, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in (*FRAGMENTS, *LABELS)])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def speaks(model: Path, size: int) -> bool:
    """Whether the model folder's tokenizer has `size` entries, and one for each fixed part."""
    from transformers import AutoTokenizer  # slow to import

    known = AutoTokenizer.from_pretrained(str(model)).get_vocab()
    return len(known) == size and known.keys() >= {*SPECIAL, *FRAGMENTS, *LABELS}


def save(tokenizer: Any, path: Path) -> None:
    """Write the tokenizer files of a model folder."""
    path.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(str(path))
