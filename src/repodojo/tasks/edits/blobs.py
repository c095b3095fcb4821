"""Files of many commits through one git process."""

from __future__ import annotations

import os
import subprocess
from types import TracebackType

from repodojo.core.errors import SourceError
from repodojo.tasks.history.repository import QUIET, SAFE, Repository


class Blobs:
    """Reads files as commits have them; a context manager."""

    def __init__(self, repository: Repository) -> None:
        command = ["git", *SAFE, f"--git-dir={repository.folder}", "cat-file", "--batch"]
        pipe = subprocess.PIPE
        self._git = subprocess.Popen(command, stdin=pipe, stdout=pipe, env={**os.environ, **QUIET})

    def __enter__(self) -> Blobs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._git.kill()
        self._git.communicate()

    def read(self, commit: str, path: str) -> bytes | None:
        """A file's bytes; None where the commit has no such file (or a folder, or a submodule, there)."""
        stdin, stdout = self._git.stdin, self._git.stdout
        assert stdin is not None and stdout is not None
        if "\n" in path:
            return None
        try:
            stdin.write(f"{commit}:{path}\n".encode())
            stdin.flush()
            head = stdout.readline().split()
        except OSError as error:
            raise SourceError(f"git cat-file stopped: {error}", way_out="check the repository") from None
        if not head:
            raise SourceError("git cat-file stopped", way_out="check the repository")
        if len(head) != 3 or not head[2].isdigit() or head[-1] == b"missing":
            return None
        data = stdout.read(int(head[2]) + 1)[:-1]
        return data if head[1] == b"blob" else None
