"""The command line that is an agent: variables, program and arguments, as a shell reads them."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from repodojo.core.errors import ConfigError

_VARIABLE = re.compile(r"[A-Za-z_]\w*=")


@dataclass(frozen=True)
class AgentCommand:
    """`A=1 program argument`: variables, then words."""

    variables: Mapping[str, str]
    words: tuple[str, ...]

    def python(self) -> tuple[str, tuple[str, ...]]:
        """The interpreter that runs it, and what that is given: a script and its arguments, or -m and a module.

        ConfigError where it is no Python program.
        """
        first, *more = self.words
        program = shutil.which(first) or first
        if re.fullmatch(r"python[\d.]*", Path(program).name):
            if more and (more[0] == "-m" or not more[0].startswith("-")):
                return program, tuple(more)
        elif shebang := _shebang(Path(program)):
            return shebang, (program, *more)
        raise ConfigError(
            f"agent.preload: {first} is no Python program", way_out="leave agent.preload out, or name a script"
        )


def _shebang(path: Path) -> str:
    """The Python that a script names in its first line, "" where it names none."""
    with path.open("rb") as file:
        line = file.readline(512)
    found = re.match(rb"#!\s*(\S*python[\d.]*)\s*$", line)
    return found[1].decode() if found else ""


def parse(command: str) -> AgentCommand:
    """The command; words that name a file here are made absolute, since it runs elsewhere.

    >>> parse("A=1 sh -c 'echo $A'").words
    ('sh', '-c', 'echo $A')

    ConfigError where it is not a command line, or its program is not there.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(
            f"agent.command cannot be read: {error}", way_out="quote it as a shell would have it"
        ) from None
    variables = {}
    while words and _VARIABLE.match(words[0]):
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    if not words or not (Path(words[0]).is_file() or shutil.which(words[0])):
        cause = f"agent.command: there is no program {words[0] if words else ''!r}"
        raise ConfigError(cause, way_out="install it, or give its path")
    return AgentCommand(
        variables, tuple(str(Path(word).absolute()) if Path(word).is_file() else word for word in words)
    )
