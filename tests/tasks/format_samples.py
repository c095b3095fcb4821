"""One row (or folder) of each format, written from the published columns."""

from __future__ import annotations

import json
from typing import Any

PATCH = "diff --git a/pkg/a.py b/pkg/a.py\n--- a/pkg/a.py\n+++ b/pkg/a.py\n@@ -1,2 +1,2 @@\n x = 1\n-y = 1\n+y = 2\n"
TESTS = PATCH.replace("pkg/a.py", "tests/test_a.py")
RED, GREEN = ["tests/test_a.py::test_y"], ["tests/test_a.py::test_x", "tests/test_a.py::test_p[1-é]"]

SWE_BENCH: dict[str, Any] = {
    "repo": "astropy/astropy",
    "instance_id": "astropy__astropy-12907",
    "base_commit": "d16bfe05a744909de4b27f5875fe0d4ed41ce607",
    "patch": PATCH,
    "test_patch": TESTS,
    "problem_statement": "y is wrong\r\nIt should be 2.",
    "hints_text": "",
    "created_at": "2022-03-03T15:14:54Z",
    "version": "4.3",
    "FAIL_TO_PASS": json.dumps(RED),
    "PASS_TO_PASS": json.dumps(GREEN),
    "environment_setup_commit": "298ccb478e6bf092953bca67a3d29dc6c35f6752",
}
VERIFIED = {**SWE_BENCH, "difficulty": "15 min - 1 hour"}
VERSION_5 = {
    **SWE_BENCH,
    "image": "swebench/sweb.eval.x86_64.other:v5",
    "log_parser": "parse_log_pytest",
    "eval_type": "fail_only",
    "eval_script": "#!/bin/bash\npytest -rA tests/test_a.py\n",
}
SWE_GYM = {k: v for k, v in SWE_BENCH.items() if k != "environment_setup_commit"}
SWE_GYM |= {"instance_id": "getmoto__moto-7365", "FAIL_TO_PASS": RED, "PASS_TO_PASS": GREEN}
REBENCH_1 = {
    **SWE_BENCH,
    "FAIL_TO_PASS": RED,
    "PASS_TO_PASS": GREEN,
    "license_name": "MIT",
    "docker_image": "swerebench/sweb.eval.x86_64.astropy_1776_astropy-12907",
    "meta": {"llm_score": {"difficulty_score": 1}, "num_modified_files": 1},
    "requirements": "numpy==1.0\n",
    "environment": "name: testbed\n",
    "install_config": {
        "python": "3.9",
        "install": "pip install -e .[dev]",
        "pre_install": None,
        "test_cmd": "pytest --no-header -rA",
        "log_parser": "parse_log_pytest",
        "reqs_path": ["requirements.txt"],
        "env_yml_path": None,
    },
}
REBENCH_2 = {
    "instance_id": "tokio-rs__tokio-42",
    "repo": "tokio-rs/tokio",
    "base_commit": "abc",
    "patch": PATCH,
    "test_patch": TESTS,
    "problem_statement": "It hangs.",
    "pr_description": "Mend it",
    "language": "rust",
    "interface": "",
    "license": "MIT",
    "image_name": "docker.io/swerebenchv2/tokio-rs-tokio:42",
    "created_at": 1646320494000,
    "FAIL_TO_PASS": ["rt::test_y"],
    "PASS_TO_PASS": [],
    "install_config": {
        "base_image_name": "rust_1",
        "docker_specs": {"rust_version": "1.70"},
        "install": ["cargo fetch"],
        "test_cmd": ["cargo test -- a", "cargo test -- b"],
        "log_parser": "parse_log_cargo",
    },
    "meta": None,
}
SWE_SMITH = {
    "instance_id": "oauthlib__oauthlib.1fd52536.combine_file__0fceycuu",
    "patch": PATCH,
    "FAIL_TO_PASS": RED,
    "PASS_TO_PASS": GREEN,
    "created_at": "2025-03-01",
    "image_name": "jyangballin/swesmith.x86_64.oauthlib_1776_oauthlib.1fd52536",
    "repo": "swesmith/oauthlib__oauthlib.1fd52536",
    "base_commit": "6b6e5a4f",
    "problem_statement": "",
}
LINES = [("context", "x = 1"), ("deleted", "y = 1"), ("added", "y = 2"), ("note", "No newline at end of file")]


def _file(path: str) -> dict[str, Any]:
    spans = {side: {"start": 1, "length": 2} for side in ("old_range", "new_range")}
    hunk = {
        "descriptor": {**spans, "section": "def f():"},
        "line_group": {"all_lines": [{"content": text, "type": kind} for kind, text in LINES]},
        "modified_entities": [],
    }
    return {
        "header": {"file": {"path": path}, "misc_line": None},
        "index_line": {"old_commit_hash": "1111111", "new_commit_hash": "2222222", "mode": "100644"},
        "is_binary_file": False,
        "binary_line": None,
        "minus_file": {"path": f"a/{path}"},
        "plus_file": {"path": f"b/{path}"},
        "hunks": [hunk],
        "old_file_content": "x = 1\ny = 1",
        "new_file_content": "x = 1\ny = 2",
    }


