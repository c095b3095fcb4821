"""Sessions of a product: read, scrubbed, judged by Git, and made into weights and pairs."""

from __future__ import annotations

import json
import os
import subprocess
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repodojo.cli import main
from repodojo.core.errors import UserError
from repodojo.tasks.feedback import rules
from repodojo.tasks.feedback.importing import FILES, import_feedback
from repodojo.tasks.feedback.privacy import scrubbed
from repodojo.tasks.feedback.retention import DAY, History
from repodojo.tasks.feedback.schema import Malformed, rows
from repodojo.tasks.history.repository import opened


def session(name: str, task: str = "t", outcome: str = "kept", **others: Any) -> dict[str, Any]:
    return {"id": name, "task": task, "outcome": outcome, **others}


def written(folder: Path, *found: dict[str, Any] | str) -> Path:
    path = folder / "sessions.jsonl"
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in found))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# ---------------------------------------------------------------- schema

BAD = [
    ("not json", "", "Invalid JSON"),
    ('{"id": "a", "task": "t"}', "outcome", "Field required"),
    (json.dumps(session("a", outcome="loved")), "outcome", "'accepted'"),
    (json.dumps(session("a", mood="good")), "mood", "not permitted"),
    (json.dumps(session("a", tokens="12")), "tokens", "integer"),
    (json.dumps(session("a", tokens=-1)), "tokens", "greater than or equal"),
    (json.dumps(session("a", tool_calls=1, tool_errors=2)), "tool_errors", "more errors"),
    (json.dumps(session("a", retention={"7": 1.5})), "retention.7", "less than or equal"),
    (json.dumps(session("a", commit="HEAD; rm")), "commit", "match pattern"),
    (json.dumps(session("", "t")), "id", "at least 1"),
]


@pytest.mark.parametrize(("line", "field", "why"), BAD)
def test_a_malformed_row_is_named_and_stops_no_other(line: str, field: str, why: str, tmp_path: Path) -> None:
    found = list(rows(written(tmp_path, session("x"), line, "", session("y"))))
    bad = found[1]
    assert isinstance(bad, Malformed) and (bad.line, bad.field) == (2, field) and why in bad.why
    assert [getattr(row, "id", None) for row in found] == ["x", None, "y"]


def test_a_line_without_end_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repodojo.tasks.feedback.schema.LONGEST", 200)
    found = list(rows(written(tmp_path, session("x"), session("y", prompt="p" * 900), session("z"))))
    assert [getattr(row, "id", None) for row in found] == ["x", None, "z"]
    assert isinstance(found[1], Malformed) and found[1].line == 2


# ---------------------------------------------------------------- privacy

alphabet = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
words = st.text(alphabet, min_size=20, max_size=40)
SHAPES = ("ghp_{}", "github_pat_{}", "glpat-{}", "xoxb-{}", "sk-{}", "sk-ant-{}", "hf_{}", "npm_{}", "ya29.{}")
PLACES = ("{}", "see {} there", "({})", '"{}"', "x\n{}\ny", "run --with {}", "<{}>", "é{} ü")
ASSIGNED = ("password={}", 'api_key = "{}"', "token: {}", "Authorization: Bearer {}", "SECRET_KEY='{}'")


@given(words, st.sampled_from(SHAPES), st.sampled_from(PLACES))
def test_keys_of_known_shape_are_removed_wherever_they_stand(word: str, shape: str, place: str) -> None:
    assert word not in scrubbed(place.format(shape.format(word)))


@given(st.text(alphabet, min_size=8, max_size=30), st.sampled_from(ASSIGNED), st.sampled_from(PLACES))
def test_what_is_assigned_to_a_telling_name_is_removed(word: str, shape: str, place: str) -> None:
    assert word not in scrubbed(place.format(shape.format(word)))


@given(st.emails(domains=st.sampled_from(["example.org", "mail.example.co.uk"])), st.text(max_size=20))
def test_addresses_are_removed(address: str, around: str) -> None:
    local = address.split("@", maxsplit=1)[0]
    if all(c.isalnum() or c in "._+%-" for c in local):
        assert address not in scrubbed(f"{around} {address} {around}")


@given(st.text(max_size=200))
def test_scrubbing_twice_changes_nothing_more(text: str) -> None:
    once = scrubbed(text)
    assert scrubbed(once) == once


