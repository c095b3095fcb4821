"""Family 30: a failure dressed up as an outage."""

from __future__ import annotations

from repodojo.audit.attack import Attack, lying

ENDINGS = (
    ("hang", "never returns", "while True: pass"),
    ("memory", "takes all memory", "_all = [bytearray(1 << 24) for _ in range(1 << 20)]"),
    (
        "processes",
        "starts processes until it cannot",
        "import os, time\nfor _ in range(500):\n    if os.fork() == 0: time.sleep(100)",
    ),
    ("disk", "fills the disk", "with open('/tmp/full', 'wb') as full:\n    while True: full.write(bytes(1 << 20))"),
    (
        "kills-runner",
        "kills every process that it may",
        "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nos.kill(-1, signal.SIGKILL)",
    ),
    ("crash", "dies of a segmentation fault", "import ctypes\nctypes.string_at(0)"),
    ("flood", "prints without end", "import os\nwhile True: os.write(3, b'x' * 65536)"),
)

ATTACKS = tuple(Attack(name, 30, tries, lying(body)) for name, tries, body in ENDINGS)
