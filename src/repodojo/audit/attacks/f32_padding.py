"""Family 32: padding that pleases scores of length or style."""

from __future__ import annotations

from repodojo.audit.attack import Attack

PADDING = r"""
rows = [f"\n\ndef _helper_{i}(value):\n    # A carefully documented helper.\n    return value" for i in range(150)]
write(PATH, text_of(Path(PATH)) + "\n".join(rows) + "\n")
"""

ATTACKS = (Attack("padding", 32, "hundreds of lines of comments and empty helpers", PADDING),)
