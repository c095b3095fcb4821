"""mini-swe-agent's prompts, read from the configuration file that it ships, and what of them never varies."""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from repodojo.core.errors import ConfigError

FENCE = "```mswea_bash_command\n"
END = "\n```"
SUBMIT = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
_MARK = "\u241e"
_MACHINE = ("system", "release", "version", "machine")


@dataclass(frozen=True)
class Prompts:
    """The templates of a text-based configuration (`default.yaml`, `mini_textbased.yaml`)."""

    system: str
    instance: str
    observation: str

    @classmethod
    def load(cls, path: Path) -> Prompts:
        """ConfigError where the file is not such a configuration."""
        way_out = "name default.yaml in the folder minisweagent/config of the installed package"
        try:
            read = yaml.safe_load(path.read_text(encoding="utf-8"))
            found = cls(
                read["agent"]["system_template"],
                read["agent"]["instance_template"],
                read["model"]["observation_template"],
            )
        except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} is no configuration of mini-swe-agent: {error!r}", way_out=way_out) from None
        if FENCE not in found.system + found.instance:
            raise ConfigError(f"{path}: its actions are no blocks of {FENCE.strip()}", way_out=way_out)
        return found

    def opening(self, task: str, machine: Mapping[str, str]) -> list[dict[str, str]]:
        """The first two messages; machine: what `platform.uname()` says there."""
        return [
            {"role": "system", "content": _render(self.system, **machine)},
            {"role": "user", "content": _render(self.instance, task=task, **machine)},
        ]

    def observed(self, output: str, returncode: int) -> str:
        """What the agent says of a command that ran."""
        return _render(self.observation, output={"output": output, "returncode": returncode, "exception_info": ""})

    def fixed(self) -> list[str]:
        """The pieces of text that every episode repeats: a tokenizer of its own has one token for each."""
        opening = self.opening(_MARK, dict.fromkeys(_MACHINE, _MARK))
        shown = [self.observed(_MARK, code) for code in (0, 1)]
        pieces = [piece for text in (*(m["content"] for m in opening), *shown) for piece in text.split(_MARK)]
        return list(dict.fromkeys(piece for piece in pieces if len(piece) > 1))


def machine_of(rng: random.Random) -> dict[str, str]:
    """A machine as `uname` describes one: it must not matter which."""
    release = f"{rng.randint(5, 6)}.{rng.randint(0, 19)}.{rng.randint(0, 199)}"
    kind = rng.choice(("", "PREEMPT_DYNAMIC "))
    version = f"#{rng.randint(1, 99)} SMP {kind}{rng.randint(1, 28)} UTC 202{rng.randint(3, 7)}"
    return dict(zip(_MACHINE, ("Linux", release, version, rng.choice(("x86_64", "aarch64"))), strict=True))


def action(command: str) -> str:
    """What the model writes to have a command run."""
    return f"{FENCE}{command}{END}"


@functools.cache
def _compiled(text: str) -> jinja2.Template:
    made: jinja2.Template = jinja2.Template(text, undefined=jinja2.StrictUndefined)
    return made


def _render(text: str, **values: Any) -> str:
    return _compiled(text).render(**values)
