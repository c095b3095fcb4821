"""TRL's side of `bench end-to-end`: a script for TRL's environment. Settings on stdin, a JSON line a step on stdout.

Its GRPOTrainer drives everything through its own environment interface; tools, boxes, tests and rewards are this
project's, so that both sides do the same work beside model and scheduling.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

from repodojo.agent import prompts
from repodojo.agent.focus import retrieve
from repodojo.agent.tools import default_tools
from repodojo.agent.tools.base import Memo, ToolContext
from repodojo.core.errors import ToolFormatError
from repodojo.core.records import Task
from repodojo.inference.toolcalls import RawCall
from repodojo.rewards.grade import TestReward
from repodojo.sandbox.factory import LocalFactory
from repodojo.tasks.store import TaskStore
from repodojo.train.sections import Agent

CALLS = r"""
{%- for call in m.tool_calls or [] -%}
{{- ('\n' if m.content or not loop.first else '') + '<tool_call>\n{"name": "' + call.function.name -}}
{{- '", "arguments": ' + (call.function.arguments | tojson) + '}\n</tool_call>' -}}
{%- endfor -%}
"""
"""How a call looks in this project, for chat templates that know it only as text."""
AFTER = "{{{{- ('' if {} else '\\n') + '<|im_start|>"
"""How a turn begins where the line break before it is its own."""


class School:
    """What all episodes share."""

    def __init__(self, settings: dict[str, Any]) -> None:
        store = Path(settings["store"])
        self.tasks = {task.id: task for task in TaskStore(store).tasks()}
        self.boxes = LocalFactory(store, allow_unisolated=settings["allow_unisolated"])
        self.reward = TestReward(
            self.boxes,
        )
        self.tools = default_tools(Agent().observation_chars)
        self.memo = Memo()

    async def opening(self, task: Task) -> list[dict[str, str]]:
        box = await self.boxes.create(task.environment)
        found = prompts.messages(task, await retrieve(box, task.focus))
        await box.close()
        return found


class Env:
    """What TRL makes its environments of: public methods become tools, which it describes by their docstrings."""

    school: ClassVar[School]
    _task: Task
    _context: ToolContext | None
    _over: bool

    def reset(self, task: str, **_: Any) -> None:
        self._task, self._context, self._over = self.school.tasks[task], None, False

    async def bash(self, command: str) -> str:
        """Run a bash command in the repository.

        Args:
            command: The command to run in the repository's root.
        """
        return await self._call("bash", {"command": command})

    async def search(self, query: str, path: str = ".") -> str:
        """Search the repository's files for a regular expression.

        Args:
            query: Extended regular expression to look for.
            path: File or folder to look in.
        """
        return await self._call("search", {"query": query, "path": path})

    async def editor(
        self,
        command: str,
        path: str | None = None,
        view_range: list[int] | None = None,
        file_text: str | None = None,
        old_str: str | None = None,
        new_str: str | None = None,
        insert_line: int | None = None,
        line: int | None = None,
    ) -> str:
        """View, create and edit files.

        Args:
            command: What to do.
            path: File to work on; the one last shown if left out.
            view_range: view: first and last line.
            file_text: create: the whole text.
            old_str: str_replace: text that stands there exactly once.
            new_str: str_replace, insert: the new text.
            insert_line: insert: line after which to insert; 0 is the top.
            line: str_replace: where old_str begins, if it stands there more than once.
        """
        given = {name: value for name, value in locals().items() if name != "self" and value is not None}
        return await self._call("editor", given)

    async def submit(self) -> str:
        """Say that the task is done."""
        return await self._call("submit", {})

    async def get_reward(self) -> float | None:
        changes: dict[str, bytes | None] = {}
        if self._context is not None:
            changes = dict(await self._context.sandbox.changes())
            await self._context.sandbox.close()
        return (await self.school.reward.score(self._task, changes, None)).value

    async def _call(self, name: str, arguments: dict[str, Any]) -> str:
        if self._over:  # the trainer goes on until the model calls nothing: it has no other way to end
            return "submitted"
        if self._context is None:
            box = await self.school.boxes.create(self._task.environment)
            self._context = ToolContext(self._task, box, self.school.memo)
            listing = await retrieve(box, self._task.focus)
            if listing is not None:
                self._context.view = listing.view
        try:
            tool, checked = self.school.tools.check(RawCall(name, arguments))
        except ToolFormatError as error:
            return prompts.format_error(error.kind, str(error))
        result = await self.school.tools.run(tool, checked, self._context)
        self._over = self._context.submitted
        return result.output


def template_of(own: str) -> str:
    """A chat template that renders calls and is prefix-preserving in tokens, and writes what `own` writes.

    One token spells the line break after a turn together with the opening of the next, so a conversation's tokens
    would depend on what follows. Here that line break is written by the next turn: the text up to where the assistant
    begins to write is the same, and only a conversation that ends with a turn lacks its last line break.
    ValueError where `own` is written in another way.
    """
    content = "{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' -}}"
    begun = "{{- '<|im_start|>' + m.role + '\\n' + (m.content or '') -}}"
    turns, prompt, opening = own.rpartition("{%- if add_generation_prompt -%}")
    if content not in turns or not opening.startswith("{{- '<|im_start|>"):
        raise ValueError("the base's chat template is not written as template_of in _trl_side.py expects")
    turns = turns.replace(content, begun + CALLS.strip() + "{{- '<|im_end|>' -}}")
    turns = turns.replace("<|im_end|>\\n", "<|im_end|>").replace("{{- '<|im_start|>", AFTER.format("loop.first"))
    return turns + prompt + opening.replace("{{- '<|im_start|>", AFTER.format("not messages"), 1)


def tokenizer_of(path: str) -> Any:
    """The model's, with a chat template that TRL can train on, and TRL's way to read calls."""
    from transformers import AutoTokenizer
    from trl import chat_template_utils as known

    tokenizer: Any = AutoTokenizer.from_pretrained(path, local_files_only=True, padding_side="left")
    tokenizer.chat_template = template_of(tokenizer.chat_template)
    tokenizer.response_template = known.qwen3_template
    return tokenizer


def arguments(settings: dict[str, Any]) -> Any:
    """TRL's configuration: its defaults but for what both sides share."""
    from trl import GRPOConfig

    return GRPOConfig(
        output_dir=settings["out"],
        per_device_train_batch_size=settings["groups"] * settings["group_size"],
        num_generations=settings["group_size"],
        max_completion_length=settings["context"],
        max_tool_calling_iterations=settings["turns"],
        generation_kwargs={"max_new_tokens": settings["turn_tokens"]},
        learning_rate=settings["learning_rate"],
        lr_scheduler_type="constant",
        max_steps=settings["steps"],
        seed=settings["seed"],
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
    )


