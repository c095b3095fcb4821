"""A Python that has loaded an agent's modules, and forks for every episode. A script of its own that needs no package.

    PYTHON warmed.py SOCKET MODULE...

Prints "ready" once the modules are loaded. Each connection is one run: a line of JSON comes in ({"words", "variables",
"folder"}); out go the process id and a line break, then everything that the run prints, then `\\0exit CODE\\n`.
Ends when its stdin closes.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
from typing import Any

END = b"\0exit "


def main(path: str, modules: list[str]) -> None:
    """Serve until the parent is gone."""
    for name in modules:
        importlib.import_module(name)
    if threading.active_count() > 1:  # a fork has none of them, and perhaps their locks
        names = ", ".join(thread.name for thread in threading.enumerate()[1:])
        print(f"these modules start threads, so they cannot be forked: {names}", flush=True)
        raise SystemExit(1)
    gc.collect()
    gc.freeze()  # else a collection in a fork walks all that was loaded, and so copies it
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(512)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who serve
    print("ready", flush=True)
    _accept(listener)


def _accept(listener: socket.socket) -> None:
    sources: list[Any] = [listener, 0]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if 0 in ready and not os.read(0, 1):
            os._exit(0)
        if listener in ready:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _serve(connection)
            connection.close()


def _serve(connection: socket.socket) -> None:
    """One run in a session of its own; this process stays to tell how it ended, and ends what it left running."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with connection.makefile("rb") as asked:
        order = json.loads(asked.readline())
    connection.sendall(b"%d\n" % os.getpid())
    child = os.fork()
    if child == 0:
        _become(order, connection)
    _, status = os.waitpid(child, 0)
    connection.sendall(b"%s%d\n" % (END, os.waitstatus_to_exitcode(status)))
    connection.close()
    os.killpg(0, signal.SIGKILL)


def _become(order: dict[str, Any], connection: socket.socket) -> None:
    """Be the program: its folder, variables, arguments and output."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (connection.fileno(), 1), (connection.fileno(), 2)):
        os.dup2(source, target)
    connection.close()
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["variables"])
    random.seed()
    words = order["words"]
    code: object = 0
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            sys.path.insert(0, os.path.dirname(words[0]))
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:  # the edge of the program: whatever it raised ends this fork, as it would end an interpreter
        traceback.print_exc()
        code = 1
    # As an interpreter ends, without taking apart what was loaded before the fork.
    threading._shutdown()  # type: ignore[attr-defined]  # waits for the program's own threads
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
