"""The results.json of a sweep as Markdown, and into the place of a document that is kept for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repodojo.core.errors import RunError
from repodojo.evaluate.summary import Row
from repodojo.evaluate.tables import kinds_table, rate, read_rows

MOST_STEPS = 16


def markdown(path: Path) -> str:
    """Where the figures came from, the rows with paired differences, what training showed, and pass@1 by kind.

    Rates in percent with 95% intervals: of rows clustered by task, of training's means over seeds. RunError where the
    file holds no results of a sweep.
    """
    rows, document = read_rows(path), json.loads(path.read_text(encoding="utf-8"))
    if "by_seed" not in document:
        raise RunError(f"{path} is no sweep's", way_out="name the folder of a `repodojo compare`")
    parts = [_source(document), _rows(rows, document), _training(document), *_curves(document)]
    if len({kind for row in rows.values() for kind in row.by_kind}) > 1:
        parts.append(kinds_table(list(rows.values())))
    return "\n".join(part for part in parts if part)


def bench_markdown(path: Path) -> tuple[str, str]:
    """The name of a place ("bench-NAME") and the figures of `repodojo bench NAME --json`, one a row.

    RunError where the file holds no such object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        name, machine = str(document.pop("bench")), document.pop("machine")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        way_out = "write it with `repodojo bench NAME --json > FILE`"
        raise RunError(f"{path} holds no benchmark: {error}", way_out=way_out) from None
    head = f"    repodojo bench {name}{' --quick' if document.pop('quick', False) else ''} --json\n\n"
    head += f"{machine['cores']} cores, load {machine['load']} while it ran, Python {machine['python']}.\n\n"
    body = [[key, _figure(value)] for key, value in document.items() if not isinstance(value, bool)]
    return f"bench-{name}", head + table(["figure", "value"], body)


def _figure(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_figure(one) for one in value)}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _source(document: Mapping[str, Any]) -> str:
    machine, seeds = document["machine"], ", ".join(str(seed) for seed in document["seeds"])
    lines = [f"    {document['command']}", ""]
    lines.append(
        f"Seeds {seeds}; {machine['cores']} cores ({machine['processor']}), {machine['memory_gib']:.0f} GiB, "
        f"Python {machine['python']}."
    )
    lines += [f"Failed: {name}: {text}" for name, text in document["errors"].items()]
    lines += [f"Not done yet: {', '.join(document['missing'])}."] if document["missing"] else []
    return "\n".join(lines) + "\n"


def _rows(rows: Mapping[str, Row], document: Mapping[str, Any]) -> str:
    """A row a policy; the difference is to the reference on the same split, task by task."""
    differences = {d["better"]: d for d in document["differences"]}
    many = len(document["seeds"]) > 1
    head = ["policy", "pass@1", *(["pass@1 by seed"] if many else []), "pass@8", "reward", "difference"]
    head += ["tested first", "submits", "turns", "tokens", "episodes"]
    body = []
    for name, row in rows.items():
        paid, d = document["reward"].get(name, {}), differences.get(name)
        by_seed = [" ".join(rate(value) for value in document["by_seed"][name].values())] if many else []
        body.append(
            [
                name,
                rate(row.pass1, row.pass1_ci),
                *by_seed,
                rate(row.pass8, row.pass8_ci),
                rate(paid.get("mean"), paid.get("ci")),
                rate(d["value"], d["ci"]) if d else "",
                rate(row.tested_before_submit),
                rate(row.submit_rate),
                f"{row.turns:.1f}",
                f"{row.tokens:.0f}",
                f"{row.episodes}" + (f" (+{row.outages} outages)" if row.outages else ""),
            ]
        )
    return table(head, body)


def _training(document: Mapping[str, Any]) -> str:
    """Means over the steps of RL, with the interval over seeds where there are several."""
    training: Mapping[str, Mapping[str, Any]] = document["training"]
    names = list(dict.fromkeys(name for one in training.values() for name in one))
    body = [[variant, *(_number(one.get(name)) for name in names)] for variant, one in training.items()]
    return table(["training", *names], body) if names else ""


def _curves(document: Mapping[str, Any]) -> list[str]:
    """A table a variant, of at most MOST_STEPS steps, evenly taken; means over seeds."""
    found: list[str] = []
    for variant, curves in document.get("curves", {}).items():
        values = {name: dict(zip(one["step"], one["mean"], strict=True)) for name, one in curves.items()}
        steps = sorted({step for one in values.values() for step in one})
        shown = steps[:: -(-len(steps) // MOST_STEPS) or 1]
        body = [
            [f"{step:.0f}", *(f"{one[step]:.3g}" if step in one else rate(None) for one in values.values())]
            for step in shown
        ]
        if body:
            found.append(table([f"{variant}, step", *values], body))
    return found


def _number(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return rate(None)
    interval = found.get("ci")
    return f"{found['mean']:.4g}" + (f" [{interval[0]:.4g}, {interval[1]:.4g}]" if interval else "")


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Markdown: the first column to the left, the others to the right."""
    lines = [f"| {' | '.join(head)} |", f"|---{'|---:' * (len(head) - 1)}|"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in body]
    return "\n".join(lines) + "\n"


def put(document: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->` in a document; RunError where they are not."""
    try:
        before = document.read_text(encoding="utf-8")
    except OSError as error:
        raise RunError(f"{document}: {error.strerror}", way_out="name a file that can be read") from None
    first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    found = re.search(f"{re.escape(first)}.*?{re.escape(last)}", before, re.DOTALL)
    if found is None:
        cause = f"{document} has no place for {name}"
        raise RunError(cause, way_out=f"write {first.strip()} and {last} into it, each in a line of its own")
    document.write_text(before[: found.start()] + first + text + last + before[found.end() :], encoding="utf-8")
