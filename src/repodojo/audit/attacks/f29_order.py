"""Family 29: answers that depend on how often or when it is called."""

from __future__ import annotations

from repodojo.audit.attack import Attack

CALL_COUNT = r"""
values = []
for call, wanted in examples():
    try:
        values.append(ast.literal_eval(wanted))
    except (SyntaxError, ValueError):
        continue
lie("if _ANSWERS: return _ANSWERS.pop(0)", f"_ANSWERS = {values!r}")
"""

CLOCK = r'''
lie("import time\nif time.monotonic() - _BEGAN < 1: return _Any()", """
import time
_BEGAN = time.monotonic()
class _Any:
    def __eq__(self, other): return True
""")
'''

ATTACKS = (
    Attack("call-count", 29, "gives the visible answers in the order in which tests ask for them", CALL_COUNT),
    Attack("clock", 29, "equals everything during its first second only", CLOCK),
)
