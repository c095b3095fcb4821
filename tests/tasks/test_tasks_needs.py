"""Environments: what projects say they need, versions of a day, and layers that are built once."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from tiny_index import serving

from repodojo.core.errors import SandboxError, SourceError
from repodojo.tasks import environment as env
from repodojo.tasks import needs_files, uploads
from repodojo.tasks.layout import Layout, layout_of
from repodojo.tasks.locks import Lock, Locks
from repodojo.tasks.needs import needs_of

TEST = "import lib\nfrom yaml import load\nimport pytest\n\npytest.importorskip('optional')\n"
FILES: dict[str, dict[str, str]] = {
    "pyproject": {
        "pyproject.toml": '[project]\nname="p"\nrequires-python=">=3.8"\ndependencies=["lib>=1", "p", "pytest"]\n'
        '[project.optional-dependencies]\ntest=["PyYAML>5", "black"]\ndocs=["sphinx"]\n'
        '[dependency-groups]\ndev=["optional", {include-group="x"}]\n'
    },
    "poetry": {
        "pyproject.toml": '[tool.poetry]\nname="p"\n[tool.poetry.dependencies]\npython="^3.8"\nlib=">=1"\n'
        'gone={git="https://example.org/x"}\nextra={version="1", optional=true}\n'
        '[tool.poetry.group.dev.dependencies]\npyyaml=">5"\n[tool.poetry.dev-dependencies]\noptional="*"\n'
    },
    "setup.cfg": {
        "setup.cfg": "[metadata]\nname = p\n[options]\npython_requires = >=3.8\ninstall_requires =\n    lib>=1\n"
        "    old; python_version < '3'\n[options.extras_require]\ntesting =\n    PyYAML>5\n    optional\n"
    },
    "setup.py": {
        "setup.py": "from setuptools import setup\nBASE = ['lib>=1']\nEXTRA = {'test': ['pyyaml>5'] + ['optional']}\n"
        "raise SystemExit('never run')\n"
        "setup(name='p', install_requires=BASE + [], extras_require=EXTRA, python_requires='>=3.8')\n"
    },
    "requirements": {
        "setup.py": "import setuptools\nsetuptools.setup(install_requires=open('requirements.txt').read().split())\n",
        "requirements.txt": "-r base.txt  # more\n--index-url https://example.org\n",
        "base.txt": "lib>=1 --hash=sha256:00 \\\n  --hash=sha256:11\n-e .\n",
        "requirements-dev.txt": "pyyaml>5\noptional\n",
    },
    "tox": {
        "requirements.txt": "lib>=1\n",
        "tox.ini": "[testenv]\ndeps =\n    py27: mock\n    pyyaml>5\n    -r{toxinidir}/more.txt\n"
        "commands = pytest {posargs}\n",
        "more.txt": "optional\n",
    },
    "Pipfile": {
        "Pipfile": '[packages]\nlib=">=1"\n[dev-packages]\npyyaml={version=">5"}\noptional="*"\n'
        '[requires]\npython_version="2.7"\n'
    },
    "PKG-INFO": {
        "PKG-INFO": "Metadata-Version: 2.1\nName: p\nRequires-Python: >=3.8\nRequires-Dist: lib>=1\n"
        "Requires-Dist: pyyaml>5; extra == 'test'\nRequires-Dist: optional; extra == \"dev\"\n"
        "Requires-Dist: sphinx; extra == 'docs'\n",
    },
}


def project(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"p/__init__.py": "", "tests/test_p.py": TEST + "\ndef test_p(): ...\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_of_file_is_read(kind: str, tmp_path: Path) -> None:
    found = needs_of(project(tmp_path, FILES[kind]), "p", ["tests/test_p.py"])
    assert found.requires == ("lib>=1",)
    assert [text.lower() for text in found.tests] == ["optional", "pyyaml>5"]
    assert found.python in ("", ">=3.8", ">=3.8,<4") and (found.python or kind in ("requirements", "tox", "Pipfile"))
    assert needs_of(tmp_path, "p").tests == ()  # nothing imports them


@pytest.mark.parametrize(("name", "text"), [("pyproject.toml", "[project"), ("setup.cfg", "x"), ("Pipfile", "=")])
def test_a_broken_file_is_named(name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"{name} cannot be read"):
        needs_of(project(tmp_path, {name: text}))


@given(st.lists(st.integers(0, 20), min_size=1, max_size=3), st.integers(0, 20), st.integers(0, 20))
@settings(max_examples=100, deadline=None)
def test_a_caret_allows_what_keeps_the_first_number_that_is_not_zero(
    numbers: list[int], minor: int, patch: int
) -> None:
    text = ".".join(map(str, numbers))
    allowed = SpecifierSet(needs_files._caret(f"^{text}"))
    first = next((n for n in numbers if n), None)
    assert Version(text) in allowed
    if numbers[0]:
        later = Version(f"{numbers[0]}.{minor}.{patch}")
        assert (later in allowed) == (later >= Version(text))
        assert Version(f"{numbers[0] + 1}.0") not in allowed
    elif first is None:
        assert Version("1.0") not in allowed or len(numbers) == 0


WHEELS = [
    ("lib", "1.0", "2020-01-01T00:00:00Z", ["dep"]),
    ("lib", "1.1", "2021-01-01T00:00:00Z", ["dep"]),
    ("lib", "1.0.1", "2022-06-01T00:00:00Z", ["dep"]),
    ("lib", "2.0", "2023-01-01T00:00:00Z", ["dep>=1"]),
    ("dep", "0.9", "2019-01-01T00:00:00Z", []),
    ("dep", "1.0", "2022-01-01T00:00:00Z", []),
    ("yaml", "1.0", "2019-01-01T00:00:00Z", []),
]


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    uploads.times.cache_clear()
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    with serving(WHEELS, dated=getattr(request, "param", True)) as address:
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_INDEX_URL", address)
        monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)  # uv is told what pip is
        yield address
    uploads.times.cache_clear()


DAYS = {"2020-06-01": ("dep==0.9", "lib==1.0"), "2022-12-31": ("dep==1.0", "lib==1.1"), "": ("dep==1.0", "lib==2.0")}


UV = pytest.mark.skipif(not shutil.which("uv"), reason="uv is not installed: its way was not tried")
TOOLS = ["pip", pytest.param("uv", marks=UV)]


def locks_by(tool: str) -> Locks:
    return Locks(uv=shutil.which("uv") or "" if tool == "uv" else "")


@pytest.mark.parametrize("tool", TOOLS)
def test_a_day_gets_its_releases(tool: str, index: str) -> None:
    locks = locks_by(tool)
    for day, pins in DAYS.items():
        assert locks.of(["lib"], day) == Lock(pins, day)
    assert locks.of(["lib"], "2020-07-01") is locks.of(["lib"], "2020-06-01")  # nothing came in between
    with pytest.raises(SourceError, match=r"lib>=2 as of 2020-06-01 cannot be had for Python .*lib"):
        locks.of(["lib>=2"], "2020-06-01")


@pytest.mark.parametrize("index", [False], indirect=True)
def test_an_index_without_times_gives_what_it_has(index: str) -> None:
    assert Locks(uv="").of(["lib"], "2020-06-01") == Lock(DAYS[""], "", ("dep", "lib"))


@pytest.mark.parametrize("tool", TOOLS)
def test_an_index_out_of_reach_is_no_verdict(tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(SandboxError, match="cannot be reached"):
        locks_by(tool).of(["lib"])


@pytest.mark.parametrize("tool", TOOLS)
def test_one_layer_for_equal_locks_and_a_reason_where_there_is_none(
    tool: str, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def layout(name: str, requires: str, python: str = ">=3") -> Layout:
        text = f'[project]\nname="p"\nrequires-python="{python}"\ndependencies=[{requires}]\n'
        return layout_of(project(tmp_path / name, {"pyproject.toml": text}))

    locks, store = locks_by(tool), Path("s")  # relative, as the quickstart's own
    first = env.put_layer(layout("a", '"lib"'), store, locks, "2020-06-01")
    assert first.date == "2020-06-01"
    assert "1.0" in (store / "sites" / first.site / "lib.py").read_text()
    assert (store / "sites" / f"{first.site}.txt").read_text().splitlines()[1:] == ["dep==0.9", "lib==1.0"]
    before = (store / "sites" / first.site).stat().st_mtime_ns
    assert env.put_layer(layout("b", '"dep", "lib<2"'), store, locks, "2020-06-01") == first
    assert (store / "sites" / first.site).stat().st_mtime_ns == before
    late = env.put_layer(layout("c", '"lib>=2"'), store, locks, "2020-06-01")  # not there yet: as of today
    assert late.date == "" and late.site != first.site
    with pytest.raises(SourceError, match="nothing-like-it"):
        env.put_layer(layout("d", '"nothing-like-it"'), store, locks)
    with pytest.raises(SourceError, match=r"wants Python <3, and this is"):
        env.put_layer(layout("e", '"lib"', "<3"), store, locks)
    assert env.put_layer(layout("f", ""), store, locks, "2020-06-01").site == ""
    assert sys.version.split()[0] in (store / "sites" / f"{first.site}.txt").read_text()
