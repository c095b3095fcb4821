from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_run import HOSTILE, episode, make_run, measured

from repodojo.cli import main
from repodojo.core.errors import RunError
from repodojo.dashboard import svg
from repodojo.dashboard.episodes import LONGEST, chosen, clipped
from repodojo.dashboard.html import tag
from repodojo.dashboard.report import curve_png, curve_svg, headline, write_report
from repodojo.train.config import Config
from repodojo.train.rundir import RunDir, RunState


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "demo", rl_steps=20, tasks=30)


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Elements in order, and whether each that was opened was closed in turn."""

    VOID = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((name, dict(attrs)))
        if name not in self.VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open
    return reader


def test_the_page_is_whole_and_needs_nothing_else(page: str) -> None:
    seen = read(page).seen
    assert not {"script", "link", "img", "iframe", "object"} & {name for name, _ in seen}
    assert not [value for _, attributes in seen for key in ("src", "href") if (value := attributes.get(key))]
    assert not re.findall(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page)


def test_what_an_agent_wrote_is_shown_and_never_run(page: str) -> None:
    text = "".join(read(page).text)
    assert "<script>alert('x')</script>" in text  # readable
    assert "<script" not in page  # and inert
    assert "\x00" not in page and "\x1b" not in page
    assert "\x00" in HOSTILE


def test_it_shows_table_curves_kinds_episodes_and_provenance(page: str) -> None:
    reader = read(page)
    text = " ".join(reader.text)
    for word in (
        "tested-search",
        "arithmetic",
        "Solve rate",
        "Entropy",
        "Malformed call: bad-json",
        "repodojo quickstart",
    ):
        assert word in text
    charts = [attributes["aria-label"] for name, attributes in reader.seen if name == "svg"]
    assert len(charts) >= 12
    assert all(charts)
    assert any(label and label.startswith("Solve rate: from ") for label in charts)


def test_the_episodes_to_read_are_of_different_ends(run: Path) -> None:
    with RunDir.read(run) as opened:
        picked = chosen(opened)
        assert len({row["id"] for _, row in picked}) == len(picked) >= 4
        assert picked[0][1]["tests_run"] == 1
        assert picked[0][1]["reward"] >= 1


def test_observations_are_read_by_the_tokenizer_beside_the_weights(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    def save(folder: Path) -> None:
        words = {"<unk>": 0, "what-it-was-shown": 1, "what-it-wrote": 2}
        Tokenizer(WordLevel(words, unk_token="<unk>")).save(str(folder / "tokenizer.json"))

    with RunDir.create(tmp_path / "run", Config()) as run:
        run.add([episode("e", "t", good=True, tests=True, version=1)], stage="rl", step=1)
        run.checkpoint("one", save)
        run.commit(RunState("rl", 1), checkpoint="one")
    page = write_report(tmp_path / "run").read_text()
    assert "what-it-was-shown" in page
    assert "what-it-wrote" not in page  # the text of an action is kept with it


def test_a_run_that_has_done_nothing_has_a_report_too(tmp_path: Path) -> None:
    RunDir.create(tmp_path / "new", Config()).close()
    text = " ".join(read(write_report(tmp_path / "new").read_text()).text)
    assert "No step has finished yet" in text
    assert "no episodes yet" in text
    with pytest.raises(RunError, match="no learning curve yet"):
        curve_svg(tmp_path / "new", tmp_path / "c.svg")


def test_the_headline_says_no_more_than_the_intervals() -> None:
    import random

    rng = random.Random(0)
    low, high = measured("base", 0.04, 0.0, rng, 60), measured("rl", 0.4, 0.0, rng, 60)
    script = measured("script", 0.4, 0.0, random.Random(5), 60)
    assert headline({"base": low, "rl": high}, "held-out")[0].startswith("pass@1 rises from")
    assert headline({"base": high, "rl": low}, "held-out")[0].startswith("pass@1 falls from")
    assert "does not change measurably" in headline({"base": high, "rl": high}, "held-out")[0]
    assert "below the strongest scripted reference" in headline({"base": low, "rl": low, "script": script}, "dev")[1]
    assert "Not measured" in headline({"base": low}, "dev")[0]


def test_the_pictures_are_valid(run: Path, tmp_path: Path) -> None:
    root = ET.parse(curve_svg(run, tmp_path / "c.svg")).getroot()
    assert root.tag.endswith("svg")
    assert len(root.findall(".//{*}polyline")) == 2
    assert len(root.findall(".//{*}circle")) == 1 + 6  # the curve's end, and a point a row
    assert curve_png(run, tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_the_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "r.html"
    with pytest.raises(SystemExit) as ended:
        main(["report", str(run), "-o", str(out), "--curve", str(tmp_path / "c.svg")])
    assert ended.value.code == 0
    assert out.stat().st_size > 10_000
    for wrong in (["report", str(tmp_path)], ["report", str(run), "--curve", "c.gif"]):
        with pytest.raises(SystemExit) as ended:
            main(wrong)
        assert ended.value.code == 2
    assert "is no run" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.svg", "r.html"]


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_span_the_values_with_few_round_numbers(low: float, span: float) -> None:
    marks = svg.ticks(low, low + span)
    assert len(marks) <= 8
    slack = 1e-8 * span  # a mark may miss the end by less than anyone can see
    assert marks[0] <= low + 1e-6 * abs(low) + slack + 1e-9
    assert marks[-1] >= low + span - 1e-6 * abs(low + span) - slack - 1e-9


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=900))
def test_a_long_curve_keeps_its_range(values: list[float]) -> None:
    points = list(enumerate(values))
    few = svg.thin(points)
    assert len(few) <= svg.MOST_POINTS
    assert min(values) - 1e-9 <= min(y for _, y in few) <= max(y for _, y in few) <= max(values) + 1e-9
    ET.fromstring(svg.curve(points, title="t"))


@pytest.mark.parametrize("values", [[], [float("nan")], [0.0], [1.0, 1.0], [-2.0, -2.0], [float("inf"), 1.0]])
def test_odd_curves_are_drawn_or_left_out(values: list[float]) -> None:
    drawn = svg.curve(list(enumerate(values)), title="t")
    assert drawn == "" or ET.fromstring(drawn).tag.endswith("svg")


def test_text_is_escaped_and_long_text_is_cut_in_the_middle() -> None:
    assert tag("p", "<&>", title='"') == '<p title="&quot;">&lt;&amp;&gt;</p>'
    assert clipped("a" * LONGEST) == "a" * LONGEST
    cut = clipped("a" * LONGEST + "b" * 1000)
    assert "1,000 characters left out" in cut
    assert cut.endswith("bbb")
