"""The parts behind protocols: what a room may expect of another without importing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from repodojo.core.records import Environment, Score, Task, Trajectory


@dataclass(frozen=True)
class Limits:
    """What one box or one command may use."""

    seconds: float = 60.0
    memory_mb: int = 1024
    processes: int = 64
    disk_mb: int = 256
    files: int = 65536
    output_bytes: int = 1 << 20


@dataclass(frozen=True)
class ExecResult:
    """How a command ended and what it printed.

    `ended` tells the code's own doing ("exit", "timeout", "output", "memory", "killed") apart; an outage is raised as
    SandboxError instead. `report` is what the command wrote to the private descriptor named by REPODOJO_REPORT_FD.
    """

    exit_code: int | None
    output: bytes
    ended: Literal["exit", "timeout", "output", "memory", "killed"] = "exit"
    truncated: bool = False
    seconds: float = 0.0
    report: bytes = b""


@runtime_checkable
class Sandbox(Protocol):
    """A box with a private copy-on-write view of an environment. Paths are relative to its work dir or absolute."""

    async def exec(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        seconds: float | None = None,
        warm: bool = False,
    ) -> ExecResult:
        """Run a command. `warm` lets ("python", "-m", module, ...) be served by a fork of a warm interpreter."""
        ...

    async def read(self, path: str) -> bytes:
        """The file's bytes; FileNotFoundError, IsADirectoryError as the host would raise them."""
        ...

    async def write(self, path: str, data: bytes | None) -> None:
        """Write a file (parents are made), or delete it where `data` is None."""
        ...

    async def listdir(self, path: str = ".") -> list[str]:
        """Names in a folder, folders with a trailing slash, sorted."""
        ...

    async def changes(self) -> Mapping[str, bytes | None]:
        """Regular files under the work dir that differ from the base that the host remembers (None: deleted)."""
        ...

    async def close(self) -> None:
        """Kill everything inside and give the box back. Calling it twice is harmless."""
        ...


class SandboxFactory(Protocol):
    """Makes boxes for an environment."""

    async def create(self, environment: Environment) -> Sandbox: ...

    async def close(self) -> None:
        """Close every box and stop what serves them."""
        ...


class Reward(Protocol):
    """Scores what an episode left behind; Score.value is None where the infrastructure failed."""

    async def score(self, task: Task, changes: Mapping[str, bytes | None], trajectory: Trajectory | None) -> Score: ...


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are drawn. Training keeps temperature 1 and nothing else, or log-probs would be biased."""

    temperature: float = 1.0
    max_tokens: int = 256
    stop_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Completion:
    """T sampled tokens, each with its log-probability and the version of the policy that sampled it."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    versions: tuple[int, ...]
    finished: Literal["stop", "length", "context", "aborted"] = "stop"


class Model(Protocol):
    """Makes tokens. A `session` names a conversation whose prefix the engine may keep (its KV) between calls."""

    async def generate(
        self, token_ids: Sequence[int], params: SamplingParams, *, seed: int, session: str = ""
    ) -> Completion: ...

    def release(self, session: str) -> None:
        """Forget a conversation's kept prefix."""
        ...


@runtime_checkable
class Chooser(Protocol):
    """A model whose engine can hold an answer to one of several texts. What it draws then is not the policy's own
    distribution, so nothing of it is trained on."""

    async def choose(self, token_ids: Sequence[int], texts: Sequence[str], *, temperature: float, seed: int) -> str: ...


class WeightSink(Protocol):
    """Takes new weights: Hugging Face parameter names to tensors (typed loosely, core imports no torch)."""

    def publish(self, version: int, weights: Mapping[str, object]) -> None: ...
