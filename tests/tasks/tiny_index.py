"""A package index on this machine that tells when its wheels came (PEP 691, PEP 700)."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Wheel = tuple[str, str, str, Sequence[str]]
"""Name, version, upload time, requirements."""


def wheel(name: str, version: str, requires: Sequence[str]) -> bytes:
    """A wheel with one module that knows its version."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": "\n".join(
            [
                "Metadata-Version: 2.1",
                f"Name: {name}",
                f"Version: {version}",
                *(f"Requires-Dist: {r}" for r in requires),
            ]
        ),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return made.getvalue()


@contextmanager
def serving(wheels: Sequence[Wheel], *, dated: bool = True) -> Iterator[str]:
    """The index's address; without `dated` it keeps the times to itself."""
    pages: dict[str, list[dict[str, object]]] = {}
    files: dict[str, bytes] = {}
    for name, version, time, requires in wheels:
        file, data = f"{name}-{version}-py3-none-any.whl", wheel(name, version, requires)
        files[f"/files/{file}"] = data
        row: dict[str, object] = {"filename": file, "url": f"/files/{file}"}
        row["hashes"] = {"sha256": hashlib.sha256(data).hexdigest()}
        pages.setdefault(name, []).append(row | ({"upload-time": time} if dated else {}))

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:  # uv asks how long a wheel is before it reads its end
            self.do_GET()

        def do_GET(self) -> None:
            name = self.path.strip("/").removeprefix("simple/")
            if self.path in files:
                self._send("application/octet-stream", files[self.path])
            elif self.path.startswith("/simple/") and name in pages:
                page = {"meta": {"api-version": "1.1"}, "name": name, "files": pages[name]}
                self._send("application/vnd.pypi.simple.v1+json", json.dumps(page).encode())
            else:
                self.send_error(404)

        def _send(self, kind: str, data: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple"
    finally:
        server.shutdown()
        server.server_close()
