"""Formats: what came in goes out, field by field; each trap; what is malformed is named."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from format_samples import GREEN, PATCH, RED, ROWS
from hypothesis import given, settings
from hypothesis import strategies as st

from repodojo.core.codec import from_json
from repodojo.core.errors import TaskError
from repodojo.core.records import Environment, Grader, Source, Task
from repodojo.tasks import patches
from repodojo.tasks.formats import FORMATS, RowError, detect, dump, load, named, rows
from repodojo.tasks.formats.folders import read_folder, write_folder

SOURCE = Source("sample")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def through(row: dict[str, Any], kind: str) -> dict[str, Any]:
    """A row, read, stored, loaded and written again."""
    return dump(named(kind), from_json(Task, load(named(kind), row, SOURCE)[1]))


@pytest.mark.parametrize("sample", ROWS)
def test_a_sample_is_recognised_and_goes_out_as_it_came_in(sample: str) -> None:
    kind, row = ROWS[sample]
    assert detect(row).name == kind
    assert json.dumps(through(row, kind)) == json.dumps(row)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_any_row_that_is_read_goes_out_as_it_came_in(data: st.DataObject) -> None:
    kind, sample = ROWS[data.draw(st.sampled_from(sorted(ROWS)))]
    row = dict(sample)
    for name in data.draw(st.lists(st.sampled_from(sorted(row)), max_size=3, unique=True)):
        row[name] = data.draw(JSON | st.text(max_size=20), label=name)
    for name in data.draw(st.lists(st.sampled_from(sorted(row)), max_size=2, unique=True)):
        del row[name]
    row |= data.draw(st.dictionaries(st.text(max_size=6), JSON, max_size=3))
    order = list(row)
    random.Random(data.draw(st.integers(0, 99))).shuffle(order)
    row = {name: row[name] for name in order}
    try:
        again = through(row, kind)
    except RowError as error:
        assert error.cause
        return
    assert json.dumps(again) == json.dumps(row)


def test_swe_smiths_patch_is_a_bug_and_the_gold_is_its_reverse() -> None:
    kind, row = ROWS["swe-smith"]
    task, _ = load(named(kind), row, SOURCE)
    assert task.gold and task.gold.direction == "bug"
    assert (task.repo, task.labels["mirror"]) == ("oauthlib/oauthlib", "swesmith/oauthlib__oauthlib.1fd52536")
    fix = dump(named("swe-bench"), task)["patch"]
    broken = patches.applied(PATCH, {"pkg/a.py": b"x = 1\ny = 1\n"})
    assert broken == {"pkg/a.py": b"x = 1\ny = 2\n"}
    assert patches.applied(fix, {"pkg/a.py": b"x = 1\ny = 2\n"}) == {"pkg/a.py": b"x = 1\ny = 1\n"}
    assert "unsolvable" not in task.labels
    touched = {**row, "patch": PATCH.replace("pkg/a.py", "tests/test_a.py")}
    assert "tests/test_a.py" in load(named(kind), touched, SOURCE)[0].labels["unsolvable"]


def test_images_follow_each_sources_rule() -> None:
    images = {name: load(named(kind), row, SOURCE)[0].environment.image for name, (kind, row) in ROWS.items()}
    assert images["swe-bench"] == "swebench/sweb.eval.x86_64.astropy_1776_astropy-12907:latest"
    assert images["swe-gym"] == "xingyaoww/sweb.eval.x86_64.getmoto_s_moto-7365:latest"
    assert images["version-5"] == "swebench/sweb.eval.x86_64.other:v5"
    assert images["multi-swe"] == "mswebench/burntsushi_m_ripgrep:pr-2626"
    upper = {**ROWS["swe-bench"][1], "instance_id": "Pylons__Pyramid-1"}
    assert load(named("swe-bench"), upper, SOURCE)[0].environment.image.islower()


def test_r2e_has_a_status_map_and_a_rebuilt_patch_without_tests() -> None:
    task, _ = load(named("r2e"), ROWS["r2e"][1], SOURCE)
    assert task.grader.kind == "status_map" and not task.grader.fail_to_pass
    assert task.grader.expected == {"test_y": "PASSED", "test_z": "FAILED"}
    assert task.gold and patches.paths(task.gold.patch) == ["pkg/a.py"]
    assert patches.applied(task.gold.patch, {"pkg/a.py": b"x = 1\ny = 1\n"}) == {"pkg/a.py": b"x = 1\ny = 2"}
    assert (task.base_commit, task.instruction) == ("parent", "**y** is wrong")
    assert task.hidden_files == {"r2e_tests/test_1.py": "def test_y(): ..."}


def test_rebenchs_two_versions() -> None:
    first, second = (load(named("swe-rebench"), ROWS[f"swe-rebench-{n}"][1], SOURCE)[0] for n in (1, 2))
    assert first.environment.setup == ("pip install -e .[dev]",) and first.environment.work_dir == "/testbed"
    assert second.created == "2022-03-03T15:14:54.000+00:00" and second.environment.work_dir == "/tokio"
    assert second.grader.command == "cargo test -- a\ncargo test -- b" and second.language == "rust"


def test_the_other_sources_fields_find_their_place() -> None:
    tasks = {name: load(named(kind), row, SOURCE)[0] for name, (kind, row) in ROWS.items()}
    assert tasks["swe-bench"].grader.fail_to_pass == tuple(RED) == tasks["swe-gym"].grader.fail_to_pass
    assert tasks["swe-bench"].grader.pass_to_pass == tuple(GREEN)
    assert tasks["version-5"].labels["eval_type"] == "fail_only" and tasks["verified"].labels["difficulty"]
    assert tasks["multi-swe"].grader.fail_to_pass == ("a", "b", "c") and tasks["multi-swe"].base_commit == "7099e174"
    assert tasks["zeta"].language == "rust" and tasks["zeta"].grader.expected == {"output": "let a = 1;\n"}
    harbor = tasks["harbor"]
    assert harbor.environment.resources == {"cpus": 2.0, "memory_mb": 2048.0} and not harbor.environment.network
    assert harbor.grader.timeout == 120.0 and harbor.labels["agent_seconds"] == "300"


def test_from_one_format_to_another() -> None:
    task, _ = load(named("swe-bench"), ROWS["version-5"][1], SOURCE)
    folder = dump(named("swe-bench-folder"), task)
    again, _ = load(named("swe-bench-folder"), folder, SOURCE)
    assert (again.grader, again.gold, again.instruction) == (task.grader, task.gold, task.instruction)
    with pytest.raises(RowError, match="harbor has no words"):
        dump(named("harbor"), task)
    exits = Task("t", SOURCE, "do", Environment(image="x:1"), Grader("exit_code", "make check"))
    made, _ = load(named("harbor"), dump(named("harbor"), exits), SOURCE)
    assert "make check" in made.hidden_files["tests/test.sh"] and made.environment.image == "x:1"


@pytest.mark.parametrize(
    ("sample", "field", "value"),
    [
        ("swe-bench", "FAIL_TO_PASS", "[not json"),
        ("swe-bench", "FAIL_TO_PASS", [1]),
        ("swe-bench", "patch", None),
        ("swe-bench", "instance_id", 7),
        ("swe-bench", "extra", float("nan")),
        ("swe-bench", "problem_statement", "\ud800"),
        ("swe-rebench-2", "created_at", 10**30),
        ("swe-rebench-1", "install_config", []),
        ("r2e", "parsed_commit_content", '{"file_diffs": [{}]}'),
        ("r2e", "expected_output_json", "{}"),
        ("multi-swe", "number", "2626"),
        ("zeta", "output", None),
        ("harbor", "task.toml", "= ="),
        ("harbor", "task.toml", "[verifier]\ntimeout_sec = 'long'\n[environment]\ndocker_image = 'x'"),
        ("version-5-folder", "task.yaml", "a: [b"),
        ("version-5-folder", "tests.json", "{}"),
    ],
)
def test_a_malformed_row_names_its_field(sample: str, field: str, value: Any) -> None:
    kind, row = ROWS[sample]
    with pytest.raises(RowError) as raised:
        load(named(kind), {**row, field: value}, SOURCE)
    assert raised.value.field.startswith(field)


def test_unknown_formats_and_rows() -> None:
    with pytest.raises(TaskError, match="no format"):
        named("swe")
    with pytest.raises(RowError, match="of no known format"):
        detect({"a": 1})
    assert len(FORMATS) == 9


def test_folders_come_and_go_with_modes_bytes_and_empty_folders(tmp_path: Path) -> None:
    write_folder(ROWS["harbor"][1], tmp_path)
    row = read_folder(tmp_path / "hello-world")
    assert row == ROWS["harbor"][1]
    assert (tmp_path / "hello-world" / "environment" / "data.bin").read_bytes() == b"\xff\x00\xfe"
    for name in ("../up", "a/b", ""):
        with pytest.raises(TaskError):
            write_folder({**row, "/name": name}, tmp_path)
    with pytest.raises(TaskError, match="leads out"):
        write_folder({**row, "/name": "x", "../../y": ""}, tmp_path)
    (tmp_path / "hello-world" / "link").symlink_to("/etc/passwd")
    [(where, found)] = list(rows.read(tmp_path))
    assert where == "folder hello-world" and isinstance(found, RowError) and found.field == "link"


@given(items=st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=4), max_size=8), wide=st.booleans())
@settings(max_examples=50, deadline=None)
def test_files_of_rows_come_and_go(tmp_path_factory: pytest.TempPathFactory, items: list[Any], wide: bool) -> None:
    folder = tmp_path_factory.mktemp("rows")
    for name in ("rows.jsonl", "rows.json"):
        assert rows.write(items, folder / name, named("swe-bench")) == len(items)
        assert [row for _, row in rows.read(folder / name)] == items
    (folder / "rows.json").write_text(json.dumps(items, indent=2 if wide else None))
    assert [row for _, row in rows.read(folder / "rows.json")] == items


def test_a_long_array_is_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BUFFER", 7)
    items = [{"a": "x" * n, "b": [n, {"c": "]"}]} for n in range(40)]
    (tmp_path / "a.json").write_text(json.dumps(items))
    assert [row for _, row in rows.read(tmp_path / "a.json")] == items


def test_what_is_broken_in_a_file_names_its_line_and_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n{"a": \n[1]\n{"a": NaN}\n\n{"a": "\xff"}\n{"a": 2}\n')
    found = list(rows.read(tmp_path / "a.jsonl"))
    assert [where for where, row in found if isinstance(row, RowError)] == ["line 2", "line 3", "line 4", "line 6"]
    assert [row for _, row in found if not isinstance(row, RowError)] == [{"a": 1}, {"a": 2}]
    (tmp_path / "b.json").write_text('[{"a": 1}, {"a": ')
    assert isinstance(list(rows.read(tmp_path / "b.json"))[1][1], RowError)
    for name, text in (("c.json", '{"a": 1}'), ("d.csv", "a"), ("none.jsonl", None)):
        if text:
            (tmp_path / name).write_text(text)
        with pytest.raises(TaskError):
            list(rows.read(tmp_path / name))


def test_parquet_comes_and_goes_with_its_schema(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from datetime import datetime

    from pyarrow import parquet

    items = [{**ROWS["swe-rebench-1"][1], "when": datetime(2020, 1, n + 1), "small": n, "none": None} for n in range(3)]
    kinds = {"small": pyarrow.int8(), "none": pyarrow.string(), "when": pyarrow.timestamp("ms")}
    table = pyarrow.Table.from_pylist(items)
    table = table.cast(pyarrow.schema([pyarrow.field(f.name, kinds.get(f.name, f.type)) for f in table.schema]))
    parquet.write_table(table, tmp_path / "a.parquet")
    read = [
        through(row, "swe-rebench") for _, row in rows.read(tmp_path / "a.parquet") if not isinstance(row, RowError)
    ]
    schema = rows.schema(tmp_path / "a.parquet")
    assert (
        rows.write(read, tmp_path / "b.parquet", named("swe-rebench"), schema)
        == 3
        == rows.total(tmp_path / "a.parquet")
    )
    assert parquet.read_table(tmp_path / "b.parquet").equals(table)
    (tmp_path / "c.parquet").write_bytes(b"PAR1 not at all")
    with pytest.raises(TaskError, match="cannot be read as parquet"):
        list(rows.read(tmp_path / "c.parquet"))
