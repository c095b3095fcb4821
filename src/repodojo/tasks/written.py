"""Bugs that a model writes: it fills in a function from its signature and docstring, and what the tests refuse stays.

SWE-smith calls this "LM rewrite" (arXiv 2504.21798). The model never sees the body; what it writes counts as a bug
where it parses, differs from the original and fails the function's tests.
"""

from __future__ import annotations

import ast
import asyncio
import textwrap
from collections.abc import Callable, Sequence
from typing import Protocol

from repodojo.core.protocols import Model, SamplingParams
from repodojo.inference.chat import ChatFormat
from repodojo.tasks.discover import FunctionInfo
from repodojo.tasks.features import signature
from repodojo.tasks.mutate import Edit, Mutant

WRITTEN = "model-written"
SYSTEM = "Write the whole Python function. Answer with its code and nothing else."
AT_ONCE = 16


class Writer(Protocol):
    """Writes a function from what is known of it; `attempt` tells several tries of one function apart."""

    async def write(self, head: str, attempt: int) -> str: ...


class ModelWriter:
    """Any engine as a writer."""

    def __init__(self, model: Model, chat: ChatFormat, *, seed: int = 0, max_tokens: int = 256) -> None:
        self.model, self.chat, self.seed, self.max_tokens = model, chat, seed, max_tokens

    async def write(self, head: str, attempt: int) -> str:
        """What the model answers; "" where the prompt fills its context. EngineError where the engine fails."""
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"```python\n{head}\n```"}]
        ids = self.chat.prompt(messages, ())
        params = SamplingParams(1.0, self.max_tokens, self.chat.stop_ids)
        done = await self.model.generate(ids, params, seed=self.seed * 1009 + attempt)
        return self.chat.decode(done.token_ids)


async def rewrites(
    functions: Sequence[FunctionInfo], writer: Writer, tries: int, tell: Callable[[int, int], None]
) -> dict[str, list[Mutant]]:
    """By focus, the different bodies that a writer gave a function in so many tries."""
    found: dict[str, list[Mutant]] = {function.focus: [] for function in functions}
    places, done = asyncio.Semaphore(AT_ONCE), [0]

    async def one(function: FunctionInfo, attempt: int) -> None:
        async with places:
            answer = await writer.write(textwrap.dedent(signature(function)), attempt)
        done[0] += 1
        tell(done[0], len(functions) * tries)
        mutant = rewritten(function, answer)
        if mutant and mutant.edit not in [other.edit for other in found[function.focus]]:
            found[function.focus].append(mutant)

    async with asyncio.TaskGroup() as group:
        for function in functions:
            for attempt in range(tries if not isinstance(function.node, ast.ClassDef) else 0):
                group.create_task(one(function, attempt))
    return found


def rewritten(function: FunctionInfo, answer: str) -> Mutant | None:
    """The function with the body that an answer gives it; None where there is none, or it is the old one.

    The signature and docstring stay the original's, whatever the answer made of them.
    """
    code = _code(answer)
    try:
        nodes = [n for n in ast.parse(code).body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    except (SyntaxError, ValueError):
        return None
    node = next((n for n in nodes if n.name == function.node.name), None)
    if node is None or not function.body:
        return None
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if not body or [ast.dump(n) for n in body] == [ast.dump(n) for n in function.body]:
        return None
    rows = code.splitlines()[body[0].lineno - 1 : body[-1].end_lineno]
    if body[0].lineno == node.lineno:
        return None
    start, end = function.body_span
    indent = " " * function.body[0].col_offset
    text = textwrap.indent(textwrap.dedent("\n".join(rows)), indent) + "\n"
    edit = Edit(start, end, text)
    try:
        ast.parse(edit.apply(function.text.source))
    except SyntaxError:
        return None
    return Mutant(WRITTEN, edit, "written by a model")


def _code(answer: str) -> str:
    """What stands in an answer's first fence, or all of it."""
    _, fence, rest = answer.partition("```")
    return textwrap.dedent(rest.partition("\n")[2].partition("```")[0] if fence else answer)
