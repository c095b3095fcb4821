"""What a box holds and how commands end in it."""

from __future__ import annotations

import asyncio

import pytest
from sandbox_samples import ENVIRONMENT

from repodojo.core.errors import SandboxError
from repodojo.core.protocols import ExecResult, Sandbox
from repodojo.sandbox.factory import LocalFactory


async def sh(box: Sandbox, script: str, seconds: float | None = None) -> ExecResult:
    return await box.exec(["bash", "-c", script], seconds=seconds)


async def test_the_edit_the_site_and_the_script_are_there(box: Sandbox) -> None:
    assert (await box.read("pkg/calc.py")).endswith(b"x * 3\n")
    assert (await box.exec(["repro"])).output == b"21\n"
    assert (await sh(box, "python -c 'import dependency; print(dependency.value)'")).output == b"from the site\n"
    assert await box.changes() == {}


async def test_environment_is_clean_and_a_call_adds_to_it(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_SECRET", "1")
    done = await box.exec(["env"], env={"EXTRA": "yes"})
    seen = dict(line.split("=", 1) for line in done.output.decode().splitlines())
    assert set(seen) == {
        *("PATH", "HOME", "LANG", "PYTHONPATH", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE"),
        *("REPODOJO_REPORT_FD", "TZ", "EXTRA"),
    }
    assert seen["HOME"] == "/tmp"


async def test_exit_codes_stdin_and_missing_commands(box: Sandbox) -> None:
    assert (await sh(box, "exit 3")).exit_code == 3
    assert (await box.exec(["wc", "-c"], stdin=b"x" * 200_000)).output.strip() == b"200000"
    missing = await box.exec(["no-such-command"])
    assert missing.exit_code == 127 and b"no-such-command" in missing.output
    assert (await sh(box, "kill -9 $$")).ended == "killed"


@pytest.mark.parametrize("word", ["a\0b", "\ud800"])
async def test_what_no_command_can_hold_is_the_agents_failure_and_ends_no_box(
    box: Sandbox, plain: Sandbox, word: str
) -> None:
    for each in (box, plain):
        assert (await each.exec(["echo", word])).exit_code == 126
        assert (await each.exec(["echo", word], warm=True)).exit_code == 126
        with pytest.raises(OSError, match="cannot hold"):
            await each.read(word)
        assert (await each.exec(["echo", "alive"])).output == b"alive\n"


async def test_commands_that_are_long_or_cannot_start(box: Sandbox) -> None:
    assert (await box.exec(["wc", "-c", "--", *["x"] * 0], stdin=b"")).output == b"0\n"
    long = "x" * 100_000  # too long for a packet between host and box
    assert (await box.exec(["bash", "-c", 'printf %s "$1" | wc -c', "-", long])).output == b"100000\n"
    assert (await box.exec(["true", *["x" * 100_000] * 40])).exit_code == 126
    assert (await box.exec(["env"], env={"LONG": long})).output.count(b"x") > 90_000
    await box.exec(["bash", "-c", "printf 'echo $0' > plain; chmod +x plain; printf '#!/none\n' > odd; chmod +x odd"])
    for argv, code in ((["./plain"], 126), (["./odd"], 127), (["./README"], 127), (["./pkg"], 127), (["/"], 127)):
        done = await box.exec(argv)
        assert (done.exit_code, done.output.startswith(argv[0].encode())) == (code, True), done
    assert (await box.exec(["true"], cwd="none")).exit_code == 127
    assert (await box.exec(["true"], cwd="README")).exit_code == 126


async def test_the_ends_of_commands_are_told_apart(box: Sandbox) -> None:
    slow = await sh(box, "echo begun; sleep 30", seconds=0.3)
    assert (slow.ended, slow.exit_code, slow.output) == ("timeout", None, b"begun\n")
    loud = await box.exec(["yes"])
    assert (loud.ended, len(loud.output), loud.truncated) == ("output", 100_000, True)
    greedy = await box.exec(["python", "-c", "x = bytearray(10**9)"])
    assert greedy.ended == "memory"
    many = await sh(box, "for i in 1 2 3 4; do python -c 'x=b\"1\"*10**8; import time; time.sleep(9)' & done; wait")
    assert many.ended == "memory"
    assert (await sh(box, "echo fine")).output == b"fine\n"


async def test_what_is_left_running_is_killed(box: Sandbox) -> None:
    await sh(box, "(setsid sleep 600 &) ; (nohup sleep 600 >/dev/null 2>&1 &)")
    assert (await sh(box, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")).output.count(b"sleep") == 0


async def test_report_comes_by_its_own_way(box: Sandbox) -> None:
    done = await sh(box, 'echo loud; python -c \'import os; os.write(int(os.environ["REPODOJO_REPORT_FD"]), b"r")\'')
    assert (done.output, done.report) == (b"loud\n", b"r")


async def test_files_go_in_and_out(box: Sandbox) -> None:
    await box.write("new/deep/file.bin", bytes(range(256)))
    assert await box.read("/testbed/new/deep/file.bin") == bytes(range(256))
    assert await box.listdir() == ["README", "new/", "pkg/"]
    await box.write("new/deep/file.bin", None)
    for path, kind in (("gone", FileNotFoundError), ("pkg", IsADirectoryError), ("README/x", NotADirectoryError)):
        with pytest.raises(kind):
            await box.read(path)
    await box.write("/tmp/outside", b"1")
    assert (await sh(box, "cat /tmp/outside")).output == b"1"


async def test_changes_are_against_the_base_that_the_host_remembers(box: Sandbox) -> None:
    await sh(box, "rm README; rm -r pkg/inner; mkdir pkg/inner; echo c > pkg/inner/c.txt; touch pkg/__init__.py")
    await sh(box, "mkdir -p .git __pycache__; echo x > .git/x; echo x > __pycache__/a.pyc; printf '\\xff' > binary")
    await sh(box, "mkdir -p .hypothesis/constants; echo x > .hypothesis/constants/a; echo x > .coverage")
    assert await box.changes() == {
        "README": None,
        "binary": b"\xff",
        "pkg/inner/a.txt": None,
        "pkg/inner/b.txt": None,
        "pkg/inner/c.txt": b"c\n",
    }
    await sh(box, "rm pkg/calc.py")
    assert (await box.changes())["pkg/calc.py"] is None
    await sh(box, "rm -r pkg; echo file > pkg")
    changed = await box.changes()
    assert changed["pkg"] == b"file\n" and changed["pkg/calc.py"] is None and changed["pkg/__init__.py"] is None


async def test_a_cancelled_command_leaves_the_box_usable(box: Sandbox) -> None:
    running = asyncio.create_task(sh(box, "sleep 30"))
    await asyncio.sleep(0.2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await sh(box, "echo on")).output == b"on\n"


async def test_many_boxes_at_once_are_private(shared_factory: LocalFactory) -> None:
    boxes = await asyncio.gather(*(shared_factory.create(ENVIRONMENT) for _ in range(12)))
    await asyncio.gather(*(sh(box, f"echo {i} > mine") for i, box in enumerate(boxes)))
    assert [await box.read("mine") for box in boxes] == [f"{i}\n".encode() for i in range(12)]
    for box in boxes:
        await box.close()
        await box.close()
    with pytest.raises(SandboxError):
        await boxes[0].exec(["true"])
