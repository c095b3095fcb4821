"""Boxes on this machine: the strongest isolation that works here, made only when something is executed."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import weakref
from pathlib import Path

from repodojo.core.errors import ConfigError, SandboxError
from repodojo.core.protocols import Limits, Sandbox
from repodojo.core.records import Environment
from repodojo.sandbox import bytecode
from repodojo.sandbox import level as levels
from repodojo.sandbox.environments import BoxSpec, resolve
from repodojo.sandbox.lazy import LazySandbox
from repodojo.sandbox.level import Level
from repodojo.sandbox.local import boxroot, machine, native, skeleton
from repodojo.sandbox.local.box import Box
from repodojo.sandbox.local.client import Zygote
from repodojo.sandbox.plain import PlainSandbox

_DEFAULT = Limits()


class LocalFactory:
    """Makes boxes for the environments of one task set (`store` holds trees/ and sites/).

    With `lazy` a box costs nothing until its first exec. Without namespaces it refuses to work unless
    `allow_unisolated`: then commands run as plain processes in a copied tree, and can read and write the host.

    >>> factory = LocalFactory(Path("tasks"))                            # doctest: +SKIP
    >>> box = await factory.create(task.environment)                     # doctest: +SKIP
    >>> (await box.exec(["python", "-m", "pytest"], warm=True)).ended     # doctest: +SKIP
    'exit'
    """

    def __init__(
        self,
        store: Path,
        *,
        limits: Limits = _DEFAULT,
        lazy: bool = True,
        allow_unisolated: bool = False,
        init: native.Init = "auto",
    ) -> None:
        """`init` is what boxes have as pid 1: "c" (ConfigError where it cannot be compiled), "python", or "auto"."""
        self._store = Path(store)
        self._limits = limits
        self._lazy = lazy
        self._allow_unisolated = allow_unisolated
        self._init = init
        self._starting = threading.Lock()
        self._zygote: Zygote | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._boxes: weakref.WeakSet[Box | PlainSandbox] = weakref.WeakSet()
        self._uid = -1

    @property
    def level(self) -> Level:
        """The isolation that boxes get here (probed once a process)."""
        return levels.probe()

    def spec(self, environment: Environment) -> BoxSpec:
        """What a box of this environment holds; TaskError where it cannot be had."""
        return resolve(environment, self._store)

    async def create(self, environment: Environment) -> Sandbox:
        """A box; TaskError where the environment cannot be had, SandboxError where the machine fails."""
        spec = self.spec(environment)
        if self._lazy:
            return LazySandbox(spec, self.real)
        return await self.real(spec)

    async def real(self, spec: BoxSpec) -> Sandbox:
        """A box that exists at once, for `LazySandbox` and for whoever needs one."""
        isolated = self._zygote is not None or await asyncio.to_thread(self._isolated)
        box: Box | PlainSandbox = await self._namespaces(spec) if isolated else await self._plain(spec)
        self._boxes.add(box)
        return box

    def _isolated(self) -> bool:
        if self.level.name == "namespaces":
            return True
        if not self._allow_unisolated:
            raise ConfigError(
                f"this machine offers no isolation: {self.level.reason}",
                way_out="mend that, or allow unisolated boxes if you trust the code that will run",
            )
        if self._init == "c":
            raise ConfigError("an unisolated box has no init", way_out="leave sandbox.init to auto")
        return False

    async def _plain(self, spec: BoxSpec) -> PlainSandbox:
        return await asyncio.to_thread(PlainSandbox, spec, spec.limits(self._limits))

    async def _namespaces(self, spec: BoxSpec) -> Box:
        zygote = self._zygote if self._zygote and self._zygote.alive else await asyncio.to_thread(self._start)
        limits = spec.limits(self._limits)
        inside, outside = await self._inside(spec.tree, "trees")
        layout = boxroot.Layout(
            tree=inside,
            site=(await self._inside(spec.site, "sites"))[0] if spec.site else "",
            work_dir=spec.work_dir,
            overlay=spec.overlay,
            masked=tuple(found for path in spec.overlay for found in bytecode.of(str(outside), path)),
            scripts=spec.scripts,
            disk_mb=limits.disk_mb,
            files=limits.files,
            python=machine.interpreter(),
        )
        return Box(await zygote.create(layout, limits), spec, limits, self)

    def _start(self) -> Zygote:
        with self._starting:
            if self._zygote is not None and not self._zygote.alive:  # its boxes died with it; new ones need not
                self._zygote.close()
                self._zygote = None
            if self._zygote is None:
                if self._scratch is not None:
                    self._scratch.cleanup()
                self._scratch = tempfile.TemporaryDirectory(prefix="repodojo-")
                self._uid = machine.box_uid()
                plan = machine.plan(Path(self._scratch.name), self._store, self._program())
                self._zygote = Zygote(plan, self._uid)
            return self._zygote

    def _program(self) -> Path | None:
        """The compiled init to use; None for the Python one."""
        if self._init == "auto":
            return self.level.init
        return native.demanded() if self._init == "c" else None

    async def _inside(self, path: Path, kind: str) -> tuple[str, Path]:
        """Where boxes find a folder of the store, and where it lies: in place, or copied once for their user to own."""
        if machine.usable(path, self._uid, writable=kind == "trees"):
            return f"{skeleton.TREES if kind == 'trees' else skeleton.SITES}/{path.name}", path
        assert self._scratch is not None
        target = Path(self._scratch.name) / "bases" / f"{kind}-{path.name}"
        if not target.exists():
            await asyncio.to_thread(self._adopt, path, target)
        return f"{skeleton.BASES}/{target.name}", target

    def _adopt(self, path: Path, target: Path) -> None:
        with self._starting:
            if not target.exists():
                try:
                    machine.adopt(path.resolve(), target, self._uid)
                except OSError as error:
                    raise SandboxError(f"{path} could not be copied for boxes: {error}") from None

    async def close(self) -> None:
        """Close every box and end the fork server."""
        for box in list(self._boxes):
            await box.close()
        self._boxes.clear()
        if self._zygote is not None:
            await asyncio.to_thread(self._zygote.close)
            self._zygote = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None
