"""Which language a file is in, by its name alone."""

from __future__ import annotations

SUFFIXES = {
    "python": "py pyi pyx", "rust": "rs", "typescript": "ts tsx mts cts", "javascript": "js jsx mjs cjs", "go": "go",
    "java": "java", "c": "c h", "c++": "cc cpp cxx hh hpp hxx", "c#": "cs", "ruby": "rb rake", "php": "php",
    "swift": "swift", "kotlin": "kt kts", "scala": "scala sc", "lua": "lua", "shell": "sh bash zsh", "perl": "pl pm",
    "elixir": "ex exs", "erlang": "erl hrl", "haskell": "hs", "ocaml": "ml mli", "clojure": "clj cljs cljc",
    "dart": "dart", "julia": "jl", "r": "r", "zig": "zig", "nim": "nim", "objective-c": "m mm", "sql": "sql",
    "powershell": "ps1", "groovy": "groovy gradle", "cuda": "cu cuh", "vue": "vue", "svelte": "svelte",
}  # fmt: skip
MARKUP = {
    "html": "html htm", "css": "css", "scss": "scss sass less", "markdown": "md", "restructuredtext": "rst",
    "toml": "toml", "yaml": "yaml yml", "json": "json", "xml": "xml",
}  # fmt: skip
NAMES = {"Makefile": "make", "Dockerfile": "docker", "Rakefile": "ruby", "CMakeLists.txt": "cmake"}
CODE = frozenset((*SUFFIXES, *NAMES.values()))
"""What counts as code; the others must be asked for by name."""
LANGUAGES = tuple(sorted({*CODE, *MARKUP}))
_BY_SUFFIX = {suffix: name for name, many in (SUFFIXES | MARKUP).items() for suffix in many.split()}


def language_of(path: str) -> str:
    """The language of a file; "" where its name does not tell.

    >>> language_of("src/Main.java"), language_of("web/app.tsx"), language_of("LICENSE")
    ('java', 'typescript', '')
    """
    name = path.rpartition("/")[2]
    return NAMES.get(name) or (_BY_SUFFIX.get(name.rpartition(".")[2].lower(), "") if "." in name else "")
