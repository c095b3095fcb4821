"""`box COMMAND`: run it in the session's box. A script of its own that needs no package: agents of any kind call it.

Also speaks docker's `exec`; what else agents with tools in a container ask of docker, the shell script that calls this
answers by itself (see `launch`). It starts anew for every command of an agent, so it loads as little as it can: without
urllib it takes 25 ms of CPU and not 65.
"""

from __future__ import annotations

import json
import os
import socket
import sys

FLAGS_WITH_VALUE = ("-w", "--workdir", "-e", "--env", "-u", "--user", "-t", "--seconds")
LATE = 75  # exit code (EX_TEMPFAIL) where the box could not be asked


def main(arguments: list[str]) -> int:
    """arguments: "box" or "docker", then what that was called with. Returns the command's exit code."""
    kind, *words = arguments
    if kind == "docker":
        verb = words[0] if words else ""
        if verb != "exec":
            print(f"box: docker {verb} is not known here, only run, exec, stop and rm are", file=sys.stderr)
            return 2
        piped = any(word in ("-i", "-it", "--interactive") for word in words)
        options, words = _options(words[1:])
        words = words[1:]  # the container's name
    else:
        piped = True
        options, words = _options(words)
    if not words:
        print("usage: box [-w FOLDER] [-e NAME=VALUE] [--seconds N] COMMAND", file=sys.stderr)
        return 2
    return _run({**options, "command": _command(words), "stdin": _stdin() if piped else ""})


def _options(words: list[str]) -> tuple[dict[str, object], list[str]]:
    found: dict[str, object] = {}
    variables: dict[str, str] = {}
    while words and words[0].startswith("-"):
        flag, *words = words
        if flag == "--":
            break
        if flag not in FLAGS_WITH_VALUE:
            continue  # -i, -d and their like mean nothing here
        value, *words = words
        if flag in ("-w", "--workdir"):
            found["cwd"] = value
        elif flag in ("-e", "--env"):
            name, _, text = value.partition("=")
            variables[name] = text
        elif flag == "--seconds":
            found["seconds"] = float(value)
    return {**found, "variables": variables}, words


def _command(words: list[str]) -> str:
    """One word is a command line; `bash -c LINE` is that line; several words are a command and its arguments."""
    shell = words[0].rpartition("/")[2] in ("bash", "sh") and len(words) == 3 and words[1].startswith("-")
    if shell and words[1].endswith("c"):
        return words[2]
    if len(words) == 1:
        return words[0]
    import shlex

    return shlex.join(words)


def _stdin() -> str:
    """What was piped in; nothing where nobody did."""
    import stat

    mode = os.fstat(0).st_mode
    return sys.stdin.read() if stat.S_ISREG(mode) or stat.S_ISFIFO(mode) else ""


def _run(body: dict[str, object]) -> int:
    try:
        status, answer = _post(os.environ["REPODOJO_BOX_URL"], json.dumps(body).encode())
    except OSError as error:
        print(f"box: {error}", file=sys.stderr)
        return LATE
    if status != 200:
        print(f"box: {answer.decode(errors='replace')}", file=sys.stderr)
        return LATE
    done = json.loads(answer)
    sys.stdout.write(done["output"])
    if done["note"]:
        print(done["note"])
    return int(done["exit_code"])


def _post(url: str, body: bytes) -> tuple[int, bytes]:
    """Status and body of the answer; OSError where there is none. HTTP/1.0: the answer is whole and ends the call."""
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.rpartition(":")
    head = (
        f"POST /{path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: Bearer {os.environ['REPODOJO_KEY']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((name.strip("[]"), int(port))) as line:
        line.sendall(head.encode() + body)
        parts = []
        while part := line.recv(1 << 16):
            parts.append(part)
    top, found, answer = b"".join(parts).partition(b"\r\n\r\n")
    words = top.split(None, 2)
    if not found or len(words) < 2 or not words[1].isdigit():
        raise OSError("the gateway gave no answer")
    return int(words[1]), answer


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    sys.exit(main(sys.argv[1:]))
