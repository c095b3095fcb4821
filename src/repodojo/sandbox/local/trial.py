"""A trial box, made once to find out whether this machine can make boxes at all."""

from __future__ import annotations

import asyncio
from pathlib import Path

from repodojo.core.protocols import Limits
from repodojo.sandbox.environments import BoxSpec
from repodojo.sandbox.local import boxroot, machine
from repodojo.sandbox.local.box import Box
from repodojo.sandbox.local.client import Zygote

# Removing a folder and making it anew needs extended attributes on tmpfs (Linux 6.6) and an owner who may delete.
_CHECK = "rm -r folder && mkdir folder && echo b > folder/new && test ! -e folder/old && python -c 'print(6 * 7)'"


def trial(scratch: Path, init: Path | None = None) -> str:
    """Run a check in a box over a small tree; "" where all works, else what did not. Errors pass through.

    `init` is a C init for the box to have.
    """
    uid = machine.box_uid()
    store = scratch / "store"
    (store / "trees" / "t" / "folder").mkdir(parents=True)
    (store / "trees" / "t" / "folder" / "old").write_text("a")
    plan = machine.plan(scratch, store, init)
    machine.adopt(store / "trees" / "t", scratch / "bases" / "t", uid)
    spec = BoxSpec(store / "trees" / "t", None, {}, {}, "/testbed", {}, {})
    zygote = Zygote(plan, uid)
    try:
        return asyncio.run(_check(zygote, spec))
    finally:
        zygote.close()


async def _check(zygote: Zygote, spec: BoxSpec) -> str:
    limits = Limits()
    layout = boxroot.Layout(
        tree="/bases/t",
        site="",
        work_dir=spec.work_dir,
        overlay={},
        masked=(),
        scripts={},
        disk_mb=16,
        files=1024,
        python=machine.interpreter(),
    )
    box = Box(await zygote.create(layout, limits), spec, limits)
    try:
        done = await box.exec(["bash", "-c", _CHECK], seconds=20)
        changed = await box.changes()
    finally:
        await box.close()
    if done.output.strip() != b"42":
        return f"a trial box failed: {done.output.decode(errors='replace').strip()[-200:] or done.ended}"
    if changed != {"folder/new": b"b\n", "folder/old": None}:
        return "overlay file systems do not record deletions here (they do since Linux 6.6)"
    return ""