@pytest.mark.parametrize(
    "secret",
    [
        "AKIAABCDEFGHIJKLMNOP",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
        "https://ann:hunter22@example.org/x",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY9",
    ],
)
def test_other_secrets_are_removed(secret: str) -> None:
    said = scrubbed(f"here: {secret} and on")
    assert secret not in said and "hunter22" not in said and "MIIEow" not in said and said.endswith("and on")


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n    return x @ y\n",
        "def log_in(token: str, password: str = None) -> bool:\n",
        "commit 0123456789abcdef0123456789abcdef01234567",
        "src/repodojo/tasks/feedback/importing_of_sessions_and_pairs.py",
        "test_that_a_long_name_of_a_test_is_kept_as_it_is",
        "git@github.com is an address, @decorator is none"[24:],
    ],
)
def test_code_stays_as_it_is(text: str) -> None:
    assert scrubbed(text) == text


# ---------------------------------------------------------------- git


class Repo:
    """A repository whose clock is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *argv: str, day: float = 0) -> str:
        at = f"{int(1_700_000_000 + day * DAY)} +0000"
        who = {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (("NAME", "a"), ("EMAIL", "a@b"))
        }
        env = {**os.environ, **who, "GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at, "GIT_CONFIG_GLOBAL": os.devnull}
        done = subprocess.run(["git", *argv], cwd=self.folder, env=env, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, day: float, message: str, **files: str | None) -> str:
        for name, text in files.items():
            path = self.folder / f"{name}.py"
            path.write_text(text) if text is not None else path.unlink()
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message, day=day)
        return self.git("rev-parse", "HEAD")


def numbered(first: int, last: int, mark: str = "x") -> str:
    return "".join(f"{mark}{n} = {n} * {n} + 1\n" for n in range(first, last))


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Repo, dict[str, str]]:
    """An agent adds 10 lines; on day 3 two are rewritten, on day 5 the file is renamed, on day 20 four more go."""
    made = Repo(tmp_path_factory.mktemp("git") / "r")
    names = {"root": made.commit(0, "begin", a="y = 0\n")}
    text = "y = 0\n" + numbered(0, 10)
    names["agent"] = made.commit(1, "Add numbers\n\nCo-authored-by: Robot <robot@example.org>", a=text)
    text = text.replace("x0 = 0 * 0 + 1", "x0 = None").replace("x1 = 1 * 1 + 1", "x1 = None")
    names["edit"] = made.commit(4, "edit", a=text)
    made.git("mv", "a.py", "b.py")
    names["move"] = made.commit(6, "move")
    names["bad"] = made.commit(7, "Add more\n\nCo-authored-by: Robot <robot@example.org>", c=numbered(0, 4, "z"))
    names["revert"] = made.commit(8, f'Revert "Add more"\n\nThis reverts commit {names["bad"]}.', c=None)
    names["cut"] = made.commit(21, "cut", b="".join(text.splitlines(keepends=True)[:-4]))
    names["end"] = made.commit(40, "end", d="d = 1\n")
    return made, names


def test_retention_follows_blame_and_renames(repo: tuple[Repo, dict[str, str]], tmp_path: Path) -> None:
    made, names = repo
    history = History(opened(str(made.folder), tmp_path))
    commit = history.commit(names["agent"][:12])
    assert commit is not None and commit.name == names["agent"] and history.written(commit) == {"a.py": 10}
    assert history.retention(commit, (1, 4, 10, 30, 90)) == {1: 1.0, 4: 0.8, 10: 0.8, 30: 0.4}  # 90 have not passed
    bad = history.commit(names["bad"])
    assert bad is not None and history.reverted(bad) and not history.reverted(commit)
    assert history.retention(bad, (7,)) == {7: 0.0}
    assert history.commit("0" * 40) is None
    assert [found.name for found in history.of_agent("robot@")] == [names["bad"], names["agent"]]


def test_commits_of_an_agent_become_sessions(repo: tuple[Repo, dict[str, str]], tmp_path: Path) -> None:
    made, names = repo
    history = History(opened(str(made.folder), tmp_path))
    file = written(tmp_path, session("s", "mine", "accepted", commit=names["agent"][:10]))
    summary = import_feedback(file, tmp_path / "out", history=history, agent="co-authored-by: robot", days=(4, 30))
    found = {row["id"]: row for row in lines(tmp_path / "out" / "sessions.jsonl")}
    assert found["s"]["retention"] == {"4": 0.8, "30": 0.4} and found["s"]["score"] == pytest.approx(0.6)
    assert found[f"commit:{names['bad']}"]["outcome"] == "reverted"
    kept = found[f"commit:{names['agent']}"]
    assert kept["prompt"] == "Add numbers" and "+x9 = 9" in kept["response"] and "robot@" not in json.dumps(kept)
    assert summary.retention_sessions == {4: 3, 30: 3} and summary.sessions == 3


# ---------------------------------------------------------------- rules


@given(st.sampled_from(sorted(rules.BASE)), st.dictionaries(st.integers(1, 90), st.floats(0, 1), max_size=3))
def test_scores_lie_in_bounds_and_grow_with_retention(outcome: str, kept: dict[int, float]) -> None:
    score = rules.score(outcome, kept)
    assert 0 <= score <= 1
    assert rules.score(outcome, {**kept, 99: 1.0}) >= rules.score(outcome, {**kept, 99: 0.5})
    assert outcome not in ("reverted", "rejected") or score == 0


@given(st.integers(0, 1000), st.floats(0, 1))
def test_weights_stay_between_one_and_their_bound(sessions: int, loss: float) -> None:
    weight = rules.weight(sessions, sessions * loss)
    assert 1 <= weight < 1 + rules.STRENGTH
    assert rules.weight(sessions + 1, sessions * loss + 1) >= weight


# ---------------------------------------------------------------- import


def test_weights_pairs_and_summary(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        session("a", "easy", "kept", response="good", tokens=100, tool_calls=4, tool_errors=1),
        session("b", "hard", "reverted", response="bad", prompt="Mend it, ann@example.org.", tokens=900),
        session("c", "hard", "kept", response="token = 'abcdefgh12'", tokens=300),
        session("d", "hard", "accepted", response="between"),
        session("e", "same", "kept", response="twin"),
        session("f", "same", "rejected", response="twin"),
        session("a", "easy", "rejected"),
        "broken",
    )
    out = tmp_path / "out"
    summary = import_feedback(file, out)
    assert (summary.sessions, summary.malformed, summary.doubles, summary.tasks, summary.pairs) == (6, 1, 1, 3, 1)
    assert (summary.tool_error_rate, summary.median_tokens) == (0.25, 100)
    assert summary.outcomes == {"accepted": 1, "kept": 3, "rejected": 1, "reverted": 1}
    (pair,) = lines(out / "pairs.jsonl")
    assert (pair["chosen_id"], pair["rejected_id"], pair["prompt"]) == ("c", "b", "Mend it, [e-mail].")
    assert pair["chosen"] == "token = '[secret]'" and pair["chosen_score"] - pair["rejected_score"] == 1
    weights = json.loads((out / "weights.json").read_text())["weights"]
    assert weights == pytest.approx({"easy": 1, "hard": 1 + 2 * 1.2 / 7, "same": 1 + 2 / 6}, abs=1e-5)
    assert lines(out / "malformed.jsonl")[0]["line"] == 8
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    assert "tokens_target = 100" in (out / "reward.toml").read_text()
    with pytest.raises(UserError, match="No such file"):
        import_feedback(tmp_path / "nothing", out)
    assert lines(out / "pairs.jsonl") == [pair]  # what was there stays


def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        file = tmp_path / "many.jsonl"
        with file.open("w") as writing:
            for n in range(count):
                row = session(f"s{n}", f"t{n}", "kept" if n % 2 else "edited", response=f"r{n}", tokens=n + 1)
                writing.write(json.dumps(row) + "\n")
        tracemalloc.start()
        import_feedback(file, tmp_path / f"out{count}")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(10)  # what the first import of a process makes once
    small = peak(300)
    assert peak(1200) < small + 60_000  # each row alone takes more than a hundred bytes


@pytest.mark.slow
def test_a_hundred_thousand_rows(tmp_path: Path) -> None:
    file = tmp_path / "many.jsonl"
    with file.open("w") as writing:
        for n in range(100_000):
            writing.write(
                json.dumps(session(f"s{n}", f"t{n // 3}", ("kept", "edited", "reverted")[n % 3], response=f"r{n}"))
                + "\n"
            )
    tracemalloc.start()
    summary = import_feedback(file, tmp_path / "out")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (summary.sessions, summary.tasks, summary.pairs) == (100_000, 33_334, 33_333)
    assert most < 16 << 20


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["feedback", "import", *arguments])
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, session("a"), "broken")
    code, out, _ = run([str(file), "-o", str(tmp_path / "out"), "--json"], capsys)
    assert code == 0 and json.loads(out)["sessions"] == 1 and json.loads(out)["malformed"] == 1
    code, out, err = run([str(file), "-o", str(tmp_path / "out")], capsys)
    assert code == 0 and "mean score" in out and "malformed.jsonl" in err.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.jsonl"], "No such file"),
        (["missing.jsonl", "--agent", "x"], "--agent does nothing without --repo"),
        (["missing.jsonl", "--repo", ".", "--agent", "("], "no regular expression"),
        (["missing.jsonl", "--days", "1,two"], "is no list of days"),
        (["missing.jsonl", "--repo", "nowhere-at-all"], "cannot be cloned"),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(arguments, capsys)
    assert code == 2 and says in err and not list(tmp_path.iterdir())
