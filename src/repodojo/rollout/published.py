"""Weights on their way from the learner to whoever samples: a folder for each version, and servers that load it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from repodojo.inference.remote_weights import WeightsPublisher
from repodojo.rollout.orders import PoolSettings

STATE = "learner.pt"


class Published:
    """The newest weights of a pool. A folder is whole when it has its name, and goes with the next or with `close`.

    latest: version and folder of what workers are told of; None before the first, when they have `settings.model`
    """

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._publisher: WeightsPublisher | None = None
        self._folder: Path | None = None
        self.latest: tuple[int, str] | None = None

    def begin(self) -> None:
        """Let servers, if there are any, load the model that the pool begins with; workers do so themselves.

        EngineError where one does not; ConfigError where it takes shorter conversations than the agent has.
        """
        servers = self._settings.servers
        if servers is None or self._publisher is not None:
            return
        publisher = WeightsPublisher(servers)
        try:
            publisher.check(self._settings.agent.max_context)
            if not servers.held:
                publisher.publish(servers.version, self._model())
        except BaseException:
            publisher.close()
            raise
        self._publisher = publisher

    def write(self, version: int, weights: Mapping[str, object]) -> Path:
        """Put weights where workers and servers find them."""
        from safetensors.torch import save_file

        folder = self._new() / str(version)
        partial = folder.with_name(f".{version}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        if self._publisher is not None:  # a server wants a whole model folder
            for file in Path(self._settings.model).iterdir():
                if file.is_file() and not file.name.endswith((".safetensors", ".safetensors.index.json", STATE)):
                    shutil.copy(file, partial)
        save_file(dict(weights), partial / "model.safetensors", metadata={"format": "pt"})  # type: ignore[arg-type]
        shutil.rmtree(folder, ignore_errors=True)  # of a publication that failed
        partial.rename(folder)
        return folder

    def load(self, version: int, folder: Path) -> None:
        """Let servers load them. EngineError where one does not."""
        if self._publisher is not None:
            self._publisher.publish(version, folder)

    def settle(self, folder: Path) -> None:
        """Everybody has these: others are not needed any more."""
        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)

    def close(self) -> None:
        """Remove what was published; servers keep what they have loaded."""
        if self._publisher is not None:
            self._publisher.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._publisher = self._folder = self.latest = None

    def _new(self) -> Path:
        """The pool's own folder."""
        if self._folder is None:
            shared = self._settings.servers.folder if self._settings.servers else ""
            if shared:
                Path(shared).mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix="repodojo-weights-", dir=shared or None))
            if shared:  # for a server that runs as somebody else
                self._folder.chmod(0o755)
        return self._folder

    def _model(self) -> Path:
        """The folder of the model that the pool begins with, as servers see it."""
        model = Path(self._settings.model).absolute()
        if self._settings.servers is None or not self._settings.servers.folder:
            return model
        return shutil.copytree(model, self._new() / "begins", ignore=shutil.ignore_patterns(STATE), dirs_exist_ok=True)
