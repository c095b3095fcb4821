"""Secrets and e-mail addresses taken out of texts, before anything of a product is written down.

Known shapes (keys of cloud and code hosts, tokens, private keys, credentials in URLs), what is assigned to a name that
says so (password, token, secret, api key), and long words that look drawn by chance. Removing too much costs a word;
removing too little cannot be undone. What this cannot see: secrets that look like plain words, names of people.
"""

from __future__ import annotations

import math
import re
from collections import Counter

EMAIL, SECRET = "[e-mail]", "[secret]"
_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]+@(?:[\w-]+\.)+[^\W\d_]{2,}(?![\w])")
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_SHAPES = re.compile(
    r"(?:AKIA|ASIA)[0-9A-Z]{16}"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}"  # GitHub, GitLab
    r"|xox[abeoprs]-[\w-]{8,}"  # Slack
    r"|AIza[\w-]{30,}|ya29\.[\w-]{16,}"  # Google
    r"|(?:sk|pk|rk)[-_][\w-]{16,}"  # OpenAI, Anthropic, Stripe
    r"|(?:hf|npm)_[A-Za-z0-9]{16,}|pypi-[\w-]{16,}"  # package and model hubs
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # JSON Web Tokens
)
_IN_URL = re.compile(r"(?<=://)[^\s/:@\[\]]+:[^\s/@\[\]]+(?=@)")
_BEARER = re.compile(r"(?i)(\b(?:bearer|basic)\s+)(?!\[secret\])[A-Za-z0-9._~+/=-]{8,}")
_ASSIGNED = re.compile(
    r"(?i)((?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)\w*"
    r"[\"']?\s*(?:=|:)\s*)(\"[^\"\n]*\"|'[^'\n]*'|[^\s,;\"'\[]+)"
)
_NO_VALUES = {"str", "bytes", "int", "bool", "float", "None", "True", "False", "string", "null", "true", "false", ""}
_LONG = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{32,}={0,2}(?![\w+/=-])")


def scrubbed(text: str) -> str:
    """The text without secrets and e-mail addresses; doing it twice changes nothing more.

    >>> scrubbed("mail ann@example.org, token=abc123, see src/app.py")
    'mail [e-mail], token=[secret], see src/app.py'
    """
    text = _KEY_BLOCK.sub(SECRET, text)
    text = _IN_URL.sub(SECRET, text)
    text = _SHAPES.sub(SECRET, text)
    text = _BEARER.sub(rf"\1{SECRET}", text)
    text = _ASSIGNED.sub(_value, text)
    text = _LONG.sub(lambda word: SECRET if _by_chance(word[0]) else word[0], text)
    return _EMAIL.sub(EMAIL, text)


def _value(found: re.Match[str]) -> str:
    """The assignment without its value; quotation marks stay, so that code still reads as code, and so do its types."""
    if found[2].rstrip("),:") in _NO_VALUES:
        return found[0]
    mark = found[2][0] if found[2][0] in "\"'" else ""
    return f"{found[1]}{mark}{SECRET}{mark}"


def _by_chance(word: str) -> bool:
    """Letters of both cases and digits, evenly spread: no path, no name, no hash of Git's (those are hexadecimal)."""
    kinds = (any(c.islower() for c in word), any(c.isupper() for c in word), any(c.isdigit() for c in word))
    counts = Counter(word)
    entropy = -sum(n / len(word) * math.log2(n / len(word)) for n in counts.values())
    return all(kinds) and entropy > 3.5
