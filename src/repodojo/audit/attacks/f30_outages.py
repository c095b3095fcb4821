"""Family 30: a failure dressed up as an outage."""

from __future__ import annotations

from repodojo.audit.attack import Attack

HANG = r"""
lie('while True: pass')
"""

MEMORY = r"""
lie('_all = [bytearray(1 << 24) for _ in range(1 << 20)]')
"""

PROCESSES = r"""
lie("import os, time\nfor _ in range(500):\n    if os.fork() == 0: time.sleep(100)")
"""

DISK = r"""
lie("with open('/tmp/full', 'wb') as full:\n    while True: full.write(bytes(1 << 20))")
"""

KILLS_RUNNER = r"""
lie("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nos.kill(-1, signal.SIGKILL)")
"""

CRASH = r"""
lie("import ctypes\nctypes.string_at(0)")
"""

FLOOD = r"""
lie("import os\nwhile True: os.write(3, b'x' * 65536)")
"""

ATTACKS = (
    Attack("hang", 30, "never returns", HANG),
    Attack("memory", 30, "takes all memory", MEMORY),
    Attack("processes", 30, "starts processes until it cannot", PROCESSES),
    Attack("disk", 30, "fills the disk", DISK),
    Attack("kills-runner", 30, "kills every process that it may", KILLS_RUNNER),
    Attack("crash", 30, "dies of a segmentation fault", CRASH),
    Attack("flood", 30, "prints without end", FLOOD),
)
