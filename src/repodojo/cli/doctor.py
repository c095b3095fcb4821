"""`repodojo doctor`: what this machine can do, and what to install for more."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer import Option, echo

from repodojo.core.machine import cores
from repodojo.core.native import compiler
from repodojo.sandbox import level

_EXTRAS = {
    "docker": ("boxes from container images: not used by this version", ""),
    "kubernetes": ("boxes on a cluster: not used by this version", ""),
    "ray": ("work spread over machines: not used by this version", ""),
    "wandb": ("tracking on Weights & Biases", "pip install 'repodojo[wandb]'"),
}


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, whether it is there, what was seen, and what would give more ("" where nothing)."""

    name: str
    good: bool
    seen: str
    advice: str = ""


def doctor(json_: bool = Option(False, "--json", help="Print one JSON object instead of a table.")) -> None:
    """Say what this machine can do, and what to install for more.

    Example: repodojo doctor --json | jq .isolation
    """
    findings = [_isolation(), _cores(), _memory(), _accelerator(), _compiler(), _attention(), _git()]
    findings += [_extra(name, *texts) for name, texts in _EXTRAS.items()]
    if json_:
        echo(json.dumps({finding.name: asdict(finding) for finding in findings}))
        return
    table = Table("", "what", "here", "for more", title=f"Python {platform.python_version()} on {platform.platform()}")
    for finding in findings:
        mark = "[green]yes[/]" if finding.good else "[yellow]no[/]"
        table.add_row(mark, finding.name, escape(finding.seen), escape(finding.advice))
    Console().print(table)


def _isolation() -> Finding:
    found = level.probe()
    if found.isolated:
        init = "C init" if found.init else "Python init, for want of a compiler"
        return Finding("isolation", True, f"{found.name}, {init}{f' ({found.reason})' if found.reason else ''}")
    seen = f"{found.name}, not isolated: {found.reason}"
    return Finding("isolation", False, seen, "Linux 6.6 or newer with unprivileged user namespaces allowed")


def _cores() -> Finding:
    return Finding("cores", True, str(cores()))


def _memory() -> Finding:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    advice = "" if total >= 4 else "4 GiB or more for the quickstart"
    return Finding("memory", total >= 4, f"{total:.1f} GiB{_memory_limit(total)}", advice)


def _memory_limit(total: float) -> str:
    """A container's own limit, where it is lower."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limit = int(Path(path).read_text()) / 2**30
        except (OSError, ValueError):
            continue
        if limit < total:
            return f", of which this container may use {limit:.1f} GiB"
    return ""


def _accelerator() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding("accelerator", True, f"{', '.join(names)}: used where model.device says so")
    if torch.backends.mps.is_available():
        return Finding("accelerator", False, "Apple MPS: not used by this version")
    return Finding("accelerator", False, "none: the CPU does all", "a CUDA GPU with its build of torch, or servers")


def _compiler() -> Finding:
    found = compiler()
    advice = "" if found else "gcc or clang, for the C init of boxes, the C attention and torch.compile"
    return Finding("compiler", bool(found), found or "none", advice)


def _attention() -> Finding:
    from repodojo.inference.native import kernel

    try:
        kernel(64)
    except OSError as error:
        return Finding("attention", False, f"torch's: {error}", "gcc or clang")
    return Finding("attention", True, "C kernel (float32)")


def _git() -> Finding:
    found = shutil.which("git")
    return Finding("git", bool(found), found or "none", "" if found else "git, to take tasks from repositories")


def _extra(name: str, purpose: str, advice: str) -> Finding:
    there = importlib.util.find_spec(name) is not None
    return Finding(name, there, purpose if there else f"not installed: {purpose}", "" if there else advice)
