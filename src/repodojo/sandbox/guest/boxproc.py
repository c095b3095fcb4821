"""What `boxrun` knows of its child as a process: its end, its waiting, and how to be rid of it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys


def hide(on: bool) -> None:
    """Keep other processes of the same user out of this one's memory and descriptors (a Linux matter)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(4, 0 if on else 1, 0, 0, 0)  # PR_SET_DUMPABLE


def waited(pid: int) -> float:
    """Seconds that a process was ready to run and got no CPU: the machine's doing, not the code's. 0 where unknown."""
    try:
        with open(f"/proc/{pid}/schedstat", "rb") as stream:
            return int(stream.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def kill(pid: int) -> None:
    """Kill a process and its group."""
    kill_group(pid)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def kill_group(pid: int) -> None:
    """Kill what a process has left running in its group."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def ending(status: int) -> str:
    """How a process ended, for people."""
    if os.WIFSIGNALED(status):
        return f"the process was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"the process ended with exit code {os.waitstatus_to_exitcode(status)}"
