"""A few episodes to read turn by turn: what the policy was shown, what it wrote, what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from repodojo.core.records import ToolCall, ToolResult, Trajectory, Turn
from repodojo.dashboard.html import Markup, join, tag
from repodojo.train.rundir import RunDir

Decode = Callable[[Sequence[int]], str]
LONGEST = 6000  # characters of one text; the middle of a longer one is left out, and said to be

PICKS = (
    ("The last episode that tested, submitted and passed", "reward >= 1 AND tests_run = 1 AND stop_reason = 'submit'"),
    ("The last episode that passed without running tests", "reward >= 1 AND tests_run = 0"),
    ("The last episode that failed", "reward < 1 AND stop_reason = 'submit'"),
    ("The last episode that met a limit", "reward < 1 AND stop_reason <> 'submit'"),
    ("The last episode without a reward", "reward IS NULL"),
)
FIRST = ("The first episode of the run", "1 ORDER BY rowid LIMIT 1")


def chosen(run: RunDir) -> list[tuple[str, dict[str, Any]]]:
    """(why it is shown, its row), each episode once; empty where the run has none."""
    asked = [*((why, f"{where} ORDER BY rowid DESC LIMIT 1") for why, where in PICKS), FIRST]
    picked: dict[str, tuple[str, dict[str, Any]]] = {}
    for why, where in asked:
        for row in run.query(where):
            picked.setdefault(row["id"], (why, row))
    return list(picked.values())


def decoder(run: RunDir) -> Decode | None:
    """Text of token ids by the tokenizer beside the run's newest weights; None where there is none."""
    checkpoint = run.latest_checkpoint()
    folders = [folder for folder in (checkpoint, Path(run.config.model.path or "/nonexistent")) if folder]
    found = next((file for folder in folders for file in sorted(folder.rglob("tokenizer.json"))), None)
    if found is None:
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(found))
    return lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=False))


def section(run: RunDir) -> Markup:
    """All chosen episodes, folded; the first one open."""
    decode = decoder(run)
    shown = [
        _episode(why, row, run.load(row["id"]), decode, unfolded=place == 0)
        for place, (why, row) in enumerate(chosen(run))
    ]
    return join(*shown) if shown else tag("p", "This run has no episodes yet.", class_="soft")


def _episode(why: str, row: dict[str, Any], t: Trajectory, decode: Decode | None, *, unfolded: bool) -> Markup:
    size = f"{row['turns']} turns, {row['tokens']} tokens"
    facts = f"{t.task_id} · {row['stage']} step {row['step']} · {size} · ended by {t.stop_reason}"
    head = tag("summary", _badge(t), tag("b", why), tag("span", facts, class_="facts-line"))
    body = [_turn(number, turn, decode) for number, turn in enumerate(t.turns, 1)]
    if t.diff:
        body.append(join(tag("p", "The change it left behind", class_="soft"), _diff(clipped(t.diff))))
    if t.score.failed:
        body.append(tag("p", f"Hidden tests that failed: {', '.join(t.score.failed[:20])}", class_="soft"))
    return tag("details", head, *body, class_="card episode", open="" if unfolded else None)


def _diff(text: str) -> Markup:
    colours = {"+": "plus", "-": "minus"}
    lines = (tag("span", line, class_=colours.get(line[:1])) for line in text.splitlines(keepends=True))
    return tag("pre", *lines)


def _badge(t: Trajectory) -> Markup:
    if t.score.value is None:
        return tag("span", f"no reward: {t.score.error or 'outage'}", class_="badge soft")
    return tag("span", f"reward {t.score.value:g}", class_="badge " + ("good" if t.score.value >= 1 else "bad"))


def _turn(number: int, turn: Turn, decode: Decode | None) -> Markup:
    sampled = len(turn.action_ids)
    certainty = f", mean log-prob {sum(turn.logprobs) / sampled:.2f}" if sampled else ""
    parts = [tag("h3", f"Turn {number}")]
    if decode and turn.observation_ids:
        parts.append(
            tag(
                "details",
                tag("summary", f"Shown: {len(turn.observation_ids)} tokens", class_="soft"),
                tag("pre", clipped(decode(turn.observation_ids))),
            )
        )
    parts.append(tag("p", f"Wrote {sampled} tokens{certainty}", class_="soft"))
    parts.append(tag("pre", clipped(turn.text or (decode(turn.action_ids) if decode else "")), class_="action"))
    if turn.format_error:
        parts.append(tag("p", f"Malformed call: {turn.format_error}", class_="bad"))
    names = [_call(call) for call in turn.calls]
    names += ["refused"] * (len(turn.results) - len(names))
    spans = _spans(turn.results)
    parts += [_result(name, result, span) for name, result, span in zip(names, turn.results, spans, strict=False)]
    return tag("div", *parts, class_="turn")


def _call(call: ToolCall) -> str:
    """In a few words: "editor view", "bash python -m pytest"."""
    command = str(call.arguments.get("command", "")).partition("\n")[0]
    return f"{call.name} {command[:60]}".strip()


def _spans(results: Sequence[ToolResult]) -> list[str]:
    """When each call ran, where any two ran at the same time; else nothing."""
    ends = [result.started + result.seconds for result in results]
    overlap = any(later.started and later.started < end for end, later in zip(ends, results[1:], strict=False))
    return [f"{r.started:.2f} to {end:.2f} s" if overlap else "" for r, end in zip(results, ends, strict=True)]


def _result(name: str, result: ToolResult, span: str) -> Markup:
    notes = [note for note in (result.error, "ran tests" if result.tests_run else "", span) if note]
    label = f"{name} answered" + (f" ({', '.join(notes)})" if notes else "")
    answer = tag("pre", clipped(result.output or "(nothing)"), class_="failed" if result.error else None)
    return join(tag("p", label, class_="soft"), answer)


def clipped(text: str) -> str:
    """The text, or its two ends with the number of characters between them."""
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters left out ...]\n{text[-half:]}"
