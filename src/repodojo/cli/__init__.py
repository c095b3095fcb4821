"""The command line: a thin file a verb, loaded only when it is called."""

from __future__ import annotations

import importlib
import sys

import typer

from repodojo import __version__
from repodojo.core.errors import RepodojoError

VERBS = {
    # verb: (module, function or Typer app, one line of help)
    "quickstart": ("repodojo.cli.quickstart", "quickstart", "See it learn: tasks, base, RFT, RL, held-out table."),
    "tasks": ("repodojo.cli.tasks", "app", "Make, list and check tasks."),
    "train": ("repodojo.cli.train", "train", "Train a model on a task set, or resume a run."),
    "eval": ("repodojo.cli.eval", "evaluate", "Measure a model or a scripted reference on tasks."),
    "feedback": ("repodojo.cli.feedback", "app", "Take in what a product's users did with an agent's work."),
    "compare": ("repodojo.cli.compare", "compare", "Train variants over seeds, and compare them task by task."),
    "tabulate": ("repodojo.cli.tabulate", "tabulate", "Print a sweep's figures as Markdown, or fill a document."),
    "serve": ("repodojo.cli.serve", "serve", "Serve a model to other agents, and record their exact tokens."),
    "simulate": ("repodojo.cli.simulate", "simulate", "Say what a pipeline would do, on a virtual clock."),
    "audit": ("repodojo.cli.audit", "audit", "Attack the reward: every known way of being paid for nothing."),
    "pretrain": ("repodojo.cli.pretrain", "pretrain", "Train the small base that ships with the package."),
    "pretrain-mini": ("repodojo.cli.pretrain_mini", "pretrain_mini", "Train a small base for mini-swe-agent."),
    "monitor": ("repodojo.cli.monitor", "monitor", "Show a run's quarantined episodes, and release them."),
    "report": ("repodojo.cli.report", "report", "Write one HTML file that shows a run."),
    "wiki": ("repodojo.cli.wiki", "wiki", "Write pages about a repository: layout, modules, conventions, tests."),
    "memory": ("repodojo.cli.memory", "memory", "Show the notes that agents left about a repository, and drop some."),
    "mcp": ("repodojo.cli.mcp", "mcp", "Offer a repository's graph, search and tests as an MCP server."),
    "bench": ("repodojo.cli.bench", "bench", "Measure a part against its alternative, both sides in one run."),
    "doctor": ("repodojo.cli.doctor", "doctor", "Say what this machine can do, and what to install for more."),
}


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `repodojo`: errors of ours become one message and exit code 2, Ctrl-C becomes 130."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        _app(arguments)(arguments, prog_name="repodojo", standalone_mode=True)
    except RepodojoError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.secho("stopped", err=True)
        sys.exit(130)


def _app(arguments: list[str]) -> typer.Typer:
    """The whole app for `--help`, else only the verb that is called: start-up stays under what a person notices."""
    app = typer.Typer(
        help="Repodojo turns a Git repository into a school for coding agents.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(_version)
    verb = next((word for word in arguments if not word.startswith("-")), "")
    for name in [verb] if verb in VERBS else VERBS:
        module, attribute, text = VERBS[name]
        target = getattr(importlib.import_module(module), attribute)
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=name, help=text)
        else:
            app.command(name, help=None)(target)
    return app


def _version(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
