"""What several rooms' tests share: a small tokenizer of the base's own kind, and real functions to work on."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from repodojo.inference.chat import ChatFormat
    from repodojo.tasks.store import TaskStore
    from repodojo.train.pretrain.corpus import Function

settings.register_profile("no-deadline", deadline=None)  # a busy machine is no failure
settings.load_profile("no-deadline")

MODULES = (
    "textwrap",
    "bisect",
    "shlex",
    "statistics",
    "heapq",
    "fractions",
    "calendar",
    "posixpath",
    "colorsys",
    "copy",
)


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with some modules of the standard library."""
    folder = tmp_path_factory.mktemp("sources")
    for name in MODULES:
        shutil.copy(Path(sysconfig.get_path("stdlib")) / f"{name}.py", folder)
    return folder


@pytest.fixture(scope="session")
def functions(sources: Path) -> list[Function]:
    """The functions of those modules."""
    from repodojo.train.pretrain import corpus

    return list(corpus.functions(sources))


@pytest.fixture(scope="session")
def tokenizer(functions: list[Function]) -> Any:
    """The base's tokenizer with 760 entries."""
    from repodojo.train.pretrain.tokenizer import train

    return train((function.code for function in functions), 760)


@pytest.fixture(scope="session")
def chat(tokenizer: Any) -> ChatFormat:
    """Its chat format."""
    from repodojo.inference.chat import ChatFormat

    return ChatFormat(tokenizer)


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> TaskStore:
    """Two real tasks (see tiny_school)."""
    from tiny_school import make_store

    return make_store(tmp_path_factory.mktemp("school"))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_store: TaskStore, tokenizer: Any) -> Path:
    """The folder of a model that solves them about every second time."""
    from tiny_school import make_model

    return make_model(tmp_path_factory.mktemp("pupil"), tiny_store, tokenizer)
