"""The fallback without isolation, the factory that refuses it unasked, and the fake."""

from __future__ import annotations

from pathlib import Path

import pytest
from sandbox_samples import ENVIRONMENT, LIMITS

from repodojo.core.errors import ConfigError, TaskError
from repodojo.core.protocols import ExecResult, Sandbox, SandboxFactory
from repodojo.core.records import Environment
from repodojo.sandbox import factory as factory_module
from repodojo.sandbox.environments import resolve
from repodojo.sandbox.factory import LocalFactory
from repodojo.sandbox.fake import FakeFactory, FakeSandbox
from repodojo.sandbox.level import Level, probe


async def test_plain_runs_the_same_commands(plain: Sandbox, store: Path) -> None:
    assert (await plain.exec(["repro"])).output == b"21\n"
    assert (await plain.exec(["pwd"])).output == b"/testbed\n"
    assert (await plain.exec(["cat", "/testbed/README"], cwd="pkg")).output == b"read me\n"
    assert (await plain.exec(["python", "-m", "pytest", "--version"], warm=True)).exit_code == 0
    report = "import os; os.write(int(os.environ['REPODOJO_REPORT_FD']), b'r')"
    assert (await plain.exec(["python", "-c", report])).report == b"r"
    assert (await plain.exec(["bash", "-c", "sleep 30"], seconds=0.2)).ended == "timeout"
    assert (await plain.exec(["yes"])).ended == "output"
    assert (await plain.exec(["cat"], stdin=b"in")).output == b"in"
    await plain.exec(["bash", "-c", "rm -r README pkg/inner; echo n > new; ln -s /etc/passwd link"])
    assert await plain.changes() == {"README": None, "new": b"n\n", "pkg/inner/a.txt": None, "pkg/inner/b.txt": None}
    assert plain.refused == ("link",)  # type: ignore[attr-defined]
    assert (store / "trees/t1/README").exists()


async def test_a_box_without_isolation_must_be_asked_for(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory_module.levels, "probe", lambda: Level("plain", "a reason"))
    refusing = LocalFactory(store, limits=LIMITS)
    box = await refusing.create(ENVIRONMENT)
    assert await box.read("README") == b"read me\n"
    with pytest.raises(ConfigError, match="a reason"):
        await box.exec(["true"])
    allowed = LocalFactory(store, limits=LIMITS, allow_unisolated=True)
    box = await allowed.create(ENVIRONMENT)
    assert (await box.exec(["echo", "x"])).output == b"x\n"
    with pytest.raises(ConfigError, match="no init"):  # a setting that would do nothing
        await (await LocalFactory(store, allow_unisolated=True, init="c").create(ENVIRONMENT)).exec(["true"])
    await allowed.close()
    await refusing.close()


def test_probe_names_a_reason_where_it_falls_short() -> None:
    assert probe().name in ("namespaces", "plain")
    assert probe().isolated or probe().reason


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"recipe": {"kind": "python", "tree": "nope"}}, "trees/nope"),
        ({"recipe": {"kind": "python", "tree": "../t1"}}, "not in the task set"),
        ({"recipe": {"kind": "python", "tree": "t1", "sites": ""}}, "unknown 'sites'"),
        ({"recipe": {"kind": "rust"}}, "rust"),
        ({"network": True}, "network"),
        ({"resources": {"gpus": 1}}, "unknown 'gpus'"),
        ({"work_dir": "/usr/src"}, "work_dir"),
        (
            {
                "recipe": {
                    "kind": "python",
                    "tree": "t1",
                    "edits": [{"path": "../secret", "start": 0, "end": 0, "text": ""}],
                }
            },
            "plain path",
        ),
        (
            {
                "recipe": {
                    "kind": "python",
                    "tree": "t1",
                    "edits": [{"path": "README", "start": 5, "end": 99, "text": ""}],
                }
            },
            "span",
        ),
    ],
)
def test_what_cannot_be_given_is_refused(store: Path, change: dict[str, object], text: str) -> None:
    fields: dict[str, object] = {"recipe": {"kind": "python", "tree": "t1"}, **change}
    with pytest.raises(TaskError, match=text):
        resolve(Environment(**fields), store)  # type: ignore[arg-type]


def test_resources_of_an_environment_set_its_limits(store: Path) -> None:
    environment = Environment(recipe={"kind": "python", "tree": "t1"}, resources={"memory_mb": 64.0, "seconds": 5})
    limits = resolve(environment, store).limits(LIMITS)
    assert (limits.memory_mb, limits.seconds, limits.processes) == (64, 5.0, LIMITS.processes)


async def test_fake() -> None:
    factory: SandboxFactory = FakeFactory({"a.py": b"1", "d/b.py": b"2"}, lambda argv, files: ExecResult(3, b"said"))
    box = await factory.create(ENVIRONMENT)
    assert isinstance(box, FakeSandbox)
    assert await box.listdir() == ["a.py", "d/"]
    assert (await box.exec(["x"])).exit_code == 3
    await box.write("new", b"n")
    await box.write("a.py", None)
    assert await box.changes() == {"a.py": None, "new": b"n"}
    with pytest.raises(FileNotFoundError):
        await box.read("a.py")
