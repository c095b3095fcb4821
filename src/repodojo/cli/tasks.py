"""`repodojo tasks`: make, list and show tasks."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from repodojo.cli import tasks_history, tasks_refresh, tasks_sets, tasks_try
from repodojo.cli.tasks_bugs import from_bugs, kinds_named
from repodojo.cli.tasks_edits import between, from_edits, from_renames, languages_named
from repodojo.cli.tasks_makers import MAKERS, chosen, combined_in, written
from repodojo.cli.tasks_words import AsJson, split_named
from repodojo.core.codec import to_json
from repodojo.core.editing import edit_of, expected, is_edit
from repodojo.core.errors import ConfigError
from repodojo.core.records import Task
from repodojo.tasks.edits.excerpt import Bounds
from repodojo.tasks.edits.make import Options as Edits
from repodojo.tasks.edits.renames import LANGUAGES as RENAMED
from repodojo.tasks.edits.renames import Options as Renames
from repodojo.tasks.history.make import Options as History
from repodojo.tasks.history.walk import Filters
from repodojo.tasks.make import Options
from repodojo.tasks.mutate import ALL_KINDS, KINDS
from repodojo.tasks.refresh import look
from repodojo.tasks.store import TaskStore

app = typer.Typer(no_args_is_help=True, help="Make, take in, check, divide, list and show tasks.")
app.command("import")(tasks_sets.import_tasks)
app.command("export")(tasks_sets.export_tasks)
app.command("validate")(tasks_sets.validate)
app.command("stats")(tasks_sets.stats)
app.command("split")(tasks_sets.split_tasks)
app.command("refresh")(tasks_refresh.refresh)
app.command("try")(tasks_try.try_source)
SIZES = Bounds()


@app.command()
def make(
    context: typer.Context,
    sources: Annotated[list[str], typer.Argument(help="toolz==1.0.0, a folder, an sdist file or a Git URL")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="folder of the set; --walk-only needs none")] = None,
    split: Annotated[str, typer.Option(help="train, dev or held-out; all sources of a call go to one")] = "train",
    limit: Annotated[int, typer.Option(min=0, help="tasks a source gives at most (0: all)")] = 0,
    seed: Annotated[int, typer.Option(help="draws mutants and ids")] = 0,
    max_lines: Annotated[int, typer.Option(min=2, help="longest function, docstring left out")] = 30,
    per_function: Annotated[int, typer.Option(min=1, help="tasks a function gives at most")] = 6,
    kinds: Annotated[str, typer.Option(help=f"with commas, or all: {', '.join(ALL_KINDS)}")] = ",".join(KINDS),
    combine: Annotated[int, typer.Option(min=1, help="bugs: then up to --limit tasks more with so many at once")] = 1,
    combine_in: Annotated[str, typer.Option(help="bugs: they are of one file, or of one module (a folder)")] = "file",
    written_by: Annotated[str, typer.Option(help="bugs: a model folder (or base) that rewrites functions")] = "",
    workers: Annotated[int, typer.Option(min=1, help="boxes that work side by side")] = 2,
    unisolated: Annotated[bool, typer.Option(help="where the machine offers no isolation, run without")] = False,
    maker: Annotated[str, typer.Option("--from", help=f"what tasks are made of: {', '.join(MAKERS)}")] = "bugs",
    edits: Annotated[bool, typer.Option("--edits", help="the same as --from edits: small hunks of commits")] = False,
    features: Annotated[bool, typer.Option("--features", help="the same as --from features: removed code")] = False,
    renames: Annotated[bool, typer.Option("--renames", help="the same as --from renames: names half renamed")] = False,
    languages: Annotated[str, typer.Option(help="edits, renames: only these, with commas (default: all of code)")] = "",
    min_input: Annotated[int, typer.Option(min=0, help="edits, renames: characters shown at least")] = SIZES.input[0],
    max_input: Annotated[int, typer.Option(min=1, help="edits, renames: characters shown at most")] = SIZES.input[1],
    min_output: Annotated[int, typer.Option(min=0, help="edits, renames: shortest answer (characters)")] = SIZES.output[
        0
    ],
    max_output: Annotated[int, typer.Option(min=1, help="edits, renames: longest answer (characters)")] = SIZES.output[
        1
    ],
    max_hunk: Annotated[int, typer.Option(min=1, help="edits: lines that a hunk removes or adds at most")] = 20,
    margin: Annotated[int, typer.Option(min=0, help="edits, renames: lines around the change")] = 4,
    events: Annotated[int, typer.Option(min=0, help="edits: earlier edits that are shown")] = 3,
    per_commit: Annotated[int, typer.Option(min=1, help="edits: tasks a commit gives at most")] = 4,
    max_files: Annotated[int, typer.Option(min=0, help="history: fewer changed files than this (0: any)")] = 5,
    max_edited: Annotated[int, typer.Option(min=0, help="history: fewer edited lines (0: any)")] = 200,
    max_patch: Annotated[int, typer.Option(min=0, help="history: fewer characters of patch (0: any)")] = 10_000,
    min_words: Annotated[int, typer.Option(min=0, help="history: words the instruction needs")] = 3,
    max_commits: Annotated[int, typer.Option(min=0, help="history, edits: newest commits walked (0: all)")] = 0,
    revision: Annotated[str, typer.Option(help="history, edits: where the walk begins")] = "HEAD",
    sure: Annotated[int, typer.Option(min=1, help="history: rounds without a new flicker before ids count")] = 3,
    reverts: Annotated[bool, typer.Option(help="history: take reverts too")] = False,
    dated: Annotated[bool, typer.Option(help="history: dependencies of each commit's day, not today's")] = True,
    language: Annotated[str, typer.Option(help="history: python or node; recognised where it is not given")] = "",
    issues: Annotated[Path | None, typer.Option(help="history: issues with number, title, body")] = None,
    walk_only: Annotated[bool, typer.Option(help="history: only count what the filters keep")] = False,
    as_json: AsJson = False,
) -> None:
    """Make tasks from packages (inject a bug, keep what their own tests catch), or from the commits of a repository.

    Example: repodojo tasks make toolz==1.0.0 ./my-package -o my-tasks --limit 200

    Example: repodojo tasks make ./my-package -o my-tasks --kinds all --combine 2

    Example: repodojo tasks make ./my-package --features -o my-tasks

    Example: repodojo tasks make ./my-repository --from history -o my-tasks

    Example: repodojo tasks make https://example.org/project.git --edits --languages rust,go -o my-edits

    Example: repodojo tasks make toolz==1.0.0 --renames --min-input 200 --max-input 900 -o my-edits
    """
    maker = chosen(context, maker, edits=edits, renames=renames, features=features)
    if out is None and not walk_only:
        raise ConfigError("no folder is given for the task set", way_out="name one with -o")
    out = out or Path()
    if maker in ("edits", "renames"):
        sizes = (between("input", min_input, max_input), between("output", min_output, max_output))
        bounds = Bounds(*sizes, margin)
        if maker == "renames":
            named = languages_named(languages, RENAMED)
            wanted_names = Renames(split_named(split), limit, seed, named, bounds, max_lines, per_function)
            from_renames(sources, out, wanted_names, as_json)
            return
        wanted_edits = Edits(
            split_named(split), limit, max_commits, revision, seed, languages_named(languages), bounds,
            max_hunk, events, per_commit,
        )  # fmt: skip
        from_edits(sources, out, wanted_edits, as_json)
        return
    if maker == "history":
        filters = Filters(max_files, max_edited, max_patch, min_words, reverts)
        walked = History(split_named(split), limit, max_commits, revision, sure, workers, filters, dated, language)
        tasks_history.from_history(
            sources, out, walked, issues, walk_only=walk_only, unisolated=unisolated, as_json=as_json
        )
        return
    writer = written(context, written_by, per_function, seed)
    options = Options(
        split_named(split), limit, seed, max_lines, kinds_named(kinds), per_function, workers=workers,
        features=maker == "features", combine=combine, combine_in=combined_in(context, combine_in, combine),
        writer=writer,
    )  # fmt: skip
    from_bugs(sources, out, options, unisolated=unisolated, as_json=as_json)


@app.command("list")
def list_tasks(
    store: Annotated[Path, typer.Argument(help="folder of the task set")],
    split: Annotated[str, typer.Option(help="only this split")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="one line of JSON a task")] = False,
) -> None:
    """One line a task, with its difficulty (0 to 1) and what was solved of its attempts; counts by split and package.

    Example: repodojo tasks list my-tasks --split held-out
    """
    tasks = TaskStore(store).tasks(split_named(split) if split else None)
    guesses = look(TaskStore(store)).estimates
    if as_json:
        for task in tasks:
            row = {"id": task.id, "split": task.source.split, "source": task.source.dataset, "focus": task.focus}
            print(json.dumps({**row, **task.labels, **tasks_refresh.as_row(guesses[task.id])}))
        return
    for task in tasks:
        tally, kind = guesses[task.id].tally, task.labels.get("kind", "")
        hard = f"{guesses[task.id].difficulty:.2f} {f'{tally.solved}/{tally.attempts}' if tally.attempts else '':>7}"
        print(f"{task.id}  {task.source.split:8}  {kind:18}  {hard}  {', '.join(task.focus)}")
    table = Table("split", "package", "tasks")
    for (name, package), count in sorted(Counter((t.source.split, t.labels.get("package", "")) for t in tasks).items()):
        table.add_row(name, package, str(count))
    Console().print(table)


@app.command()
def show(
    store: Annotated[Path, typer.Argument(help="folder of the task set")],
    task_id: Annotated[str, typer.Argument(metavar="ID", help="a task's id, or its beginning")],
    as_json: Annotated[bool, typer.Option("--json", help="the whole record")] = False,
    gold: Annotated[bool, typer.Option(help="also the reference change")] = False,
) -> None:
    """One task: what the agent is told, and what judges it.

    Example: repodojo tasks show my-tasks t-0123 --gold
    """
    task = TaskStore(store).get(task_id)
    if as_json:
        print(to_json(task))
        return
    print(f"{task.id}  {task.source.dataset}  {task.source.split}  {task.labels.get('kind', '')}\n")
    print(task.instruction)
    if is_edit(task):
        _show_edit(task, gold)
        return
    print(f"visible: {', '.join(task.visible_tests)}")
    print(f"must turn green: {len(task.grader.fail_to_pass)}; must stay green: {len(task.grader.pass_to_pass)}")
    print(f"hidden files: {', '.join(task.hidden_files) or 'none'}")
    if gold and task.gold:
        print(f"\n{task.gold.patch}")


def _show_edit(task: Task, gold: bool) -> None:
    """What is shown beside the request (an imported row has none), and the answer."""
    parts = edit_of(task)
    print("\n\n".join(part for part in (parts.events, parts.excerpt if parts.request else "") if part))
    print(f"\n{task.language}; the answer has {len(expected(task))} characters")
    if gold:
        print(f"\n{expected(task)}")
