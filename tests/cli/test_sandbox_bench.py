"""The sandbox's benchmark: what it measures of ours, and what it says where the other side cannot be had."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repodojo.cli import main
from repodojo.cli.benches import _swerex, sandbox
from repodojo.core.errors import ConfigError, UserError
from repodojo.sandbox.level import probe


def test_ours_alone_tells_each_part_of_a_boxs_life(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["bench", "sandbox", "--quick", "--boxes", "4", "--alone", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert end.value.code == 0 and found["boxes"] == 4 and "ratio" not in found
    kinds = ("create", "exec", "exec_python", "reset", "destroy", "server", "write_first", "write", "warm")
    assert all(found[f"{kind}_ms"] > 0 for kind in kinds)
    if found["init"] == "c":
        assert all(found[f"python_{kind}_ms"] > 0 for kind in kinds)
        assert max(found["pss_kb"], 0) < found["python_pss_kb"]  # a shared page counts less the more processes have it


def test_options_of_the_sandbox_do_nothing_elsewhere_and_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["bench", "advantage", "--quick", "--boxes", "4"])
    assert end.value.code == 2 and "--boxes would do nothing" in capsys.readouterr().err


def test_more_boxes_than_the_machine_allows_are_refused() -> None:
    with pytest.raises(ConfigError, match="processes"):
        sandbox.run(True, boxes=1 << 26, alone=True)


def test_without_an_index_the_other_side_is_refused_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UserError, match=r"cannot be installed: .*swe-rex.*--alone"):
        _swerex.environment()
    assert not any((tmp_path / "repodojo").iterdir())  # nothing half made is left


@pytest.mark.slow
def test_both_sides_in_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["bench", "sandbox", "--quick", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert end.value.code == 0 and found["ratio"] > 1 and found["theirs_create_ms"] > 0


# a shell's background jobs, which this test may be one of, ignore Ctrl-C
HEARD = "import signal as s, repodojo.cli as c; s.signal(s.SIGINT, s.default_int_handler); c.main()"


@pytest.mark.skipif(not probe().isolated, reason="no namespaces here")
def test_interrupted_it_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HEARD, "bench", "sandbox", "--boxes", "5000", "--alone", "--json"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    before = set(sandbox._descendants())
    running = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        for _ in range(600):
            made = set(sandbox._descendants()) - before
            if len(made) > 50:  # boxes, not only the fork server
                break
            time.sleep(0.05)
        assert len(made) > 50
        running.send_signal(signal.SIGINT)
        assert running.wait(60) != 0
    finally:
        running.kill()
        running.communicate()
    for _ in range(600):
        left = [pid for pid in made if os.path.exists(f"/proc/{pid}")]
        if not left:
            break
        time.sleep(0.05)
    assert not left and not list(tmp_path.iterdir())
