"""One file's text to its facts."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from repodojo.agent.graph.facts import Definition, Facts
from repodojo.agent.graph.grammars import grammar, language_of
from repodojo.core.recent import Recent

KINDS = ("function", "method", "class", "interface", "struct", "enum", "trait", "type", "macro", "variable", "module")
MOST_BYTES = 1 << 20  # longer files are generated, and nobody's to read
_SCOPE = "scope"  # an `impl` or a namespace: it owns what stands in it, and is no definition itself
_CLASSES = {"class", "interface", "struct", "trait", _SCOPE}
_QUOTES = "\"'<>"


def content_hash(data: bytes) -> str:
    """The name of a file's content."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class Parser:
    """Parses, and remembers facts by content: a file that did not change, or comes again elsewhere, costs a hash."""

    def __init__(self, remembered: int = 50_000) -> None:
        self._known: Recent[tuple[str, str], Facts] = Recent(remembered)
        self.parsed = 0

    def facts(self, path: str, data: bytes) -> Facts | None:
        """The facts of a file; None where its language is not known or it is longer than MOST_BYTES."""
        language = language_of(path)
        if not language or len(data) > MOST_BYTES:
            return None
        key = (language, content_hash(data))
        if key not in self._known:
            self._known[key] = parse(language, data)
            self.parsed += 1
        return self._known[key]


def parse(language: str, data: bytes) -> Facts:
    """The facts of `data`; whatever is not in the language is passed over, never an error."""
    from tree_sitter import QueryCursor

    known = grammar(language)
    root = known.parser.parse(data).root_node
    captures: dict[str, list[Any]] = defaultdict(list)
    found = []
    for _, match in QueryCursor(known.query).matches(root):
        if "name" in match:
            found.append(_found(match))
        else:
            for name, nodes in match.items():
                captures[name] += nodes
    rows = data.split(b"\n")
    definitions = _definitions(found, rows)
    named: dict[str, list[Definition]] = defaultdict(list)
    for definition in definitions:
        named[definition.name].append(definition)
    own = {(node.start_byte, node.end_byte) for item in found for node in item[3]}
    return Facts(
        language=language,
        lines=len(rows) - (not rows[-1]),
        definitions=definitions,
        named={name: tuple(same) for name, same in named.items()},
        uses=_uses(captures["use"], own, data),
        calls=tuple(sorted({(_text(node, data), node.start_point[0] + 1) for node in captures["call"]})),
        imports=_imports(captures, data),
        broken=bool(root.has_error),
    )


def _found(match: Mapping[str, list[Any]]) -> tuple[str, Any, str, list[Any]]:
    """Kind, whole node, owner as the match itself names it, and the nodes of the name."""
    kind = next((kind for kind in (*KINDS, _SCOPE) if kind in match), _SCOPE)
    owner = match["owner"][0].text.decode("utf-8", "replace") if "owner" in match else ""
    return kind, match[kind][0], owner, match["name"]


def _definitions(found: Sequence[tuple[str, Any, str, list[Any]]], rows: Sequence[bytes]) -> tuple[Definition, ...]:
    """Definitions in the order of the file, each with what it stands in."""
    made: list[Definition] = []
    open_: list[tuple[int, str, str]] = []  # where it ends, its qualified name, its kind
    taken: set[tuple[int, int]] = set()
    for kind, node, owner, names in sorted(found, key=lambda item: (item[1].start_byte, -item[1].end_byte)):
        span = (names[0].start_byte, names[0].end_byte)
        if span in taken:
            continue
        taken.add(span)
        while open_ and open_[-1][0] <= node.start_byte:
            open_.pop()
        written = names[0].text.decode("utf-8", "replace").replace("::", ".").replace(" ", "")
        above, _, name = written.rpartition(".")
        outer = ".".join(part for part in (open_[-1][1] if open_ else "", owner, above) if part)
        in_class = bool(owner or above) or (bool(open_) and open_[-1][2] in _CLASSES)
        called = "method" if kind == "function" and in_class else kind
        if called != "variable":
            open_.append((node.end_byte, f"{outer}.{name}" if outer else name, called))
        if called != _SCOPE:
            first, last = node.start_point[0] + 1, max(node.end_point[0] + (node.end_point[1] > 0), 1)
            signature = rows[names[0].start_point[0]].decode("utf-8", "replace").strip()[:160]
            made.append(Definition(name, called, first, max(first, last), outer, signature))
    return tuple(made)


def _uses(nodes: Sequence[Any], own: set[tuple[int, int]], data: bytes) -> dict[str, tuple[int, ...]]:
    """Name to the lines where it is used; where it is defined is no use of it."""
    starts = [0]
    at = data.find(b"\n")
    while at >= 0:
        starts.append(at + 1)
        at = data.find(b"\n", at + 1)
    lines: dict[str, set[int]] = defaultdict(set)
    for node in nodes:
        start, end = node.start_byte, node.end_byte
        if (start, end) not in own:
            lines[data[start:end].decode("utf-8", "replace")].add(bisect_right(starts, start))
    return {name: tuple(sorted(where)) for name, where in lines.items()}


def _imports(captures: Mapping[str, list[Any]], data: bytes) -> tuple[str, ...]:
    """Modules as written; what Python imports from one counts as below it, since it may be a module itself."""
    modules = [(node.start_byte, _text(node, data).strip(_QUOTES)) for node in captures.get("import", ())]
    modules.sort()
    starts = [start for start, _ in modules]
    names = [text for _, text in modules]
    for node in captures.get("imported", ()):
        above = names[max(bisect_right(starts, node.start_byte) - 1, 0)]
        names.append(f"{above}{'' if above.endswith('.') else '.'}{_text(node, data)}")
    return tuple(dict.fromkeys(names))


def _text(node: Any, data: bytes) -> str:
    return data[node.start_byte : node.end_byte].decode("utf-8", "replace")
