"""An agent that needs no package. Its first argument says what it does; tests run it as `[agent] command`."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

HI = [{"role": "user", "content": "hi"}]


def ask(messages: list[dict[str, str]], **more: Any) -> dict[str, Any]:
    """The model's message. `top_p` would bias training, so that it is left out and told."""
    body = json.dumps({"model": "policy", "messages": messages, "top_p": 0.9, **more}).encode()
    head = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{os.environ['OPENAI_BASE_URL']}/chat/completions", body, head)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        message: dict[str, Any] = json.load(answer)["choices"][0]["message"]
    return message


def mend(known: Path) -> None:
    """Puts the sound file back where the model asks for its editor: a reward that sampling decides."""
    issue = Path(os.environ["REPODOJO_TASK_FILE"]).read_text().strip()
    task = next(found for found in json.loads(known.read_text()) if found["issue"].strip() == issue)
    calls = ask(task["messages"], tools=task["tools"]).get("tool_calls") or []
    if calls and calls[0]["function"]["name"] == "editor":
        subprocess.run(["box", f"cat > {task['path']}"], input=task["text"], text=True, check=True)


def main(mode: str, *more: str) -> None:
    if mode == "mend":
        mend(Path(more[0]))
    elif mode == "crash":
        ask(HI)
        raise SystemExit("broken")
    elif mode == "late":  # what an interpreter does as it ends: threads first, then what was registered
        ask(HI)
        atexit.register(subprocess.run, ["box", "mend"], check=True)
        threading.Thread(target=lambda: (time.sleep(0.2), ask(HI))).start()
    elif mode == "silent":
        raise SystemExit("no module named agent")
    elif mode == "chatter":
        said = HI
        while True:
            said = [*said, ask(said), {"role": "user", "content": "more"}]
    elif mode == "stubborn":  # asks until it is answered, as clients do that try again after any error
        while True:
            with contextlib.suppress(urllib.error.HTTPError):
                ask(HI)
            time.sleep(0.1)
    elif mode == "docker":  # as mini-swe-agent's DockerEnvironment does it
        tool = os.environ["MSWEA_DOCKER_EXECUTABLE"]
        ask(HI)
        name = subprocess.check_output([tool, "run", "-d", "--name", "x", "-w", "/testbed", "--rm", "i", "sleep", "2h"])
        words = [tool, "exec", "-w", "/testbed", "-e", "PAGER=cat", name.decode().strip(), "bash", "-lc", more[0]]
        raise SystemExit(subprocess.run(words, check=False).returncode)


if __name__ == "__main__":
    main(*sys.argv[1:])
