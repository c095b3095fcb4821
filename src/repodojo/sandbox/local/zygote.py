"""The fork server: one single-threaded process, without torch, from which boxes and the keepers of boxes are forked.

Boxes with the C init are forked by a small C program of its own beside it (native/maker.h).
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

from repodojo.sandbox.local import init, keeper, skeleton, steps, syscalls, warm, wire

_BOX_SOCKET = 3


def main() -> None:
    """Read the plan, enter namespaces, and serve; what fails on the way is told to the host."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    header, handles = wire.receive(control)
    plan = skeleton.plan_from(header["plan"])
    try:
        _enter_namespaces()
    except OSError as error:
        wire.send(control, {"failed": f"{error.strerror or error}"})
        sys.exit(1)
    child = os.fork()
    if child:
        for handle in (control.detach(), *handles):
            os.close(handle)
        sys.exit(min(1, os.waitpid(child, 0)[1]))
    _serve_as_pid_1(control, plan, int(header["uid"]), handles)


def _enter_namespaces() -> None:
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        syscalls.unshare(syscalls.NEWNS | syscalls.NEWPID)
        return
    syscalls.unshare(syscalls.NEWUSER | syscalls.NEWNS | syscalls.NEWPID)
    syscalls.map_user(uid, uid, gid)


def _serve_as_pid_1(control: socket.socket, plan: skeleton.Plan, uid: int, handles: list[int]) -> NoReturn:
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever ends is reaped at once, orphans too
        stdlib = _standard_library()
        skeleton.build(plan)
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)  # else the maps of boxes could not be written
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        maker = _start_maker(handles[0]) if plan.init else None
        os.close(handles[0])
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
        _serve(control, preloaded, maker)
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


def _serve(control: socket.socket, preloaded: frozenset[str], maker: int | None) -> None:
    poll = select.poll()
    poll.register(control, select.POLLIN)
    if maker is not None:
        poll.register(os.pidfd_open(maker), select.POLLIN)
    while [(control.fileno(), select.POLLIN)] == poll.poll():  # else a side is gone
        try:
            header, handles = wire.receive(control)
        except (EOFError, ConnectionError):
            return
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            if header["op"] == "enter":
                _become_keeper(handles[0], header["limits"], preloaded)
            _become_box(handles[0], handles[1], preloaded)
        for handle in handles:
            os.close(handle)


def _start_maker(end: int) -> int:
    """The C program that forks boxes: its pid. It has the host's socket as descriptor 3."""
    own = fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _BOX_SOCKET + 1)
    try:
        return os.posix_spawn(
            skeleton.INIT, ["init", "serve"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, own, _BOX_SOCKET)]
        )
    finally:
        os.close(own)


def _become_box(box: int, request: int, preloaded: frozenset[str]) -> NoReturn:
    """From here on a box: namespaces, its root, no privileges, then init until the host lets go."""
    size = os.fstat(request).st_size
    wanted = marshal.loads(wire.contents(request, size))  # from the host, which is trusted
    control = _only(box)
    try:
        syscalls.unshare(keeper.NAMESPACES)
        if os.fork():
            os._exit(0)
        upper = steps.perform(wanted["steps"])
        wire.send(control, {"ready": True})
        init.serve(control, upper, wanted["limits"], preloaded)
    except OSError as error:
        with contextlib.suppress(OSError):  # the host may be gone too
            wire.send(control, {"failed": f"{error.strerror or error}"})
    os._exit(0)


def _become_keeper(end: int, limits: wire.Header, preloaded: frozenset[str]) -> NoReturn:
    """From here on the Python of a box with the C init; where that is gone, the socket closes."""
    with contextlib.suppress(EOFError, OSError):
        control = _only(end)
        steps.perform([steps.yield_memory_first()])
        _, (upper, *namespaces) = wire.receive(control)
        keeper.enter(namespaces)
        steps.perform(steps.confined(limits, keeper.OWN))
        keeper.serve(control, upper, preloaded)
    os._exit(0)


def _only(box: int) -> socket.socket:
    """A box's socket as descriptor 3; all above are closed."""
    if box != _BOX_SOCKET:  # dup3 refuses equal numbers
        os.dup2(box, _BOX_SOCKET, inheritable=False)
    os.closerange(_BOX_SOCKET + 1, 1024)
    return socket.socket(fileno=_BOX_SOCKET)


if __name__ == "__main__":
    main()
