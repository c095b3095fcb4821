"""What makes a box, as data: both ways of performing it fail alike, and the machine is none the worse for it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from sandbox_samples import ENVIRONMENT, LIMITS

from repodojo.cli.benches.sandbox import _descendants, gone
from repodojo.core.errors import SandboxError
from repodojo.core.records import Environment
from repodojo.sandbox.factory import LocalFactory
from repodojo.sandbox.local import boxroot, machine, steps
from repodojo.sandbox.local.native import Init


async def test_a_step_that_fails_is_named_and_ends_that_box_alone(store: Path, init: Init) -> None:
    factory = LocalFactory(store, limits=LIMITS, lazy=False, init=init)
    try:
        box = await factory.create(ENVIRONMENT)
        assert factory._zygote is not None
        before = len(_descendants())
        layout = boxroot.Layout(
            tree="/bases/none",
            site="",
            work_dir='/test"bed\n',
            overlay={},
            masked=(),
            scripts={},
            disk_mb=4,
            files=512,
            python=machine.interpreter(),
        )
        with pytest.raises(SandboxError, match=r"(?s)overlay.*/box/root/test.bed.*No such file"):
            await factory._zygote.create(layout, LIMITS)
        assert gone(before)
        assert (await box.exec(["echo", "alive"])).output == b"alive\n"
    finally:
        await factory.close()


async def test_a_box_of_many_steps_is_made_too(store: Path, init: Init) -> None:
    """They do not fit in a packet, and travel in a memory file."""
    scripts = {f"script{i}": "#!/bin/sh\n" + "#" * 2000 + f"\necho {i}\n" for i in range(40)}
    factory = LocalFactory(store, limits=LIMITS, lazy=False, init=init)
    try:
        box = await factory.create(Environment(recipe={"kind": "python", "tree": "t1", "scripts": scripts}))
        assert (await box.exec(["script39"])).output == b"39\n"
    finally:
        await factory.close()


def test_python_performs_them_as_c_does(tmp_path: Path) -> None:
    made = [
        steps.folder(f"{tmp_path}/open", 0o1777),
        steps.folder(f"{tmp_path}/open", 0o700),  # it is there: left as it is
        steps.file(f"{tmp_path}/open/run", b"#!/bin/sh\n", 0o755),
        steps.link("run", f"{tmp_path}/open/link"),
        steps.remove(f"{tmp_path}/open/none"),
        steps.keep(f"{tmp_path}/open"),
    ]
    kept = steps.perform(made)
    assert stat.S_IMODE(os.fstat(kept).st_mode) == 0o1777 and sorted(os.listdir(kept)) == ["link", "run"]
    assert stat.S_IMODE(os.stat(tmp_path / "open" / "link").st_mode) == 0o755
    os.close(kept)
    with pytest.raises(FileNotFoundError):
        steps.perform([steps.file(f"{tmp_path}/none/x", b"")])