def clock(episodes: int) -> Any:
    """A callback that prints a line a step."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.perf_counter()

        def on_log(self, *_: Any, logs: dict[str, float] | None = None, **__: Any) -> None:
            if logs is not None and "reward" in logs:
                line = {"seconds": time.perf_counter() - self.began, "reward": logs["reward"], "episodes": episodes}
                print(json.dumps({**line, "length": logs.get("completions/mean_length", 0.0)}), flush=True)

    return Clock()


def main() -> None:
    """One training run; a line {"seconds", "reward", "episodes", "length"} for each step."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import GRPOTrainer

    settings = json.loads(sys.stdin.read())
    torch.set_num_threads(settings["threads"])
    school = Env.school = School(settings)
    how: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": "sdpa"}
    model: Any = AutoModelForCausalLM.from_pretrained(settings["model"], **how)
    rows = [{"prompt": asyncio.run(school.opening(school.tasks[name])), "task": name} for name in settings["tasks"]]
    trainer = GRPOTrainer(
        model=model,
        args=arguments(settings),
        train_dataset=Dataset.from_list(rows * max(1, -(-settings["groups"] // len(rows)))),
        processing_class=tokenizer_of(settings["model"]),
        environment_factory=Env,
        callbacks=[clock(settings["groups"] * settings["group_size"])],
    )
    trainer.train()


if __name__ == "__main__":
    main()
