"""`bash`: any command in the box. The task's own visible command is served warm, and remembered by source state."""

from __future__ import annotations

from pydantic import Field

from repodojo.agent.tools.base import Arguments, ToolContext, Word
from repodojo.core.digest import fingerprint
from repodojo.core.protocols import ExecResult
from repodojo.core.records import ToolResult

NOTES = {
    "timeout": "[stopped: time limit]",
    "output": "[stopped: too much output]",
    "memory": "[out of memory]",
    "killed": "[killed]",
}

RUNNER = ("python", "-m", "boxrun")  # what the visible command of a made task starts, here from a warm interpreter


class BashArguments(Arguments):
    """What `bash` takes."""

    command: Word = Field(description="The command to run in the repository's root.")


class Bash:
    """Runs a command with bash and gives back what it printed."""

    name = "bash"
    description = "Run a bash command in the repository."
    arguments = BashArguments

    async def run(self, arguments: BashArguments, context: ToolContext) -> ToolResult:
        command = arguments.command.strip()
        visible = bool(command) and command == context.task.visible_command
        if visible:
            result = await self._visible(command, context)
        else:
            context.untracked = True
            result = await context.sandbox.exec(("bash", "-c", arguments.command))
        text = result.output.decode("utf-8", "replace").rstrip("\n")
        lines = [text] if text else []
        if result.ended in NOTES:
            lines.append(NOTES[result.ended])
        elif result.exit_code and not visible:
            lines.append(f"[exit code {result.exit_code}]")
        passed = result.ended == "exit" and result.exit_code == 0
        error = result.ended if result.ended in NOTES else ""
        status = result.exit_code if result.ended == "exit" else None
        text = "\n".join(lines) or "[no output]"
        return ToolResult(text, error, tests_run=visible, exit_code=status, passed=visible and passed)

    async def _visible(self, command: str, context: ToolContext) -> ExecResult:
        """The same source gives the same output: validation dropped every task whose tests flicker."""
        tests = context.task.visible_tests
        argv = (*RUNNER, *tests) if tests else ("bash", "-c", command)
        if context.memo is None or context.untracked:
            return await context.sandbox.exec(argv, warm=True)
        key = (context.task.id, fingerprint(await context.sandbox.changes()))
        return await context.memo.of(key, lambda: context.sandbox.exec(argv, warm=True), _is_fact)


def _is_fact(result: ExecResult) -> bool:
    """Whether a run says something of the source: a limit that was met once, perhaps on a busy machine, does not."""
    return result.ended == "exit"
