"""Which isolation this machine offers, found by making a real box once, and why not more."""

from __future__ import annotations

import functools
import os
import platform
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from repodojo.core.errors import SandboxError


@dataclass(frozen=True)
class Level:
    """`name` is what boxes get; `reason` says why it is not more, or what a full box lacks ("" where nothing).

    `init` is the compiled init that boxes were tried with; None where they have the Python one.
    """

    name: Literal["namespaces", "plain"]
    reason: str = ""
    init: Path | None = None

    @property
    def isolated(self) -> bool:
        """Whether code in a box is kept from the host."""
        return self.name == "namespaces"


@functools.cache
def probe() -> Level:
    """The level of this machine; takes half a second the first time, nothing after."""
    if sys.platform != "linux":
        return Level("plain", f"namespaces are Linux's, this is {platform.system()}")
    from repodojo.sandbox.local import seccomp

    if platform.machine() not in ("x86_64", "aarch64"):
        return Level("plain", f"the system-call tables do not cover {platform.machine()}")
    missing = "" if seccomp.supported() else "no system-call filter here"
    init = _compiled()
    if init and not _try_one(init):
        return Level("namespaces", missing, init)
    reason = _try_one(None)
    if reason:
        return Level("plain", f"{reason}{_hint()}")
    return Level("namespaces", missing)


def _compiled() -> Path | None:
    from repodojo.sandbox.local import native

    try:
        return native.program()
    except OSError:  # no compiler, or nowhere to put it: boxes have the Python init
        return None


def _try_one(init: Path | None) -> str:
    """Make a box over a small tree, in it what boxes rely on; "" where all works."""
    from repodojo.sandbox.local.trial import trial

    with tempfile.TemporaryDirectory(prefix="repodojo-probe-") as folder:
        try:
            with ThreadPoolExecutor(1) as thread:  # the caller may be inside an event loop
                return thread.submit(trial, Path(folder), init).result()
        except (SandboxError, OSError) as error:
            return str(error)


def _hint() -> str:
    """The usual causes, where the kernel tells them."""
    for name, value, text in (
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor restricts user namespaces"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone is 0"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces is 0"),
    ):
        try:
            if Path("/proc/sys", name).read_text().strip() == value:
                return f" ({text})"
        except OSError:
            continue
    return " (in a container? it must be allowed to mount)" if os.path.exists("/.dockerenv") else ""
