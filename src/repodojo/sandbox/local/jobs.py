"""Jobs of a box, run by its init: start one, watch it, and leave nothing of it alive."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import time
from collections.abc import Mapping, Sequence

from repodojo.sandbox.local import warm, wire

REPORT = 3
_TICK_MS = 50
_PAGE = os.sysconf("SC_PAGESIZE")
_RESET = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def start(header: wire.Header, handles: Sequence[int], preloaded: frozenset[str]) -> int:
    """Start a job with (stdin, output, report) as its descriptors 0, 1 and 2, 3; returns its pid."""
    argv, env, cwd = [str(word) for word in header["argv"]], dict(header["env"]), str(header["cwd"])
    os.chdir(cwd)
    if header["warm"]:
        return _fork(argv, env, handles, preloaded)
    program = shutil.which(argv[0], path=env.get("PATH", ""))
    if program is None:
        raise FileNotFoundError(2, "no such command", argv[0])
    stdin, output, report = handles
    actions = [
        (os.POSIX_SPAWN_DUP2, stdin, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
        (os.POSIX_SPAWN_DUP2, report, REPORT),
    ]
    return os.posix_spawn(program, argv, env, file_actions=actions, setsid=True, setsigdef=_RESET, setsigmask=())


def _fork(argv: list[str], env: dict[str, str], handles: Sequence[int], preloaded: frozenset[str]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        stdin, output, report = (os.dup(handle) for handle in handles)  # above REPORT, so that none is overwritten
        for source, target in ((stdin, 0), (output, 1), (output, 2), (report, REPORT)):
            os.dup2(source, target, inheritable=True)
        os.closerange(REPORT + 1, 1024)
        warm.run(argv, env, preloaded)
    except BaseException as error:  # the edge of the fork: nothing may return into init's own loop
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(127)


def watch(pid: int, control: socket.socket, memory_bytes: int) -> tuple[int, str]:
    """Wait for a job, killing all where the host says so or memory runs over; returns (status, reason).

    The reason is "" where the job ended by itself. EOFError where the host is gone.
    """
    job = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(job, select.POLLIN)
    poll.register(control, select.POLLIN)
    reason = ""
    try:
        while True:
            ready = {handle for handle, _ in poll.poll(_TICK_MS)}
            if job in ready:
                break
            if control.fileno() in ready:
                header, handles = wire.receive(control)
                for handle in handles:
                    os.close(handle)
                if header["op"] == "kill":
                    reason = "host"
            elif _memory_over(memory_bytes):
                reason = "memory"
            if reason:
                _kill_all()
                break
            _reap_others(pid)
    finally:
        os.close(job)
    _, status = os.waitpid(pid, 0)
    leave_nothing()
    return os.waitstatus_to_exitcode(status), reason


def leave_nothing() -> None:
    """Kill and reap every process of the box but this one; without children (orphans are ours) there is nobody."""
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            _kill_all()  # looks at every process of the machine: not in vain
            while os.waitpid(-1, 0)[0]:
                pass
        except ChildProcessError:
            return


def _kill_all() -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)


def _reap_others(job: int) -> None:
    """Orphans end up here; unreaped they would count against the box's processes."""
    while True:
        try:
            done = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if done is None or done.si_pid == job:
            return
        os.waitpid(done.si_pid, 0)


def _memory_over(limit: int) -> bool:
    """Resident memory of all processes, first as the cheap upper bound, then with shared pages counted once."""
    pids = [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]
    resident = {pid: _resident(pid) for pid in pids}
    if sum(resident.values()) <= limit:
        return False
    return sum(_proportional(pid, size) for pid, size in resident.items()) > limit


def _resident(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as handle:
            return int(handle.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0  # it has ended meanwhile


def _proportional(pid: str, resident: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as handle:
            for line in handle:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # ended, or it hides from its own kin: then the upper bound counts
    return resident


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """The job's environment with the number of its report descriptor."""
    return {**env, "REPODOJO_REPORT_FD": str(REPORT)}
