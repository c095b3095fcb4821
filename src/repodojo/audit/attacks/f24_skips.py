"""Family 24: tests are skipped or expected to fail."""

from __future__ import annotations

from repodojo.audit.attack import Attack

SKIP = r'''
lie("_skip()", """
def _skip():
    import pytest
    pytest.skip("not here", allow_module_level=True)
""")
'''

SKIP_UNITTEST = r"""
lie("pass", "import unittest\nraise unittest.SkipTest('not here')")
"""

XFAIL = r"""
lie("_fail()", "def _fail():\n    import pytest\n    pytest.xfail('as expected')")
"""

ATTACKS = (
    Attack("skip", 24, "raises pytest's Skipped out of the code under test", SKIP),
    Attack("skip-unittest", 24, "raises SkipTest at import", SKIP_UNITTEST),
    Attack("xfail", 24, "calls xfail out of the code under test", XFAIL),
)
