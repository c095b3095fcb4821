"""Sizes of models that full-size recipes train, as their published config.json states them; no weights are fetched."""

from __future__ import annotations

from repodojo.inference.architecture import Architecture

PUBLISHED = {
    "Qwen/Qwen3-32B": Architecture(
        "qwen3", 151936, 5120, 25600, 64, 64, 8, 128, rope_theta=1e6, max_positions=40960, tied=False
    ),
    "Qwen/Qwen2.5-72B-Instruct": Architecture(
        "qwen2", 152064, 8192, 29568, 80, 64, 8, 128, rope_theta=1e6, max_positions=32768, tied=False, qkv_bias=True
    ),
    "Qwen/Qwen2.5-Coder-14B": Architecture(
        "qwen2", 152064, 5120, 13824, 48, 40, 8, 128, rope_theta=1e6, max_positions=32768, tied=False, qkv_bias=True
    ),
}
