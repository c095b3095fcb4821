"""What a worker samples by: an engine of its own, or a server that it asks. One face for both."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from repodojo.core.protocols import Model
from repodojo.inference.remote import RemoteModel
from repodojo.rollout.orders import PoolSettings


class Sampler(Protocol):
    """A model, and what a worker does with it besides sampling."""

    @property
    def model(self) -> Model: ...

    def take(self, version: int, folder: Path) -> None:
        """Go on with the weights that were published in `folder`."""
        ...

    def counts(self) -> dict[str, float]:
        """What it did so far, by the names of the metrics."""
        ...

    def compute_with(self, threads: int) -> None: ...

    async def aclose(self) -> None: ...


def sampler(settings: PoolSettings, place: int) -> Sampler:
    """That of the worker at this place."""
    return Builtin(settings, place) if settings.servers is None else Asking(settings.servers.client(place))


class Builtin:
    """The built-in engine, on threads of this process."""

    def __init__(self, settings: PoolSettings, place: int) -> None:
        import torch  # the parent of this module's importers may not need it

        from repodojo.inference import checkpoint
        from repodojo.inference.devices import device_of
        from repodojo.inference.engine import Engine
        from repodojo.inference.kv import kv_bytes

        torch.set_num_threads(settings.threads)
        self._most_threads = torch.get_num_threads()
        decoder, dtype = checkpoint.load(Path(settings.model)), getattr(torch, settings.dtype)
        self.model = Engine(
            decoder,
            dtype=dtype,
            kv_tokens=(settings.kv_mb << 20) // kv_bytes(decoder.architecture, dtype) or None,
            max_context=settings.agent.max_context,
            max_rows=2 * settings.concurrency,
            after_publish=settings.kv_after_publish,
            attention=settings.attention,
            device=device_of(settings.device, place),
        )

    def take(self, version: int, folder: Path) -> None:
        """Load them between two steps."""
        from repodojo.inference import checkpoint

        self.model.publish(version, checkpoint.read_weights(folder))

    def counts(self) -> dict[str, float]:
        """Tokens, KV given up, CPU and wall-clock, and the most threads that it computed with."""
        stats = self.model.stats()
        names = ("prompt_tokens", "prefilled_tokens", "decoded_tokens", "evictions", "cancelled", "kept_tokens")
        found = {f"engine_{name}": float(getattr(stats, name)) for name in names}
        found |= {"engine_cpu_seconds": stats.cpu_seconds, "threads": float(self._most_threads)}
        return found | {"engine_busy_seconds": stats.prefill_seconds + stats.decode_seconds}

    def compute_with(self, threads: int) -> None:
        """More threads, or fewer again."""
        import torch

        torch.set_num_threads(threads)
        self._most_threads = max(self._most_threads, torch.get_num_threads())

    async def aclose(self) -> None:
        """Stop."""
        await self.model.aclose()


class Asking:
    """A server, which the pool gives its weights."""

    def __init__(self, model: RemoteModel) -> None:
        self.model = model

    def take(self, version: int, folder: Path) -> None:
        """From now on older weights are no answer. The server has loaded them already."""
        del folder
        self.model.version = version

    def counts(self) -> dict[str, float]:
        """Tokens alone: what they cost is the server's to tell."""
        sent, sampled = self.model.prompt_tokens, self.model.sampled_tokens
        return {"engine_prompt_tokens": float(sent), "engine_decoded_tokens": float(sampled), "threads": 0.0}

    def compute_with(self, threads: int) -> None:
        """Nothing is computed here."""

    async def aclose(self) -> None:
        """Close the connections."""
        await self.model.aclose()
