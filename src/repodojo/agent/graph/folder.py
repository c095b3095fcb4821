"""The graph of a folder on this machine, kept up to date by content: for `bench`, `wiki` and the MCP server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from repodojo.agent.graph.grammars import language_of
from repodojo.agent.graph.graph import CodeGraph
from repodojo.agent.graph.parse import MOST_BYTES, Parser, content_hash
from repodojo.core.errors import SourceError

SKIPPED = {"node_modules", "__pycache__", "venv", "target", "build", "dist", "site-packages", "vendor"}
MOST_FILES = 50_000


def sources(root: Path) -> Iterator[str]:
    """Relative paths of the source files below `root`; links, hidden and vendored folders are passed over."""
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if name not in SKIPPED and not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if language_of(name) and not path.is_symlink():
                yield path.relative_to(root).as_posix()


class FolderGraph:
    """`refresh` reads what changed: by size and time which files to look at, by content which to parse."""

    def __init__(self, root: Path, parser: Parser | None = None) -> None:
        if not root.is_dir():
            raise SourceError(f"{root} is no folder", way_out="name the root of a repository")
        self.root = root
        self.graph = CodeGraph()
        self.parser = parser or Parser()
        self._seen: dict[str, tuple[int, int]] = {}
        self._hashes: dict[str, str] = {}

    def refresh(self) -> int:
        """Bring the graph up to date; the number of files that changed. SourceError where there are too many."""
        found: dict[str, tuple[int, int]] = {}
        for path in sources(self.root):
            try:
                status = (self.root / path).stat()
            except OSError:
                continue  # it went while we looked
            if status.st_size <= MOST_BYTES:
                found[path] = (status.st_size, status.st_mtime_ns)
            if len(found) > MOST_FILES:
                cause = f"{self.root} holds more than {MOST_FILES} source files"
                raise SourceError(cause, way_out="name a folder within it")
        gone = [path for path in self._seen if path not in found]
        for path in gone:
            self.graph.put(path, None)
            self._hashes.pop(path, None)
        changed = sum(self._read(path) for path, status in found.items() if self._seen.get(path) != status)
        self._seen = found
        return changed + len(gone)

    def _read(self, path: str) -> bool:
        """Put one file into the graph; False where its content is what it was."""
        try:
            data = (self.root / path).read_bytes()
        except OSError:
            return False
        name = content_hash(data)
        if self._hashes.get(path) == name:
            return False
        self._hashes[path] = name
        self.graph.put(path, self.parser.facts(path, data))
        return True
