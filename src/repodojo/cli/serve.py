"""`repodojo serve`."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.console import Console

from repodojo.core.errors import ConfigError, UserError

if TYPE_CHECKING:
    from repodojo.gateway.registry import Bounds

KEY_VARIABLE = "REPODOJO_GATEWAY_KEY"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    model: Annotated[str, typer.Argument(help="Model folder, or `base` for the one that ships.")],
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback are reachable.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
    key_file: Annotated[
        Path | None, typer.Option(help=f"File with the key; else ${KEY_VARIABLE}, else a new one.")
    ] = None,
    record: Annotated[Path | None, typer.Option(help="Append each call's exact tokens to this file (jsonl).")] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Leave out what biases log-probs, instead of refusing it.")
    ] = False,
    max_context: Annotated[int, typer.Option(help="Tokens of prompt and answer; 0: what the model allows.", min=0)] = 0,
    max_tokens: Annotated[int, typer.Option(help="Sampled tokens a call at most; 0: no bound.", min=0)] = 0,
    requests: Annotated[int, typer.Option(help="Requests in flight at once at most.", min=1)] = 2048,
    seed: Annotated[int, typer.Option(help="Seed of sampling.")] = 0,
    engine: Annotated[str, typer.Option(help="What samples: builtin, or a server: vllm, sglang.")] = "builtin",
    engine_url: Annotated[str, typer.Option(help="Its base URL; MODEL is then the folder of its tokenizer.")] = "",
    engine_key_file: Annotated[Path | None, typer.Option(help="File with the key of that server.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print address and key as one JSON object.")] = False,
) -> None:
    """Serve a model to any OpenAI or Anthropic client, and record the exact tokens of every session.

    Example: repodojo serve runs/mine/checkpoints/rl-00040 --record calls.jsonl

    Before a server: repodojo serve FOLDER --engine vllm --engine-url http://127.0.0.1:8001
    """
    from repodojo.gateway.registry import Bounds

    if (engine == "builtin") == bool(engine_url) or (engine == "builtin" and engine_key_file):
        cause = "--engine vllm or sglang and --engine-url belong together, --engine-key-file with them"
        raise ConfigError(cause, way_out="give both, or neither")
    key, is_new = _key(key_file)
    remote = (engine, engine_url, _key(engine_key_file)[0] if engine_key_file else "")
    options = {"max_context": max_context, "max_tokens": max_tokens, "training": train, "seed": seed}
    with Console(stderr=True).status("loading the model") as status:

        def ready(url: str) -> None:
            status.stop()
            _tell(url, key if is_new else "", host, json_)

        kept = _append(record)
        bounds = Bounds(requests=requests)
        asyncio.run(_serve(_folder(model), remote, (host, port), key, kept, options, bounds, ready))


def _append(record: Path | None) -> TextIO:
    """The file of records, each line written at once; nowhere where none is wanted."""
    try:
        return open(record or os.devnull, "a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise UserError(f"{record}: {error.strerror}", way_out="name a file that can be written") from None


def _folder(model: str) -> Path:
    from repodojo.train.setup import base_path

    return base_path() if model == "base" else Path(model)


def _key(file: Path | None) -> tuple[str, bool]:
    """The gateway's own key, and whether it was made just now."""
    if file is not None:
        try:
            found = file.read_text().strip()
        except OSError as error:
            raise UserError(f"{file}: {error.strerror}", way_out="name a file that holds a key") from None
        if not found:
            raise UserError(f"{file} holds no key", way_out="write one into it")
        return found, False
    given = os.environ.get(KEY_VARIABLE, "")
    return (given, False) if given else (f"rd-{secrets.token_urlsafe(24)}", True)


def _tell(url: str, key: str, host: str, json_: bool) -> None:
    if json_:
        typer.echo(json.dumps({"url": url, "key": key}))
        return
    typer.echo(f"OPENAI_BASE_URL={url}/v1  ANTHROPIC_BASE_URL={url}")
    typer.echo(f"key: {key}" if key else f"key: the one of --key-file or ${KEY_VARIABLE}")
    if host not in LOOPBACK:
        typer.secho("others can reach this address, and nothing is encrypted: put TLS before it", fg="yellow", err=True)


async def _serve(
    folder: Path,
    remote: tuple[str, str, str],
    address: tuple[str, int],
    key: str,
    kept: TextIO,
    options: dict[str, int],
    bounds: Bounds,
    ready: Callable[[str], None],
) -> None:
    from repodojo.gateway.export import line
    from repodojo.gateway.registry import Gateway
    from repodojo.gateway.server import serving
    from repodojo.gateway.session import Session, Terms
    from repodojo.gateway.tree import Node
    from repodojo.inference import checkpoint
    from repodojo.inference.chat import ChatFormat
    from repodojo.inference.engine import Engine
    from repodojo.inference.remote import RemoteModel

    positions = checkpoint.architecture(folder).max_positions
    context = min(options["max_context"] or positions, positions)
    engine: Engine | RemoteModel
    if remote[1]:
        engine = RemoteModel(remote[0], remote[1], key=remote[2])  # type: ignore[arg-type]  # it refuses others
        engine.model = await engine.named()
    else:
        engine = Engine(checkpoint.load(folder), max_context=context)
    terms = Terms(context, training=bool(options["training"]), seed=options["seed"], max_tokens=options["max_tokens"])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with kept:

        def on_call(session: Session, node: Node) -> None:
            kept.write(line(session, node) + "\n")

        gateway = Gateway(engine, ChatFormat.load(folder), terms, key=key, bounds=bounds, on_call=on_call)
        async with serving(gateway, *address) as url:
            ready(url)
            await stop.wait()
    await engine.aclose()
