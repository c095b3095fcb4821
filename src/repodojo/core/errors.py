"""The error tree. Every failure has a type, a cause and, where a person can act, a way out.

Two branches matter to training. A `UserError` stops a command with one clear message. An `OutageError` means that
the infrastructure failed: it is never turned into a reward, a score that meets one is None.
"""

from __future__ import annotations


class RepodojoError(Exception):
    """Base of all errors raised on purpose.

    >>> print(SourceError("no tests in 'foo'", way_out="name a package that ships its tests"))
    no tests in 'foo'. Way out: name a package that ships its tests
    """

    def __init__(self, cause: str, *, way_out: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.way_out = way_out

    def __str__(self) -> str:
        return f"{self.cause}. Way out: {self.way_out}" if self.way_out else self.cause


class UserError(RepodojoError):
    """Something a person gave cannot be used."""


class ConfigError(UserError):
    """A setting is unknown, idle or of the wrong type."""


class SourceError(UserError):
    """A package, folder or repository cannot become tasks."""


class TaskError(UserError):
    """A task set is missing, malformed or fails its validation."""


class CheckpointError(UserError):
    """A model folder cannot be loaded."""


class RunError(UserError):
    """A run directory cannot be used as asked."""


class OutageError(RepodojoError):
    """The infrastructure failed; retried within a bound, reported, never a reward."""


class SandboxError(OutageError):
    """A box could not be made, or died for a reason that is not the code inside it."""


class EngineError(OutageError):
    """The inference engine failed or was stopped."""


class ToolServerError(OutageError):
    """A server of tools (MCP) did not start."""


class GradingError(OutageError):
    """The grader itself failed: no verdict exists."""


class DeadlineError(OutageError):
    """An episode was not over at its deadline and was cancelled."""


class ToolFormatError(RepodojoError):
    """The model wrote a tool call that cannot be carried out; fed back to it, never raised past the agent loop.

    `kind` is one of FORMAT_ERROR_KINDS, so that rates can be reported by kind.
    """

    def __init__(self, kind: str, cause: str) -> None:
        super().__init__(cause)
        self.kind = kind


FORMAT_ERROR_KINDS = ("no-call", "bad-json", "not-an-object", "unknown-tool", "missing", "unknown-argument", "bad-type")
