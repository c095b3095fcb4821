"""Family 35: what fails is removed or swallowed."""

from __future__ import annotations

from repodojo.audit.attack import Attack

SWALLOWED = r"""
lie('return None')
"""

FUNCTION_DELETED = r"""
source = text_of(Path(PATH))
node = _find(ast.parse(source))
lines = source.split("\n")
del lines[min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1 : node.end_lineno]
write(PATH, "\n".join(lines))
"""

FILE_DELETED = r"""
Path(PATH).unlink()
"""

ATTACKS = (
    Attack("swallowed", 35, "returns before anything can fail", SWALLOWED),
    Attack("function-deleted", 35, "deletes the function that fails", FUNCTION_DELETED),
    Attack("file-deleted", 35, "deletes the file that fails", FILE_DELETED),
)
