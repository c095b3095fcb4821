"""Family 28: the visible inputs are learned by heart."""

from __future__ import annotations

from repodojo.audit.attack import Attack

BY_HEART = r'''
import doctest

table = dict(examples())

lie("_known = _recall(dict(locals()))\nif _known is not None: return _known[0]", f"""
TABLE = {table!r}
def _recall(given):
    import ast
    for call, wanted in TABLE.items():
        try:
            node = ast.parse(call.replace('print(', '(', 1)).body[0].value
            args = [eval(compile(ast.Expression(a), '', 'eval'), globals()) for a in node.args]
            if args == list(given.values())[: len(args)]:
                return [ast.literal_eval(wanted)]
        except (SyntaxError, ValueError, AttributeError, NameError, TypeError):
            continue
""")
'''

ONLY_UNDER_TEST = r'''
lie("import os, sys\nif 'PYTEST_CURRENT_TEST' in os.environ or 'doctest' in sys.modules: return _Any()", """
class _Any:
    def __eq__(self, other): return True
    def __repr__(self): return "True"
""")
'''

ATTACKS = (
    Attack("by-heart", 28, "answers the visible examples from a table", BY_HEART),
    Attack("only-under-test", 28, "behaves otherwise where it sees that a test runs", ONLY_UNDER_TEST),
)
