"""python HELPER LINE -- OLD -- NEW: the noted file is its copy, in which the OLD nearest to LINE gives way to NEW."""

import sys

COPY, NOTE, NEAR = "/tmp/a", "/tmp/p", 10


def edited(rows: list[str], line: int, old: str, new: str) -> list[str] | None:
    for at in sorted(range(len(rows)), key=lambda at: (abs(at + 1 - line), -at)):
        hits = [i for i in range(len(rows[at])) if rows[at].startswith(old, i)]
        if hits and abs(at + 1 - line) <= NEAR:
            whole = [i for i in hits if not cuts(rows[at], i) and not cuts(rows[at], i + len(old))]
            i = (whole or hits)[0]
            return [*rows[:at], rows[at][:i] + new + rows[at][i + len(old) :], *rows[at + 1 :]]
    return None


def cuts(row: str, at: int) -> bool:
    return 0 < at < len(row) and all(c.isalnum() or c == "_" for c in row[at - 1 : at + 1])


if __name__ == "__main__":
    with open(COPY) as copy, open(NOTE) as note:
        rows, path = copy.read().split("\n"), note.read().strip()
    made = edited(rows, int(sys.argv[1]), sys.argv[3], sys.argv[5])
    with open(path, "w") as file:
        file.write("\n".join(made or rows))
    if made is None:
        sys.exit(f"{sys.argv[3]} not found near line {sys.argv[1]}")
