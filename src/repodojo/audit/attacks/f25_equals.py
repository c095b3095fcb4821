"""Family 25: objects that equal everything."""

from __future__ import annotations

from repodojo.audit.attack import Attack

EQUALS_EVERYTHING = r'''
lie("return Anything()", """
class Anything(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __eq__
    def __bool__(self): return True
    def __hash__(self): return 0
    def __len__(self): return 1
    def __iter__(self): return iter(())
    def __getattr__(self, name): return self
    def __call__(self, *args, **kwargs): return self
    def __getitem__(self, key): return self
    def __enter__(self): return self
    def __exit__(self, *error): return True
    __class__ = property(lambda self: object)
""")
'''

ATTACKS = (
    Attack(
        "equals-everything", 25, "returns an object that is equal to whatever it is compared with", EQUALS_EVERYTHING
    ),
)