PARSED = {
    "file_diffs": [_file("pkg/a.py"), _file("tests/test_a.py")],
    "old_commit_hash": "parent",
    "new_commit_hash": "f1x",
    "commit_message": "Mend y",
    "commit_date": "2020-01-01T00:00:00",
}
R2E = {
    "repo_name": "orange3",
    "docker_image": "namanjain12/orange3_final:f1x",
    "commit_hash": "f1x",
    "parsed_commit_content": json.dumps(PARSED),
    "execution_result_content": json.dumps(
        {"test_file_codes": ["def test_y(): ..."], "test_file_names": ["test_1.py"], "new_commit_res_stdout": "..."}
    ),
    "modified_files": ["pkg/a.py"],
    "modified_entity_summaries": [{"name": "f", "start_lineno": 1}],
    "relevant_files": ["pkg/a.py"],
    "num_non_test_files": 1,
    "num_non_test_func_methods": 1,
    "num_non_test_lines": 2,
    "prompt": "You are",
    "problem_statement": "[ISSUE]\n**y** is wrong\n[/ISSUE]",
    "expected_output_json": json.dumps({"\x1b[1mtest_y\x1b[0m": "PASSED", "test_z - ValueError": "FAILED"}),
}
MULTI_SWE = {
    "org": "BurntSushi",
    "repo": "ripgrep",
    "number": 2626,
    "state": "closed",
    "title": "Flush",
    "body": "long",
    "base": {"label": "BurntSushi:master", "ref": "master", "sha": "7099e174"},
    "resolved_issues": [{"number": 1, "title": "It does not flush", "body": None}],
    "fix_patch": PATCH,
    "test_patch": TESTS,
    "fixed_tests": {"a": {"run": "FAIL", "test": "FAIL", "fix": "PASS"}},
    "f2p_tests": {"a": {"run": "FAIL", "test": "FAIL", "fix": "PASS"}},
    "s2p_tests": {"b": {"run": "SKIP", "test": "SKIP", "fix": "PASS"}},
    "n2p_tests": {"c": {"run": "NONE", "test": "NONE", "fix": "PASS"}},
    "p2p_tests": {"d": {"run": "PASS", "test": "PASS", "fix": "PASS"}},
    "run_result": {"passed_count": 1},
    "instance_id": "BurntSushi__ripgrep_2626",
    "lang": "rust",
}
ZETA = {
    "events": 'User edited "src/a.rs":\n```diff\n-a\n+b\n```',
    "input": "```src/a.rs\n<|editable_region_start|>\nlet a<|user_cursor_is_here|>\n<|editable_region_end|>\n```",
    "output": "let a = 1;\n",
    "labels": "infer-implementation",
}
HARBOR = {
    "/name": "hello-world",
    "environment/Dockerfile": "FROM ubuntu:24.04\n",
    "environment/data.bin": {"base64": "/wD+"},
    "instruction.md": "Write hello.txt\n",
    "solution/solve.sh": "#!/bin/bash\necho hello > hello.txt\n",
    "task.toml": '# a comment\nversion = "1.0"\n[metadata]\ndifficulty = "easy"\n[verifier]\ntimeout_sec = 120.0\n'
    '[agent]\ntimeout_sec = 300\n[environment]\ncpus = 2\nmemory = "2G"\nallow_internet = false\n',
    "tests/test.sh": "#!/bin/bash\necho 1 > /logs/verifier/reward.txt\n",
    "/executable": ["solution/solve.sh", "tests/test.sh"],
    "/empty": ["environment/empty"],
}
FOLDER_5 = {
    "/name": "astropy__astropy-12907",
    "eval.sh": "#!/bin/bash\npytest\n",
    "gold.patch": PATCH,
    "problem_statement.md": "y is wrong",
    "task.yaml": "# spelled by hand\ninstance_id: astropy__astropy-12907\nrepo: 'astropy/astropy'\nversion: '4.3'\n"
    "base_commit: d16bfe05\nlog_parser: parse_log_pytest\neval_type: pass_and_fail\n",
    "test.patch": TESTS,
    "tests.json": json.dumps({"FAIL_TO_PASS": RED, "PASS_TO_PASS": GREEN}),
}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "swe-bench": ("swe-bench", SWE_BENCH),
    "verified": ("swe-bench", VERIFIED),
    "version-5": ("swe-bench", VERSION_5),
    "swe-gym": ("swe-gym", SWE_GYM),
    "swe-rebench-1": ("swe-rebench", REBENCH_1),
    "swe-rebench-2": ("swe-rebench", REBENCH_2),
    "swe-smith": ("swe-smith", SWE_SMITH),
    "r2e": ("r2e", R2E),
    "multi-swe": ("multi-swe", MULTI_SWE),
    "zeta": ("zeta", ZETA),
    "harbor": ("harbor", HARBOR),
    "version-5-folder": ("swe-bench-folder", FOLDER_5),
}
