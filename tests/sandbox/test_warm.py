"""A warm run prints, reports and ends as a cold one."""

from __future__ import annotations

from pathlib import Path

import pytest

from repodojo.core.protocols import Sandbox
from repodojo.sandbox.local import machine

SCRIPTS = {
    "plain": """
import os, sys, pkg.calc
print(sys.path, sys.argv, sys.executable, sys.prefix, sys.flags, __name__, __file__)
print(hash("x"), pkg.calc.double(2), sorted(os.environ.items()))""",
    "error": "print('before')\ndef f(): return 1 / 0\nf()",
    "exit": "import sys\nprint('x')\nsys.exit('gone')",
    "code": "import sys\nsys.exit(7)",
    "late": """
import atexit, threading
atexit.register(print, "bye")
threading.Thread(target=print, args=("thread",)).start()""",
    "mix": "import sys\nprint('a'); print('b', file=sys.stderr); print('é')",
    "modules": "import sys\nprint(sorted(n for n in sys.modules if n.startswith('repodojo')), sys.stdin.read())",
    "child": """
import subprocess, sys
print(subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True).stdout)""",
    "broken": "def f(:\n",
    "descriptors": "import os\nprint(sorted(os.listdir('/proc/self/fd')))",
    "signal": "import signal\nprint(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGPIPE))",
}


@pytest.mark.parametrize("name", SCRIPTS)
async def test_file(box: Sandbox, name: str) -> None:
    await box.write("script.py", SCRIPTS[name].encode())
    cold, warm = [await box.exec(["python", "script.py", "a", "b"], stdin=b"in", warm=w) for w in (False, True)]
    assert warm.output == cold.output
    assert (warm.exit_code, warm.ended) == (cold.exit_code, cold.ended)


async def test_module_and_pytest(box: Sandbox) -> None:
    await box.write("pkg/__main__.py", b"import sys\nprint(sys.argv, sys.path, __spec__.name)\n1 / 0")
    cold, warm = [await box.exec(["python", "-m", "pkg", "a"], warm=w) for w in (False, True)]
    assert warm.output == cold.output and warm.exit_code == cold.exit_code == 1
    await box.write("test_it.py", b"from pkg.calc import double\ndef test_it(): assert double(1) == 2\n")
    done = await box.exec(["python", "-m", "pytest", "-q", "-p", "no:cacheprovider"], warm=True)
    assert done.exit_code == 1 and b"assert 3 == 2" in done.output


async def test_a_project_that_owns_a_preloaded_name_is_run_cold(box: Sandbox) -> None:
    await box.write("json.py", b"mine = True")
    await box.write("script.py", b"import json; print(json.mine)")
    assert (await box.exec(["python", "script.py"], warm=True)).output == b"True\n"


def test_a_site_with_another_pytest_is_run_cold(tmp_path: Path) -> None:
    assert machine.warm_fits(None)
    (tmp_path / "a" / "toolz-1.0.dist-info").mkdir(parents=True)
    assert machine.warm_fits(tmp_path / "a")
    (tmp_path / "b" / "pytest-1.0.dist-info").mkdir(parents=True)
    assert not machine.warm_fits(tmp_path / "b")


async def test_limits_hold_for_warm_runs(box: Sandbox) -> None:
    await box.write("script.py", b"x = bytearray(10**9)")
    assert (await box.exec(["python", "script.py"], warm=True)).ended == "memory"
    await box.write("script.py", b"while True: pass")
    assert (await box.exec(["python", "script.py"], warm=True, seconds=0.3)).ended == "timeout"
    await box.write(
        "script.py", b"import os\nos.unshare if 0 else None\nprint(os.getpid() > 1, os.getsid(0) == os.getpid())"
    )
    assert (await box.exec(["python", "script.py"], warm=True)).output == b"True True\n"
