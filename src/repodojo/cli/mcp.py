"""`repodojo mcp`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def mcp(
    repo: Annotated[Path, typer.Argument(help="Root of a repository.")],
    tests: Annotated[str, typer.Option(help="Command that runs its tests; offered as a tool where given.")] = "",
    seconds: Annotated[float, typer.Option(help="Time limit of a test run.")] = 600.0,
    http: Annotated[int, typer.Option("--http", help="Serve HTTP on this port instead of stdio.")] = 0,
    host: Annotated[str, typer.Option(help="Address for --http.")] = "127.0.0.1",
) -> None:
    """Offer a repository's code graph, search, wiki and tests to other agents as an MCP server.

    Example: repodojo mcp ~/src/toolz --tests "python -m pytest -q"
    """
    from repodojo.agent.mcp.serving import Repository, server

    made = server(Repository(repo, tests, seconds))
    if http:
        typer.echo(f"http://{host}:{http}/mcp", err=True)
        made.run("streamable-http", host=host, port=http)
    else:
        made.run("stdio")
