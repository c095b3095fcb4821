"""Pid 1 of a box: the only trusted process in it. Serves jobs and file operations over its control socket.

It is not dumpable, so that jobs, which run as the same user, can neither read its memory nor reach its descriptors.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from dataclasses import asdict
from typing import Any

from repodojo.sandbox import safefiles
from repodojo.sandbox.local import jobs, scan, wire


def serve(control: socket.socket, upper: int, limits: wire.Header, preloaded: frozenset[str]) -> None:
    """Answer requests until the host is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a handler would let jobs signal pid 1
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    root = safefiles.open_root("/")
    memory_bytes = int(limits["memory_mb"]) << 20
    while True:
        try:
            header, handles = wire.receive(control)
        except (EOFError, ConnectionError):
            return
        try:
            if header["op"] == "exec":
                answer = _exec(header, handles, control, memory_bytes, preloaded)
            elif header["op"] == "kill":
                continue
            else:
                answer = file_operation(header, handles, root, upper)
        except OSError as error:
            answer = {"errno": error.errno, "text": error.strerror or str(error)}
        except (EOFError, ConnectionError):
            return
        finally:
            for handle in handles:
                os.close(handle)
        try:
            wire.send(control, {"id": header["id"], **answer})
        except OSError:
            return


def _exec(
    header: wire.Header, handles: list[int], control: socket.socket, memory_bytes: int, preloaded: frozenset[str]
) -> wire.Header:
    pid, code = launch(header, handles, preloaded)
    if pid is None:
        return {"code": code, "reason": ""}
    code, reason = jobs.watch(pid, control, memory_bytes)
    return {"code": code, "reason": reason}


def launch(header: wire.Header, handles: list[int], preloaded: frozenset[str]) -> tuple[int | None, int]:
    """Start a job and let go of its descriptors; (pid, 0), or (None, exit code) once its output says what is wrong."""
    try:
        return jobs.start({**header, "env": jobs.environment(header["env"])}, handles, preloaded), 0
    except OSError as error:
        os.write(handles[1], f"{header['argv'][0]}: {error.strerror}\n".encode())
        return None, 127 if isinstance(error, FileNotFoundError) else 126
    finally:
        while handles:  # held here, the output pipe would never end
            os.close(handles.pop())
        os.chdir("/")


def file_operation(header: wire.Header, handles: list[int], root: int, upper: int) -> wire.Header:
    """Read, list, write, delete, or tell what differs from the tree (`scan`)."""
    operation, parts = header["op"], tuple(header.get("parts", ()))
    if operation == "read":
        return {"size": _put(handles[0], safefiles.read_file(root, parts, int(header["cap"])))}
    if operation == "list":
        return {"size": _put(handles[0], json.dumps(safefiles.list_folder(root, parts)).encode())}
    if operation == "write":
        safefiles.write_file(root, parts, wire.contents(handles[0], int(header["size"])))
        return {}
    if operation == "delete":
        safefiles.delete_file(root, parts)
        return {}
    found = scan.scan(upper, (int(header["file_cap"]), int(header["total_cap"])))
    blob = bytes(found.blob)
    found.blob = bytearray()
    listing: dict[str, Any] = asdict(found)
    del listing["blob"]
    head = json.dumps(listing).encode()
    return {"head": _put(handles[0], head), "size": _put(handles[0], blob)}


def _put(handle: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
    return len(data)
