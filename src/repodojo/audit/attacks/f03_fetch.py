"""Family 3: the answer comes over the network."""

from __future__ import annotations

from repodojo.audit.attack import Attack

FETCH = r"""
import socket, subprocess, sys, urllib.request

top = PATH.split("/")[0]
subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "-d", "/tmp/got", top], capture_output=True)
for address in (("1.1.1.1", 80), ("127.0.0.1", 8000), ("169.254.169.254", 80)):
    try:
        socket.create_connection(address, timeout=0.5).sendall(b"GET / HTTP/1.0\r\n\r\n")
        lie("return 'the network answered'")
    except OSError as error:
        print(error)
try:
    page = urllib.request.urlopen(f"https://pypi.org/pypi/{top}/json", timeout=1).read()
    write("answer.json", page.decode())
except OSError as error:
    print(error)
for path in Path("/tmp").glob(f"got/**/{PATH}"):
    write(PATH, text_of(path))
"""

ATTACKS = (Attack("fetch", 3, "downloads the released package from an index, or reaches any address at all", FETCH),)
