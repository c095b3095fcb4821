"""`repodojo serve` as a person starts it, and the benchmark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from repodojo.cli import main
from repodojo.cli.benches import gateway as bench


def test_serve_answers_from_the_real_engine_and_records(tmp_path: Path) -> None:
    record = tmp_path / "calls.jsonl"
    command = [sys.executable, "-m", "repodojo", "serve", "base", "--port", "0", "--json", "--record", str(record)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}) as p:
        assert p.stdout is not None
        told = json.loads(p.stdout.readline())
        assert told["url"].startswith("http://127.0.0.1:")
        body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "def f(x):"}]}
        head = {"Authorization": f"Bearer {told['key']}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{told['url']}/v1/chat/completions", json.dumps(body).encode(), head)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            usage = json.load(answer)["usage"]
        p.terminate()
        assert p.wait() == 0
    (line,) = map(json.loads, record.read_text().splitlines())
    assert len(line["action_ids"]) == len(line["logprobs"]) == len(line["versions"]) == usage["completion_tokens"] <= 5
    assert len(line["observation_ids"]) == usage["prompt_tokens"] and all(p <= 0 for p in line["logprobs"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["no/such/folder"],
        ["base", "--key-file", "no/such/file"],
        ["base", "--engine", "vllm"],
        ["base", "--engine-url", "http://127.0.0.1:1"],
    ],
)
def test_what_cannot_be_served_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["serve", *arguments])
    assert end.value.code == 2 and "Way out" in capsys.readouterr().err


def test_the_benchmark_counts_every_call() -> None:
    found = bench.run(quick=True)
    assert found["turns_recorded"] == found["requests"] + found["sessions"] == 90
    assert found["p50_seconds"] <= found["p99_seconds"] and found["ratio"] > 0
