"""Attempts to get out of a box, or to use more of the machine than it grants."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from sandbox_samples import ENVIRONMENT, LIMITS

from repodojo.core.errors import SandboxError
from repodojo.core.protocols import Sandbox
from repodojo.sandbox.factory import LocalFactory
from repodojo.sandbox.local import seccomp
from repodojo.sandbox.local.native import Init


async def python(box: Sandbox, code: str) -> str:
    done = await box.exec(["python", "-c", textwrap.dedent(code)])
    return done.output.decode().strip()


async def test_the_host_is_not_there(box: Sandbox, store: Path) -> None:
    listed = (
        await box.exec(["bash", "-c", f"ls {store} /home /sys /var /proc/1/root/ /proc/1/fd; cat {store}/secret"])
    ).output
    assert b"hidden tests" not in listed and b"trees" not in listed
    code = """
        import os
        for look in (open, open, os.listdir, os.listdir):
            for name in ("environ", "maps", "root", "cwd", "fd/3"):
                try:
                    print(look(f"/proc/1/{name}"))
                except OSError as error:
                    print(error.errno)
    """
    assert set((await python(box, code)).split()) <= {"13", "20"}


async def test_what_lies_below_the_root_is_not_to_be_seen(box: Sandbox) -> None:
    """The fork server's own root, with all trees, is covered by the box's: no path, no mount table leads there."""
    code = """
        import os
        for name in ("trees", "bases", "sites", "box"):
            for way in (f"/{name}", f"/../{name}", f"/proc/self/root/../{name}", f"/proc/1/cwd/../{name}"):
                print(way) if os.path.lexists(way) else None
        points = {line.split()[4] for line in open("/proc/self/mountinfo")}
        print(sorted(point for point in points if point.startswith(("/trees", "/bases", "/sites", "/box"))))
        print(os.stat("/").st_ino == os.stat("/..").st_ino, "/testbed" in points)
        libc = __import__("ctypes").CDLL(None)
        print(libc.chroot(b"/tmp"), libc.umount2(b"/", 2))
    """
    assert (await python(box, code)).split("\n") == ["[]", "True True", "-1 -1"]


async def test_nothing_privileged_works(box: Sandbox) -> None:
    code = """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        tried = {
            "mount": libc.mount(b"none", b"/tmp", b"tmpfs", 0, None),
            "userns": libc.unshare(0x10000000),
            "ptrace": libc.ptrace(16, 1, 0, 0),
            "setuid": libc.setuid(0),
            "kill": libc.kill(1, 9) and 0,
        }
        print([name for name, result in tried.items() if result == 0 and name != "kill"])
    """
    assert await python(box, code) == "[]"
    script = (
        "id -u; echo x > /proc/sys/kernel/core_pattern; echo x > /usr/x; echo x > /opt/box/lib/x; ln -s a /bin2; ls /"
    )
    done = await box.exec(["bash", "-c", script])
    assert done.output.startswith(b"1000\n") and done.output.count(b"bash: line") == 3 and b"bin2\n" not in done.output


async def test_no_way_to_a_network(box: Sandbox) -> None:
    with socket.socket() as server, socket.socket(socket.AF_UNIX) as abstract:
        server.bind(("127.0.0.1", 0))
        server.listen()
        name = f"repodojo-test-{os.getpid()}"
        abstract.bind(f"\0{name}")
        abstract.listen()
        code = f"""
            import socket
            addresses = (2, ("127.0.0.1", {server.getsockname()[1]})), (1, "\\0{name}"), (2, ("192.0.2.1", 80))
            for family, address in addresses:
                try:
                    with socket.socket(family) as s:
                        s.settimeout(2); s.connect(address); print("reached", address)
                except OSError as error:
                    print("refused")
            own = socket.create_server(("127.0.0.1", 0))
            print("own", socket.create_connection(own.getsockname()) is not None)
        """
        assert await python(box, code) == "refused\nrefused\nrefused\nown True"


async def test_the_base_is_never_written(box: Sandbox, store: Path) -> None:
    await box.exec(
        ["bash", "-c", "echo evil > README; echo evil > pkg/calc.py; rm -r pkg/inner; echo x > /opt/box/site/x"]
    )
    assert (store / "trees/t1/README").read_text() == "read me\n"
    assert sorted(p.name for p in (store / "trees/t1/pkg/inner").iterdir()) == ["a.txt", "b.txt"]
    assert [p.name for p in (store / "sites/s1").iterdir()] == ["dependency.py"]


async def test_processes_and_disk_are_bounded(box: Sandbox) -> None:
    bomb = await box.exec(["bash", "-c", "for i in $(seq 200); do sleep 20 & done; wait"], seconds=3)
    assert b"Resource temporarily unavailable" in bomb.output
    filling = await box.exec(["bash", "-c", "for i in 1 2 3 4; do head -c 20M /dev/zero > f$i; done; rm f*"])
    assert b"No space left" in filling.output
    inodes = await python(box, "for i in range(9999): open(f'/tmp/{i}', 'w').close()")
    assert "No space left" in inodes
    await box.exec(["bash", "-c", "rm -f /tmp/*"])
    assert (await box.exec(["echo", "alive"])).output == b"alive\n"


async def test_what_is_planted_is_not_followed(box: Sandbox) -> None:
    plant = "ln -s /etc/passwd link; ln -s / dir; mkfifo pipe; mkdir sub; ln -s ../README sub/x"
    await box.exec(["bash", "-c", f"{plant}; rm README; ln -s /etc/group README"])
    assert await box.changes() == {}
    assert set(box.refused) == {"link", "dir", "pipe", "sub/x", "README"}  # type: ignore[attr-defined]
    for path in ("link", "dir/etc/passwd", "pipe", "sub/x"):
        with pytest.raises(OSError, match=r"not followed|regular"):
            await box.read(path)
    with pytest.raises(OSError, match="not followed"):
        await box.write("link", b"x")


async def test_a_hidden_giant_is_refused_by_name(box: Sandbox) -> None:
    await box.exec(["bash", "-c", "head -c 9M /dev/zero > giant; printf x > $'odd\\nname'"])
    assert await box.changes() == {}
    assert set(box.refused) == {"giant", "odd\nname"}  # type: ignore[attr-defined]


async def test_init_cannot_be_starved_by_a_job(box: Sandbox) -> None:
    code = """
        import resource
        try:
            resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0))
            print("starved")
        except OSError:
            print("no")
    """
    if seccomp.supported():
        assert await python(box, code) == "no"
    signals = await box.exec(
        ["bash", "-c", "for s in HUP INT QUIT TERM STOP KILL USR1; do kill -$s 1; done; echo sent"]
    )
    assert b"sent" in signals.output
    assert (await box.exec(["echo", "alive"])).output == b"alive\n"


async def test_death_of_the_fork_server_is_an_outage_after_which_new_boxes_are_made(store: Path, init: Init) -> None:
    factory = LocalFactory(store, limits=LIMITS, lazy=False, init=init)
    box = await factory.create(ENVIRONMENT)
    assert factory._zygote is not None
    os.kill(factory._zygote.pid, 9)
    with pytest.raises(SandboxError):
        for _ in range(100):
            await box.exec(["sleep", "0.05"])
    again = await factory.create(ENVIRONMENT)
    assert (await again.exec(["echo", "alive"])).output == b"alive\n"
    await factory.close()


def test_kill_of_the_host_leaves_no_process(store: Path, tmp_path: Path, init: Init) -> None:
    mark = f"{time.time_ns() % 10**9 + 10**9}"
    code = f"""
        import asyncio, sys
        from pathlib import Path
        from repodojo.sandbox.factory import LocalFactory
        from sandbox_samples import ENVIRONMENT
        async def main():
            box = await LocalFactory(Path({str(store)!r}), lazy=False, init={init!r}).create(ENVIRONMENT)
            print("up", flush=True)
            await box.exec(["bash", "-c", "setsid sleep {mark} & sleep {mark}"], seconds=600)
        asyncio.run(main())
    """
    host = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert host.stdout is not None and host.stdout.readline() == b"up\n"
    _wait(lambda: len(_running(mark)) >= 2)
    host.kill()
    host.wait()
    _wait(lambda: not _running(mark))


def _running(mark: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", mark.encode()]:
            found.append(folder.name)
    return found


def _wait(condition: object) -> None:
    assert callable(condition)
    for _ in range(400):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came true")
