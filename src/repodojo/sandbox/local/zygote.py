"""The fork server: one single-threaded process, without torch, from which every box is forked.

Started by `client` as `python -m repodojo.sandbox.local.zygote DESCRIPTOR`. It lives as pid 1 of a pid namespace of
its own, so that its death ends every box, and it ends itself when the host's end of the socket closes.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import marshal
import os
import select
import signal
import socket
import sys
import sysconfig
from typing import Any, NoReturn

from repodojo.sandbox.local import boxroot, init, keeper, pids, seccomp, skeleton, syscalls, warm, wire

_BOX_SOCKET = 3
_UPPER = 4


def main() -> None:
    """Read the plan, enter namespaces, and serve; what fails on the way is told to the host."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    header, _ = wire.receive(control)
    plan = skeleton.plan_from(header["plan"])
    try:
        _enter_namespaces()
    except OSError as error:
        wire.send(control, {"failed": f"{error.strerror or error}"})
        sys.exit(1)
    child = os.fork()
    if child:
        control.close()
        sys.exit(min(1, os.waitpid(child, 0)[1]))
    _serve_as_pid_1(control, plan, int(header["uid"]))


def _enter_namespaces() -> None:
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        syscalls.unshare(syscalls.NEWNS | syscalls.NEWPID)
        return
    syscalls.unshare(syscalls.NEWUSER | syscalls.NEWNS | syscalls.NEWPID)
    syscalls.map_user(uid, uid, gid)


def _serve_as_pid_1(control: socket.socket, plan: skeleton.Plan, uid: int) -> NoReturn:
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        stdlib = _standard_library()
        skeleton.build(plan)
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)  # else the maps of boxes could not be written
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        sys.path[:] = [*stdlib, skeleton.KIT, skeleton.GUEST]
        sys.path_importer_cache.clear()
        preloaded = warm.preload()
        sys.path[:] = stdlib
        sys.path_hooks[:] = [hook for hook in sys.path_hooks if "editable" not in repr(hook)]
        sys.meta_path[:] = [finder for finder in sys.meta_path if _plain_finder(finder)]
        warm.forget_us()
        gc.collect()
        gc.freeze()
        wire.send(control, {"ready": True})
        _serve(control, plan, preloaded)
    except OSError as error:
        wire.send(control, {"failed": f"{error.strerror or error}"})
    os._exit(0)


def _plain_finder(finder: Any) -> bool:
    """Not one that an editable install has put there."""
    name = getattr(finder, "__module__", "") or ""
    return not name.startswith("__editable__")


def _standard_library() -> list[str]:
    """The path of an interpreter without any packages, in its order."""
    folders = (_zipped(), sysconfig.get_path("stdlib"), sysconfig.get_config_var("DESTSHARED"))
    return list(dict.fromkeys(str(path) for path in folders if path))


def _zipped() -> str:
    return next((path for path in sys.path if path.endswith(".zip")), "")


def _serve(control: socket.socket, plan: skeleton.Plan, preloaded: frozenset[str]) -> None:
    poll = select.poll()
    poll.register(control, select.POLLIN)
    shared = tuple(skeleton.shared_paths(plan))
    born = pids.Born()
    while True:
        ready = poll.poll(1000)
        _reap(born)
        if not ready:
            continue
        try:
            header, handles = wire.receive(control)
        except (EOFError, ConnectionError):
            return
        pid = born.pid_of(header["number"]) if header["op"] == "enter" else None
        if os.fork() == 0:
            control.close()
            if header["op"] == "enter":
                _become_keeper(handles[0], pid, header["limits"], preloaded)
            report = born.report_of(header["number"])
            _become_box(handles[0], handles[1], report, shared, preloaded, native=bool(plan.init))
        for handle in handles:
            os.close(handle)


def _reap(born: pids.Born) -> None:
    born.read()  # else the pipe would fill
    try:
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            born.forget(pid)
    except ChildProcessError:
        pass


def _become_box(
    box: int, request: int, report: pids.Report, shared: tuple[str, ...], preloaded: frozenset[str], *, native: bool
) -> NoReturn:
    """From here on a box: namespaces, its root, no privileges, then init until the host lets go."""
    size = os.fstat(request).st_size
    wanted = marshal.loads(wire.contents(request, size))  # from the host, which is trusted
    control = _only(box, report.end)
    try:
        uid, gid = os.geteuid(), os.getegid()
        syscalls.unshare(keeper.NAMESPACES)
        syscalls.map_user(skeleton.INNER_UID, uid, gid)
        if report.fork():
            os._exit(0)
        program = os.open(skeleton.INIT, os.O_RDONLY | os.O_CLOEXEC) if native else -1
        upper = boxroot.build(boxroot.Layout(**wanted["layout"], shared=shared))
        syscalls.loopback_up()
        syscalls.set_host_name("box")
        _yield_memory_first()
        _confine(wanted["limits"], 2 if native else 1)
        if native:
            _execute(program, upper, wanted["limits"])
        wire.send(control, {"ready": True})
        init.serve(control, upper, wanted["limits"], preloaded)
    except OSError as error:
        with contextlib.suppress(OSError):  # the host may be gone too
            wire.send(control, {"failed": f"{error.strerror or error}"})
    os._exit(0)


def _only(box: int, kept: int) -> socket.socket:
    """A box's socket as descriptor 3; all above are closed but `kept`."""
    if box != _BOX_SOCKET:  # dup3 refuses equal numbers
        os.dup2(box, _BOX_SOCKET, inheritable=False)
    os.closerange(_BOX_SOCKET + 1, kept)
    os.closerange(kept + 1, 1024)
    return socket.socket(fileno=_BOX_SOCKET)


def _execute(program: int, upper: int, limits: wire.Header) -> NoReturn:
    """Become the C init: the host's socket is descriptor 3, the upper folder 4."""
    own = fcntl.fcntl(program, fcntl.F_DUPFD_CLOEXEC, _UPPER + 1)
    if upper == _UPPER:
        os.set_inheritable(_UPPER, True)
    else:
        os.dup2(upper, _UPPER)
    os.set_inheritable(_BOX_SOCKET, True)
    os.execve(own, ["init", str(int(limits["memory_mb"]) << 20)], {})


def _become_keeper(end: int, pid: int | None, limits: wire.Header, preloaded: frozenset[str]) -> NoReturn:
    """From here on the Python of a box with the C init; without that box the socket closes, and its init says so."""
    with contextlib.suppress(OSError):
        if pid is not None:
            control = _only(end, 1024)
            _yield_memory_first()
            keeper.enter(pid)
            _confine(limits, 2)
            keeper.serve(control, preloaded)
    os._exit(0)


def _yield_memory_first() -> None:
    with open("/proc/self/oom_score_adj", "w") as handle:
        handle.write("500")  # where the machine runs short, a box goes first, not the training


def _confine(limits: wire.Header, own: int) -> None:
    os.umask(0o022)
    syscalls.drop_capabilities()
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    init.confine(limits, own)
    if seccomp.supported():
        seccomp.install(seccomp.program(os.uname().machine))


if __name__ == "__main__":
    main()
