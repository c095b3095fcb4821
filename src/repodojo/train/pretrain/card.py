"""The model card of a base: what it read, how much, and what the gate measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repodojo import __version__

if TYPE_CHECKING:
    from repodojo.train.pretrain.settings import Result, Settings

TEXT = """# A small base for coding agents' exercises

{parameters:,} parameters ({layers} layers, {hidden} wide, {vocabulary} tokens; {layout} layout, {dtype}), made by
Repodojo {version} from {origin}.

It was trained to write the form of an agent's work: calls, copies from a listing, edits, a submission. It read
functions of published Python packages within random transcripts of a scripted explorer. No bug was injected into
them and nothing says which edit is a good one: what a bug is, reinforcement learning has to teach. It is no general
language model, and of little use outside the episodes it was made for.

## How it was made

    repodojo pretrain -o DIR --packages packages.txt --tokens {asked} --functions {given} --seed {seed}{start} \\
        --rounds {rounds} --drill {drill} --spread {spread:g} --sharpness {sharpness:g}

- training: {tokens:,} tokens (padding included) on {transcript_tokens:,} tokens of transcripts, one for
  each of {functions:,} functions
- drill: {rounds} rounds of {drill} of its own episodes at temperature 1, in which it learns what the explorer would
  write in each of its edits
- sharpness {sharpness:g}: the final norm scaled, which samples at temperature 1/{sharpness:g}
- left out: all packages of the dev and held-out splits, and {removed} functions that are copies of theirs
- seed {seed}; the list of packages is below

## The gate

{verdict}: over 90% of its edits must be accepted by the editor. {episodes} episodes at temperature 1 on functions it
never read; 95% intervals (Wilson).

| measure | value |
|---|---|
{gate}

## What it read

The weights were learnt from these packages, each under the licence that its metadata names.

| package | version | licence |
|---|---|---|
{packages}
{missed}"""


def text(result: Result, settings: Settings) -> str:
    """The card in Markdown."""
    a, finish = settings.architecture, settings.finish
    packages = [
        f"| {p.requirement.partition('==')[0]} | {p.version or 'local'} | {p.licence or 'not stated'} |"
        for p in result.packages
    ]
    missed = [f"- {name}: {' '.join(reason.split())}" for name, reason in result.missed]
    return TEXT.format(
        parameters=a.parameters(),
        layers=a.layers,
        hidden=a.hidden,
        vocabulary=a.vocabulary,
        layout=a.layout,
        dtype=result.dtype,
        version=__version__,
        tokens=result.tokens,
        transcript_tokens=result.transcript_tokens,
        functions=result.functions,
        removed=result.removed,
        seed=settings.seed,
        start=" --start EARLIER" if settings.start else "",
        origin="an earlier base, whose card says how that was made" if settings.start else "nothing",
        asked=settings.schedule.tokens,
        given=settings.functions,
        drill=finish.episodes,
        spread=finish.spread,
        rounds=finish.rounds,
        sharpness=finish.sharpness,
        verdict="Passed" if result.gate.passed else "Failed",
        episodes=result.gate.submits.of,
        gate="\n".join(f"| {name} | {share} |" for name, share in result.gate.rows()),
        packages="\n".join(packages),
        missed="\nCould not be fetched:\n\n" + "\n".join(missed) + "\n" if missed else "",
    )
