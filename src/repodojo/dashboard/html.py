"""HTML and SVG that cannot forget to escape: text is escaped, only what `tag` made is taken as markup."""

from __future__ import annotations

import html


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """An element. `class_` and `aria_label` become class and aria-label; None leaves an attribute out.

    >>> tag("p", "1 < 2", class_="note")
    '<p class="note">1 &lt; 2</p>'
    """
    pairs = "".join(
        f' {key.strip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{pairs}>{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """Children in a row, escaped where they are plain text. Control characters that HTML forbids become U+FFFD."""
    return Markup("".join(c if isinstance(c, Markup) else html.escape(_printable(c)) for c in children))


def _printable(text: str) -> str:
    return "".join(c if c in "\n\t" or (c.isprintable() or c.isspace()) else "\ufffd" for c in text)


def table(head: list[str], rows: list[list[str]], *, class_: str = "") -> Markup:
    """A table whose first column names its rows."""
    top = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head)))
    body = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows]
    return tag("div", tag("table", top, tag("tbody", *body), class_=class_ or None), class_="scroll")
