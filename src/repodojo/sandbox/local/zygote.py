"""The fork server: one single-threaded process, without torch, from which every box is forked.

Started by `client` as `python -m repodojo.sandbox.local.zygote DESCRIPTOR`. It lives as pid 1 of a pid namespace of
its own, so that its death ends every box, and it ends itself when the host's end of the socket closes.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import os
import select
import signal
import socket
import sys
import sysconfig
from typing import Any, NoReturn

from repodojo.sandbox.local import boxroot, init, seccomp, skeleton, syscalls, warm, wire

_BOX_SOCKET = 3
_BOX_NAMESPACES = (
    syscalls.NEWUSER
    | syscalls.NEWNS
    | syscalls.NEWPID
    | syscalls.NEWNET
    | syscalls.NEWIPC
    | syscalls.NEWUTS
    | syscalls.NEWCGROUP
)


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
    while True:
        ready = poll.poll(1000)
        _reap()
        if not ready:
            continue
        try:
            _, handles = wire.receive(control)
        except (EOFError, ConnectionError):
            return
        box, request = handles
        if os.fork() == 0:
            control.close()
            _become_box(box, request, shared, preloaded)
        os.close(box)
        os.close(request)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _become_box(box: int, request: int, shared: tuple[str, ...], preloaded: frozenset[str]) -> NoReturn:
    """From here on a box: namespaces, its root, no privileges, then init until the host lets go."""
    size = os.fstat(request).st_size
    wanted = marshal.loads(wire.contents(request, size))  # from the host, which is trusted
    if box != _BOX_SOCKET:  # dup3 refuses equal numbers
        os.dup2(box, _BOX_SOCKET, inheritable=False)
    os.closerange(_BOX_SOCKET + 1, 1024)
    control = socket.socket(fileno=_BOX_SOCKET)
    try:
        uid, gid = os.geteuid(), os.getegid()
        syscalls.unshare(_BOX_NAMESPACES)
        syscalls.map_user(skeleton.INNER_UID, uid, gid)
        if os.fork():
            os._exit(0)
        upper = boxroot.build(boxroot.Layout(**wanted["layout"], shared=shared))
        syscalls.loopback_up()
        syscalls.set_host_name("box")
        _confine(wanted["limits"])
        wire.send(control, {"ready": True})
        init.serve(control, upper, wanted["limits"], preloaded)
    except OSError as error:
        with contextlib.suppress(OSError):  # the host may be gone too
            wire.send(control, {"failed": f"{error.strerror or error}"})
    os._exit(0)


def _confine(limits: wire.Header) -> None:
    os.umask(0o022)
    with open("/proc/self/oom_score_adj", "w") as handle:
        handle.write("500")  # where the machine runs short, a box goes first, not the training
    syscalls.drop_capabilities()
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    init.confine(limits)
    if seccomp.supported():
        seccomp.install(seccomp.program(os.uname().machine))


if __name__ == "__main__":
    main()
