"""Who answers the prompts: the references themselves, a language model, or any program (an agent)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
from collections.abc import Awaitable, Callable

from repodojo.core.errors import ToolFormatError, UserError
from repodojo.core.protocols import Model, SamplingParams
from repodojo.evaluate.commands.prompts import SYSTEMS, Prompt
from repodojo.inference.chat import ChatFormat
from repodojo.inference.toolcalls import parse

Answer = Callable[[Prompt], Awaitable[str]]
"""Gives the command line for a prompt; "" where there is none."""

_FENCE = re.compile(r"```[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
_PROMPT_SIGN = re.compile(r"^(?:\$ |PS [^>]*> ?|PS> ?|[A-Z]:\\[^>]*> ?|> )")
LONGEST = 1 << 20  # bytes of an agent's answer


def question(prompt: Prompt) -> tuple[str, str]:
    """What is said to whoever answers: the place, then the task."""
    where = f"You work in a terminal of {SYSTEMS[prompt.shell]} that runs {prompt.shell}."
    return f"{where} Answer with one {prompt.shell} command line and nothing else.", prompt.prompt


def extract(text: str) -> str:
    """The command line in an answer: of a tool call, of a fenced block, or the first line.

    >>> extract("Do this:\\n```sh\\n$ ls -a\\n```"), extract("`pwd`\\nprints it")
    ('ls -a', 'pwd')
    """
    for call in parse(text) if "<tool_call>" in text else ():
        if not isinstance(call, ToolFormatError) and isinstance(call.arguments.get("command"), str):
            return str(call.arguments["command"])
    fenced = _FENCE.search(text)
    lines = [line for line in (fenced[1] if fenced else text).splitlines() if line.strip()]
    lines = lines if fenced else lines[:1]
    return "\n".join(_PROMPT_SIGN.sub("", line.strip()).strip("`") for line in lines)


async def reference(prompt: Prompt) -> str:
    """The set's own answer."""
    return prompt.answer


def of_model(model: Model, chat: ChatFormat, *, seed: int, temperature: float = 1.0, max_tokens: int = 96) -> Answer:
    """Answers of a language model, one conversation a prompt."""

    async def answer(prompt: Prompt) -> str:
        system, user = question(prompt)
        ids = chat.prompt([{"role": "system", "content": system}, {"role": "user", "content": user}], [])
        params = SamplingParams(temperature, max_tokens, chat.stop_ids)
        done = await model.generate(ids, params, seed=seed, session=prompt.id)
        model.release(prompt.id)
        return extract(chat.decode(done.token_ids))

    return answer


def of_program(command: str, *, seconds: float = 60.0) -> Answer:
    """Answers of a program: started once a prompt, told on standard input, and in REPODOJO_SHELL; its output counts.

    UserError where it cannot be started. Past `seconds`, or with an exit status other than 0, there is no answer.
    """
    argv = shlex.split(command)
    if not argv:
        raise UserError("the agent's command is empty", way_out='give --agent "COMMAND"')

    async def answer(prompt: Prompt) -> str:
        environment = {**os.environ, "REPODOJO_SHELL": prompt.shell}
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, env=environment)
        except OSError as error:
            way_out = "name a program that can be run"
            raise UserError(f"the agent {argv[0]!r} cannot be started: {error.strerror}", way_out=way_out) from None
        try:
            async with asyncio.timeout(seconds):
                said, _ = await process.communicate("\n".join(question(prompt)).encode())
        except TimeoutError:
            return ""
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        return extract(said[:LONGEST].decode("utf-8", "replace")) if process.returncode == 0 else ""

    return answer
