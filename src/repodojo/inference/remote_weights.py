"""New weights for vLLM and SGLang servers: a folder that they read, between a pause and a resumption.

    vLLM    /pause -> reload_weights -> /update_weight_version -> /reset_prefix_cache -> /resume
    SGLang  /pause_generation -> /update_weights_from_disk -> /continue_generation

What is in flight is frozen and goes on with the new weights. No key or value of the old ones is used again: vLLM
preempts what runs, SGLang retracts it, and both compute it anew. vLLM needs VLLM_SERVER_DEV_MODE=1 for these routes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from repodojo.core.errors import ConfigError, EngineError
from repodojo.inference.remote import Servers, weights_name

if TYPE_CHECKING:
    import httpx2

WAITS = (0.5, 2.0)
"""Seconds before the second and the third attempt; there is no fourth."""
LOADING = 600.0
"""Seconds that one step of a publication may take, which for large weights is the time to read them."""


class WeightsPublisher:
    """Gives every server of a run the same weights. Use it as a context, or close it.

    waits: seconds before each further attempt
    """

    def __init__(self, servers: Servers, *, waits: Sequence[float] = WAITS) -> None:
        import httpx2  # only who uses a server needs it

        self._servers, self._waits = servers, waits
        headers = {"Authorization": f"Bearer {servers.key}"} if servers.key else {}
        timeout = httpx2.Timeout(LOADING, connect=10.0)
        self._clients = [httpx2.Client(base_url=url, headers=headers, timeout=timeout) for url in servers.urls]
        self._failure = httpx2.HTTPError

    def __enter__(self) -> WeightsPublisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.close()

    def check(self, context: int) -> None:
        """ConfigError where a server allows shorter conversations than a run has; EngineError where nobody answers."""
        for client in self._clients:
            limit = self._limit(client)
            if limit is not None and limit < context:
                cause = f"{client.base_url} takes {limit} tokens, agent.max_context is {context}"
                option = "--max-model-len" if self._servers.kind == "vllm" else "--context-length"
                raise ConfigError(cause, way_out=f"start the server with {option} {context}, or lower that")

    def publish(self, version: int, folder: Path) -> None:
        """Let all servers load the weights of a model folder; returns when each says that it samples by them.

        EngineError where one still does not after three attempts. It stays paused then: nothing that it may have loaded
        half is sampled from, and the next publication mends it.
        """
        name = weights_name(self._servers.run, version)
        with ThreadPoolExecutor(len(self._clients)) as threads:
            for done in [threads.submit(self._publish, client, name, folder) for client in self._clients]:
                done.result()

    def _publish(self, client: httpx2.Client, name: str, folder: Path) -> None:
        load = self._vllm if self._servers.kind == "vllm" else self._sglang
        for seconds in (*self._waits, None):
            try:
                return load(client, name, folder)
            except EngineError as error:
                if seconds is None:
                    cause = f"the weights {name!r} could not be published: {error.cause}"
                    raise EngineError(
                        cause, way_out=error.way_out or "see to the server, then resume the run"
                    ) from None
                time.sleep(seconds)

    def _vllm(self, client: httpx2.Client, name: str, folder: Path) -> None:
        self._ask(client, "POST", "/pause?mode=keep&clear_cache=false")
        loading = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
        self._ask(client, "POST", "/collective_rpc", loading)
        self._ask(client, "POST", "/update_weight_version", {"new_version": name})
        self._sure(self._ask(client, "POST", "/reset_prefix_cache?reset_running_requests=true"))
        self._same(name, self._ask(client, "GET", "/weight_info"))
        self._ask(client, "POST", "/resume")

    def _sglang(self, client: httpx2.Client, name: str, folder: Path) -> None:
        self._ask(client, "POST", "/pause_generation", {"mode": "retract"})
        loading = {"model_path": str(folder), "weight_version": name, "flush_cache": True}
        self._sure(self._ask(client, "POST", "/update_weights_from_disk", loading))
        self._same(name, self._ask(client, "GET", "/model_info"))
        self._ask(client, "POST", "/continue_generation", {})

    def _limit(self, client: httpx2.Client) -> int | None:
        """Tokens of a conversation that a server takes, where it tells."""
        if self._servers.kind == "sglang":
            found = self._ask(client, "GET", "/server_info").get("max_req_input_len")
        else:
            found = (self._ask(client, "GET", "/v1/models").get("data") or [{}])[0].get("max_model_len")
        return found if isinstance(found, int) else None

    def _ask(
        self, client: httpx2.Client, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        try:
            answer = client.request(method, path, json=body)
        except self._failure as error:
            raise EngineError(f"{self._servers.kind} at {client.base_url}: {error!r}") from None
        if answer.status_code != 200:
            dev = self._servers.kind == "vllm" and answer.status_code == 404
            way_out = "start it with VLLM_SERVER_DEV_MODE=1 in its environment" if dev else ""
            said = f"{client.base_url} answered {answer.status_code} to {path}: {answer.text[:300]}"
            raise EngineError(said, way_out=way_out)
        try:
            found = answer.json()
        except ValueError:  # some of these answer in plain words, or by nothing
            return {}
        return found if isinstance(found, dict) else {}

    def _sure(self, found: Mapping[str, Any]) -> None:
        if not found.get("success"):
            raise EngineError(f"{self._servers.kind} could not do it: {str(dict(found))[:300]}")

    def _same(self, name: str, found: Mapping[str, Any]) -> None:
        if found.get("weight_version") != name:
            raise EngineError(f"{self._servers.kind} says that its weights are {found.get('weight_version')!r}")
