"""Terminal commands judged by shell: do they parse, do they belong to it, are their names and parameters known."""

from repodojo.rewards.commands.judge import Verdict, judge
from repodojo.rewards.commands.syntax import SHELLS, Invocation, Parsed, Shell, Word, parse

__all__ = ["SHELLS", "Invocation", "Parsed", "Shell", "Verdict", "Word", "judge", "parse"]
