"""What must be known of a task's tree before changes enter it: where modules come from, what is installed."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from repodojo.core.protocols import Sandbox
from repodojo.core.records import Task
from repodojo.rewards.filter import new_modules

Changes = Mapping[str, bytes | None]
_INSTALLED = (
    "import importlib.util, os, sys\n"
    "names = [n for n in sys.argv[1:] if importlib.util.find_spec(n)]\n"
    "os.write(int(os.environ['REPODOJO_REPORT_FD']), '\\n'.join(names).encode())"
)


def import_roots(task: Task) -> tuple[str, ...]:
    """Folders of the tree that modules are imported from: PYTHONPATH's, and those that pytest adds for test files."""
    prefix = f"{task.environment.work_dir.rstrip('/')}/"
    paths = task.environment.variables.get("PYTHONPATH", "").split(":")
    named = [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]
    return tuple(dict.fromkeys(["", *named, *(posixpath.dirname(path) for path in task.hidden_files)]))


async def shadowing(box: Sandbox, changes: Changes, roots: tuple[str, ...]) -> set[str]:
    """Paths that would put a new module in front of an installed one; asked of the box before anything is written."""
    tops = new_modules(changes, roots)
    if tops:
        there = {name.rstrip("/").removesuffix(".py") for root in roots for name in await _names(box, root)}
        tops = {path: name for path, name in tops.items() if name not in there}
    if not tops:
        return set()
    result = await box.exec(["python", "-c", _INSTALLED, *sorted(set(tops.values()))], cwd="/")
    installed = set(result.report.decode(errors="replace").split())
    return {path for path, name in tops.items() if name in installed or result.exit_code != 0}


async def _names(box: Sandbox, folder: str) -> list[str]:
    try:
        return await box.listdir(folder or ".")
    except OSError:
        return []
