"""`repodojo wiki`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from repodojo.cli.progress import Bars
from repodojo.core.errors import UserError

CONTEXT = 4096  # tokens of a page and its summary
SYSTEM = "Say in a few sentences what this part of the repository is for."


def wiki(
    repo: Annotated[Path, typer.Argument(help="Root of a repository.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the pages; made if missing.")] = Path("wiki"),
    model: Annotated[
        Path | None, typer.Option("--model", help="Model folder that adds a summary to each page.")
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens of a summary at most.")] = 200,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write pages about a repository: layout, modules, conventions, how to test.

    Example: repodojo wiki ~/src/toolz -o toolz-wiki
    """
    from repodojo.agent import wiki as pages_of
    from repodojo.agent.graph.folder import FolderGraph

    with Bars() as bars:
        bars.phase("reading", 0)
        folder = FolderGraph(repo)
        files = folder.refresh()
        pages = pages_of.pages(folder.graph, lambda name: _text(repo / name))
        if model is not None:
            bars.phase(f"summaries by {model.name}", len(pages))
            pages = _summarised(pages, model, tokens, bars)
    for name, text in pages.items():
        path = out / f"{name}.md"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}", way_out="name another folder with -o") from None
    if json_:
        typer.echo(json.dumps({"out": str(out), "files": files, "pages": sorted(pages)}))
    else:
        typer.echo(f"{len(pages)} pages about {files} files in {out}: begin with {out / 'index.md'}")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _summarised(pages: dict[str, str], model: Path, tokens: int, bars: Bars) -> dict[str, str]:
    """Each page with what the model says of it, marked as the model's and unchecked."""
    import asyncio

    from repodojo.core.protocols import SamplingParams
    from repodojo.inference import checkpoint
    from repodojo.inference.chat import ChatFormat
    from repodojo.inference.engine import Engine

    chat, decoder = ChatFormat.load(model), checkpoint.load(model)
    engine = Engine(decoder, max_context=CONTEXT)

    async def summary(text: str) -> str:
        ask = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ""}]
        room = CONTEXT - tokens - len(chat.prompt(ask, []))
        ask[1]["content"] = chat.decode(chat.encode(text)[: max(room, 16)])
        params = SamplingParams(0.0, tokens, chat.stop_ids)
        return chat.decode(
            (await engine.generate(chat.prompt(ask, [])[: CONTEXT - 1], params, seed=0)).token_ids
        ).strip()

    async def all_() -> dict[str, str]:
        found = {}
        for name, text in pages.items():
            said = "\n".join(f"> {line}" for line in (await summary(text)).splitlines())
            found[name] = f"{text}\n## Summary by {model.name} (not checked)\n\n{said}\n"
            bars.advance()
        await engine.aclose()
        return found

    return asyncio.run(all_())
