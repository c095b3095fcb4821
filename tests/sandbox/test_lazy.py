"""A lazy box answers as a real one does, and makes one only when it must."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sandbox_samples import ENVIRONMENT, LIMITS

from repodojo.core.protocols import Limits, Sandbox
from repodojo.sandbox.environments import BoxSpec, resolve
from repodojo.sandbox.factory import LocalFactory
from repodojo.sandbox.lazy import LazySandbox
from repodojo.sandbox.plain import PlainSandbox

PATHS = st.sampled_from(
    [
        "README",
        "pkg",
        "pkg/calc.py",
        "pkg/inner/a.txt",
        "new",
        "new/deep",
        "README/x",
        ".",
        "pkg/__pycache__/x.pyc",
        "../testbed/new",
    ]
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["read", "write", "delete", "list", "changes"]), PATHS, st.binary(max_size=3)),
    max_size=12,
)


async def _refuse(spec: BoxSpec) -> Sandbox:
    raise AssertionError("no box was needed")


async def _outcome(box: Sandbox, step: tuple[str, str, bytes]) -> object:
    verb, path, data = step
    try:
        match verb:
            case "read":
                return await box.read(path)
            case "write":
                return await box.write(path, data)
            case "delete":
                return await box.write(path, None)
            case "list":
                return await box.listdir(path)
        return dict(await box.changes())
    except OSError as error:
        return type(error)


async def _compare(lazy: Sandbox, real: Sandbox, steps: list[tuple[str, str, bytes]]) -> None:
    for step in [*steps, ("changes", "", b"")]:
        assert await _outcome(lazy, step) == await _outcome(real, step), step


@given(steps=STEPS)
@example(steps=[("delete", "README", b""), ("write", "README/x", b"")])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lazy_equals_a_copied_tree(store: Path, steps: list[tuple[str, str, bytes]]) -> None:
    async def run() -> None:
        spec = resolve(ENVIRONMENT, store)
        real = PlainSandbox(spec, LIMITS)
        try:
            await _compare(LazySandbox(spec, _refuse), real, steps)
        finally:
            await real.close()

    asyncio.run(run())


@given(steps=STEPS)
@example(steps=[("delete", "README", b""), ("write", "README/x", b"")])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lazy_equals_a_real_box_also_after_its_first_command(
    store: Path, shared_factory: LocalFactory, steps: list[tuple[str, str, bytes]]
) -> None:
    async def run() -> None:
        spec = resolve(ENVIRONMENT, store)
        lazy, real = LazySandbox(spec, shared_factory.real), await shared_factory.real(spec)
        await _compare(lazy, real, steps)
        assert lazy.real is None
        assert (await lazy.exec(["true"])).exit_code == 0
        assert (await real.exec(["true"])).exit_code == 0
        await _compare(lazy, real, [("list", ".", b""), ("list", "new", b""), ("read", "pkg/calc.py", b""), *steps])
        await lazy.close()
        await real.close()

    asyncio.run(run())


async def test_a_path_outside_the_work_dir_needs_the_real_box(store: Path, shared_factory: LocalFactory) -> None:
    box = LazySandbox(resolve(ENVIRONMENT, store), shared_factory.real)
    await box.write("README", b"mine\n")
    with pytest.raises(FileNotFoundError):
        await box.read(str(store / "secret"))
    assert box.real is not None
    assert (await box.exec(["cat", "README"])).output == b"mine\n"
    await box.close()


async def test_a_file_is_asked_for_anew_once_a_command_ran(store: Path, shared_factory: LocalFactory) -> None:
    box = LazySandbox(resolve(ENVIRONMENT, store), shared_factory.real)
    await box.exec(["true"])
    await box.write("README", b"mine\n")
    assert await box.read("README") == b"mine\n"
    await box.exec(["sh", "-c", "echo theirs > README"])
    assert await box.read("README") == b"theirs\n"
    await box.write("README", None)
    with pytest.raises(FileNotFoundError):
        await box.read("README")
    await box.close()


async def test_what_is_read_while_a_command_runs_is_not_remembered(store: Path, shared_factory: LocalFactory) -> None:
    box = LazySandbox(resolve(ENVIRONMENT, store), shared_factory.real)
    await box.exec(["true"])
    slow = "echo first > README; sleep 0.2; echo second > README"
    running = asyncio.create_task(box.exec(["sh", "-c", slow]))
    await asyncio.sleep(0.1)
    await box.read("README")
    await running
    assert await box.read("README") == b"second\n"
    await box.close()


async def test_what_was_just_read_or_written_is_not_asked_of_the_box(store: Path) -> None:
    asked: list[str] = []

    class Counting(PlainSandbox):
        async def read(self, path: str) -> bytes:
            asked.append(path)
            return await super().read(path)

    async def make(spec: BoxSpec) -> Sandbox:
        return Counting(spec, LIMITS)

    box = LazySandbox(resolve(ENVIRONMENT, store), make)
    await box.exec(["true"])
    assert await box.read("README") == await box.read("README")
    await box.write("pkg/calc.py", b"x = 1\n")
    assert await box.read("pkg/calc.py") == b"x = 1\n"
    assert asked == ["README"]
    await box.close()


async def test_a_link_in_the_tree_leads_nowhere(tmp_path: Path) -> None:
    tree = tmp_path / "trees" / "t"
    tree.mkdir(parents=True)
    (tmp_path / "secret").write_text("s")
    (tree / "link").symlink_to(tmp_path / "secret")
    spec = BoxSpec(tree, None, {}, {}, "/testbed", {}, {})
    box = PlainSandbox(spec, Limits())
    with pytest.raises(OSError, match="not followed"):
        await LazySandbox(spec, _give(box)).read("link")
    assert await box.changes() == {}
    await box.close()


def _give(box: Sandbox):  # type: ignore[no-untyped-def]
    async def make(spec: BoxSpec) -> Sandbox:
        return box

    return make
