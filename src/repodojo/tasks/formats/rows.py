"""Rows out of files and into them, one at a time: jsonl, a JSON array, parquet, folders. Memory does not grow.

Each item that is read comes with the place it stood at ("line 7", "row 12", "folder x"), as a row or as what is wrong.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from repodojo.core.errors import TaskError, UserError
from repodojo.tasks.formats.base import Format, Row, RowError
from repodojo.tasks.formats.folders import read_folder, task_folders, write_folder

Item = tuple[str, Row | RowError]
BUFFER = 1 << 18
LARGEST = 1 << 28
"""Characters of one row of a JSON array, above which it is taken for broken."""
BATCH = 64
"""Rows of a parquet file that are in memory at once."""
BETWEEN = re.compile(r"[\s,]*")


def read(path: Path) -> Iterator[Item]:
    """The rows of a file or folder by its name; TaskError where it is none that can be read."""
    if path.is_dir():
        yield from _folders(path)
    elif not path.is_file():
        raise TaskError(f"{path} is not there", way_out="name a .jsonl, .json or .parquet file, or a folder of tasks")
    elif path.suffix == ".parquet":
        yield from _parquet(path)
    elif path.suffix == ".json":
        yield from _json(path)
    elif path.suffix in (".jsonl", ".ndjson"):
        yield from _jsonl(path)
    else:
        raise TaskError(
            f"{path.name} is of no kind that can be read", way_out="use .jsonl, .json, .parquet or a folder"
        )


def total(path: Path) -> int:
    """Rows or folders that `read` goes through, for a progress bar; 0 where that is not known at once (arrays)."""
    if path.is_dir():
        return len(task_folders(path))
    if path.suffix == ".parquet" and path.is_file():
        return int(_arrow().ParquetFile(path).metadata.num_rows)
    if path.suffix in (".jsonl", ".ndjson") and path.is_file():
        with open(path, "rb") as stream:
            return sum(piece.count(b"\n") for piece in iter(lambda: stream.read(BUFFER), b""))
    return 0


def _folders(path: Path) -> Iterator[Item]:
    found = task_folders(path)
    if not found:
        raise TaskError(
            f"no folder with a task.toml or task.yaml in {path}", way_out="name the folder that holds the tasks"
        )
    for folder in found:
        try:
            yield f"folder {folder.name}", read_folder(folder)
        except RowError as error:
            yield f"folder {folder.name}", error


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is not JSON")


def _row(value: Any) -> Row | RowError:
    return value if isinstance(value, dict) else RowError("", f"is {type(value).__name__}, not an object")


def _jsonl(path: Path) -> Iterator[Item]:
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                try:
                    yield f"line {number}", _row(json.loads(line, parse_constant=_refuse))
                except (ValueError, RecursionError) as error:
                    yield f"line {number}", RowError("", f"is not JSON: {error}")


def _json(path: Path) -> Iterator[Item]:
    """The items of an array, decoded one by one; what is broken ends the file, since nothing says where to go on."""
    decoder = json.JSONDecoder(parse_constant=_refuse)
    with open(path, encoding="utf-8") as stream:
        buffer = stream.read(BUFFER).lstrip()
        if not buffer.startswith("["):
            raise TaskError(f"{path.name} holds no array of rows", way_out="give a list of rows, or .jsonl")
        at, number = 1, 0
        while True:
            at = BETWEEN.match(buffer, at).end()  # type: ignore[union-attr]  # it matches the empty text too
            if buffer.startswith("]", at):
                return
            try:
                value, at = decoder.raw_decode(buffer, at)
            except (ValueError, RecursionError) as error:
                piece = stream.read(max(BUFFER, len(buffer) - at)) if len(buffer) - at < LARGEST else ""
                if not piece:
                    yield f"row {number + 1}", RowError("", f"is not JSON: {error}")
                    return
                buffer, at = buffer[at:] + piece, 0
                continue
            number += 1
            yield f"row {number}", _row(value)


def _arrow() -> Any:
    """pyarrow's parquet module, which only those need who have such files."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            "parquet files need pyarrow, which is not installed", way_out="pip install 'repodojo[parquet]'"
        ) from None
    return pyarrow.parquet


def _parquet(path: Path) -> Iterator[Item]:
    arrow = _arrow()
    import pyarrow

    try:
        number = 0
        for batch in arrow.ParquetFile(path).iter_batches(batch_size=BATCH):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", {name: _json_value(value) for name, value in row.items()}
    except (pyarrow.ArrowException, OSError) as error:
        raise TaskError(f"{path.name} cannot be read as parquet: {error}", way_out="fetch it anew") from None


def _json_value(value: Any) -> Any:
    """A time as text: JSON has none. The schema that `export` writes by turns it back."""
    return value.isoformat() if isinstance(value, datetime) else value


def schema(path: Path) -> str:
    """The schema of a parquet file as text for a manifest; "" for other files."""
    if path.suffix != ".parquet" or not path.is_file():
        return ""
    return base64.b64encode(_arrow().read_schema(path).serialize().to_pybytes()).decode()


# ---------------------------------------------------------------- writing


def write(rows: Iterable[Row], path: Path, kind: Format, schema: str = "") -> int:
    """Rows to a file or folder by its name; how many. The file appears whole or not at all."""
    if kind.folder:
        path.mkdir(parents=True, exist_ok=True)
        return len([write_folder(row, path) for row in rows])
    writers = {".jsonl": _write_jsonl, ".json": _write_json, ".parquet": _write_parquet}
    if path.suffix not in writers:
        raise TaskError(f"{path.name}: {kind.name} is written as a file", way_out=f"end it in {' '.join(writers)}")
    part = path.with_name(f".part-{path.name}")
    try:
        count = writers[path.suffix](rows, part, schema)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _write_jsonl(rows: Iterable[Row], path: Path, schema: str) -> int:
    del schema
    count = 0
    with open(path, "w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _write_json(rows: Iterable[Row], path: Path, schema: str) -> int:
    del schema
    count = 0
    with open(path, "w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(("[\n" if not count else ",\n") + json.dumps(row, ensure_ascii=False))
            count += 1
        stream.write("\n]\n" if count else "[]\n")
    return count


def _write_parquet(rows: Iterable[Row], path: Path, schema: str) -> int:
    """By the schema that came in where there is one, else by that of the first rows."""
    arrow = _arrow()
    import pyarrow

    layout = pyarrow.ipc.read_schema(pyarrow.py_buffer(base64.b64decode(schema))) if schema else None
    source, count, writer = iter(rows), 0, None
    try:
        while batch := list(itertools.islice(source, 1000)):
            known = layout.names if layout else list(dict.fromkeys(name for row in batch for name in row))
            if extra := next((name for row in batch for name in row if name not in known), ""):
                raise TaskError(f"the field {extra!r} has no parquet column", way_out="write .jsonl instead")
            batch = [{name: row.get(name) for name in known} for row in batch]
            times = [field.name for field in layout or () if pyarrow.types.is_timestamp(field.type)]
            for row, name in itertools.product(batch, times):
                row[name] = datetime.fromisoformat(row[name]) if row.get(name) else None
            table = pyarrow.Table.from_pylist(batch, schema=layout)
            layout = table.schema
            writer = writer or arrow.ParquetWriter(path, layout)
            writer.write_table(table)
            count += len(batch)
        if writer is None:
            arrow.write_table(pyarrow.table({}), path)
    except (pyarrow.ArrowException, TypeError) as error:
        raise TaskError(f"the rows do not fit one parquet schema: {error}", way_out="write .jsonl instead") from None
    finally:
        if writer is not None:
            writer.close()
    return count
