"""A small task set, and factories over it. What needs namespaces is skipped where the probe says there are none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sandbox_samples import ENVIRONMENT, LIMITS, MODULE

from repodojo.core.protocols import Sandbox
from repodojo.sandbox.factory import LocalFactory
from repodojo.sandbox.level import probe
from repodojo.sandbox.local import native
from repodojo.sandbox.local.native import Init


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    package = root / "trees" / "t1" / "pkg"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "calc.py").write_text(MODULE)
    (package / "inner" / "a.txt").write_text("a\n")
    (package / "inner" / "b.txt").write_text("b\n")
    (root / "trees" / "t1" / "README").write_text("read me\n")
    (root / "sites" / "s1").mkdir(parents=True)
    (root / "sites" / "s1" / "dependency.py").write_text("value = 'from the site'\n")
    (root / "secret").write_text("hidden tests")
    return root


@pytest.fixture(scope="module", params=["python", "c"])
def init(request: pytest.FixtureRequest) -> Init:
    """What boxes have as pid 1: all that is tested holds for both."""
    if not probe().isolated:
        pytest.skip(f"no namespaces here: {probe().reason}")
    if request.param == "c":
        try:
            native.program()
        except OSError as error:
            pytest.skip(str(error))
    chosen: Init = request.param
    return chosen


@pytest.fixture(scope="module")
def shared_factory(store: Path, init: Init) -> Iterator[LocalFactory]:
    factory = LocalFactory(store, limits=LIMITS, lazy=False, init=init)
    yield factory
    asyncio.run(factory.close())


@pytest.fixture
async def box(shared_factory: LocalFactory) -> AsyncIterator[Sandbox]:
    made = await shared_factory.create(ENVIRONMENT)
    yield made
    await made.close()


@pytest.fixture
async def plain(store: Path) -> AsyncIterator[Sandbox]:
    from repodojo.sandbox.environments import resolve
    from repodojo.sandbox.plain import PlainSandbox

    made = PlainSandbox(resolve(ENVIRONMENT, store), LIMITS)
    yield made
    await made.close()
