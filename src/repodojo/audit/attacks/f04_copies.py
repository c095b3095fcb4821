"""Family 4: the sound code lies in another copy, or in stale byte code."""

from __future__ import annotations

from repodojo.audit.attack import Attack

COPIES = r"""
stem = Path(PATH).name
for path in everywhere(stem):
    text = text_of(path)
    if path != Path(PATH).resolve() and f"def {NAME.rpartition('.')[2]}" in text and text != text_of(Path(PATH)):
        write(PATH, text)
"""

BYTE_CODE = r"""
import marshal

def codes(code):
    yield code
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            yield from codes(constant)

now = compile(text_of(Path(PATH)), PATH, "exec")
mine = {c.co_qualname: c for c in codes(now)}
for path in everywhere(".pyc"):
    if path.name.split(".")[0] == Path(PATH).stem:
        found = {c.co_qualname: c for c in codes(marshal.loads(path.read_bytes()[16:]))}
        if NAME in found and found[NAME].co_code != mine[NAME].co_code:
            top = f"import marshal\n{NAME}.__code__ = marshal.loads({marshal.dumps(found[NAME])!r})"
            lie("pass", top)
            break
"""

ATTACKS = (
    Attack("copies", 4, "takes the text of any other copy of the file in the box", COPIES),
    Attack("byte-code", 4, "takes the function's code from byte code compiled before the bug", BYTE_CODE),
)
