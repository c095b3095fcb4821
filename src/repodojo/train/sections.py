"""The settings, section by section: types, bounds, defaults for the small base on a laptop, and what each one means."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationInfo, field_validator
from rapidfuzz import fuzz, process

from repodojo.agent.kit import Source
from repodojo.agent.mcp.settings import McpServer
from repodojo.inference.devices import Device
from repodojo.inference.native import Attention
from repodojo.rewards.checks import Check
from repodojo.sandbox.local.native import Init

Stage = Literal["sft", "rft", "rl"]
TrackerName = Literal["jsonl", "tensorboard", "wandb"]
Process = Literal["style", "reuse", "coupling", "size", "parallelism", "commands", "tool_errors", "tokens"]
Intermediate = Literal["hidden", "checks", "compile", "lint", "edit"]
Sign = Literal["tests", "outside", "history", "exit", "background", "jump", "collapse"]


def _at(default: Any, text: str, **bounds: Any) -> Any:
    """A field with its default, its bounds (ge, gt, le, lt) and the one line that `describe` prints."""
    return Field(default, description=text, **bounds)


class Section(BaseModel):
    """Frozen and strict: no unknown key, no silent conversion of a text to a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Run(Section):
    """What is done, where it is kept, and what watches it."""

    seed: int = _at(0, "seed of everything that is drawn by chance", ge=0)
    dir: str = _at("runs/latest", "folder of the run", min_length=1)
    stages: Annotated[tuple[Stage, ...], Strict(False)] = _at(("rft", "rl"), "stages, in order", min_length=1)
    trackers: Annotated[tuple[TrackerName, ...], Strict(False)] = _at(("jsonl", "tensorboard"), "where metrics go")
    wandb_project: str = _at("repodojo", "Weights & Biases project")
    keep_checkpoints: int = _at(2, "checkpoints kept, counted from the newest", ge=1)

    @field_validator("stages", "trackers")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("names a thing twice")
        return names


class Model(Section):
    """The policy that is trained."""

    path: str = _at("", "checkpoint folder; empty means the base that ships with the package")
    dtype: Literal["float32", "bfloat16"] = _at("float32", "number format of the weights")
    device: Device = _at("cpu", "where learner and engines compute; workers take a machine's GPUs in turn")
    token_budget: int = _at(8192, "tokens the learner computes at a time, the bound on its memory", ge=1)
    recompute: bool = _at(False, "gradient checkpointing: the learner needs less memory and a third more computing")


class Tasks(Section):
    """The exercises."""

    store: str = _at("", "folder of a task set; empty lets the command choose")
    split: Literal["train", "dev", "held-out"] = _at("train", "split to train on")
    limit: int = _at(0, "tasks used at most; 0 means all", ge=0)
    weights: str = _at("", "file of task weights (feedback import): how often each is drawn; empty: all alike")
    max_prompt_tokens: int = _at(640, "tasks with a longer first prompt are left out (tokens)", ge=1)
    sampling: Literal["epochs", "difficulty"] = _at(
        "epochs", "which task RL plays next: each once an epoch, or those whose groups are likely to hold a signal"
    )
    sampling_floor: float = _at(0.1, "share of the draws that are uniform, so that no task is forgotten", ge=0, le=1)


class Agent(Section):
    """Limits of one episode, and what the agent is shown."""

    max_turns: int = _at(8, "turns an episode", ge=1)
    max_tokens: int = _at(96, "sampled tokens a turn", ge=1)
    max_context: int = _at(1024, "tokens of the whole conversation", ge=16)
    max_seconds: float = _at(60.0, "wall-clock an episode (seconds)", gt=0)
    confidence: bool = _at(False, "submit takes the probability that the work is right (see recipe.confidence)")
    context: Literal["none", "focus"] = _at("focus", "what is retrieved into the prompt: nothing, or the focus code")
    command: str = _at("", "command that is the agent, instead of the built-in one (see docs/gateway.md)")
    preload: Annotated[tuple[str, ...], Strict(False)] = _at(
        (), "modules that the command's Python loads once; every episode is then a fork of it"
    )
    sources: Annotated[tuple[Source, ...], Strict(False)] = _at((), "knowledge of the project that the agent gets")
    memory: str = _at("", "file of the notes of agent.sources = memory; empty: memory.db in run.dir")
    observation_chars: int = _at(400, "characters of one tool's output; of longer ones head and tail are kept", ge=40)
    tool_chars: dict[str, int] = _at({}, "other bounds than agent.observation_chars, by tool")
    mcp: Annotated[tuple[McpServer, ...], Strict(False)] = _at((), "MCP servers whose tools the agent has, too")
    keep_rest: bool = _at(False, "let the agent read what was left out of long outputs (a tool more)")
    show_budget: bool = _at(False, "tell the agent after each turn how much context and how many turns are left")
    parallel_calls: int = _at(4, "calls of one turn that may run at the same time where all only look", ge=1)
    memo_tests: bool = _at(True, "reuse the verdict of a test run on identical files")


class Context(Section):
    """What becomes of conversations that grow long (see docs/context.md)."""

    condense_at: float = _at(
        0.0,
        "share of agent.max_context from which older turns give way to a digest, in a new branch; 0: never",
        ge=0,
        lt=1,
    )
    keep_turns: int = _at(2, "newest turns that stay as they are when older ones are condensed", ge=1)


class Sandbox(Section):
    """Limits of one box."""

    seconds: float = _at(10.0, "wall-clock a command (seconds)", gt=0)
    memory_mb: int = _at(512, "memory a box (MiB)", ge=16)
    processes: int = _at(64, "processes a box", ge=1)
    disk_mb: int = _at(64, "disk a box may write (MiB)", ge=1)
    init: Init = _at("auto", "pid 1 of boxes: auto is c where this machine can compile it")
    prepared: int = _at(0, "unused boxes that a worker holds ready, so that nobody waits for one; 0: none", ge=0)
    allow_unisolated: bool = _at(False, "go on where this machine cannot isolate the code that runs")


class Reward(Section):
    """What is paid. Without any of it: 1 where the task's tests pass, else 0 (see rewards.formula)."""

    checks: Annotated[tuple[Check, ...], Strict(False)] = _at((), "commands that must do what is said of them, too")
    tokens_target: int = _at(1000, "sampled tokens an episode up to which the process score tokens is 1", gt=0)
    weights: dict[str, float] = _at({}, "process scores that a solved task is paid beyond 1, by weight")
    gates: dict[str, float] = _at({}, "process scores below which a solved task is paid nothing beyond 1")
    cap: float = _at(0.3, "most that all process scores together pay", gt=0)
    partial: dict[str, float] = _at({}, "intermediate scores that an unsolved task is paid, by weight")
    outliers: float = _at(
        0.0, "share of rewards of RL replaced by chance, to see how an algorithm bears it", ge=0, lt=1
    )
    partial_cap: float = _at(0.5, "most that an unsolved task is paid", gt=0, lt=1)

    @field_validator("weights", "gates", "partial")
    @classmethod
    def _known_and_working(cls, parts: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        known = get_args(Intermediate if info.field_name == "partial" else Process)
        for name, weight in parts.items():
            if name not in known:
                nearest = process.extractOne(name, known, scorer=fuzz.ratio)[0]
                raise ValueError(f"unknown part {name!r}, did you mean {nearest!r}?")
            if not 0 < weight <= (1 if info.field_name == "gates" else weight):
                raise ValueError(f"{name} = {weight:g} would do nothing or never hold: give more than 0, gates up to 1")
        if "checks" in parts and not info.data.get("checks"):
            raise ValueError("checks would do nothing: there are no reward.checks")
        return parts


class Monitor(Section):
    """What watches the episodes of training for signs of cheating, and what it does about them."""

    enabled: bool = _at(True, "watch every episode of training")
    signs: Annotated[tuple[Sign, ...], Strict(False)] = _at(get_args(Sign), "what is looked for", min_length=1)
    withhold: bool = _at(True, "withhold the reward of suspicious episodes; false only reports them")
    window: int = _at(6, "steps that a jump or a collapse is told against", ge=3)
    jump: float = _at(0.35, "rise of the mean reward over the window's that is too sudden", gt=0)
    collapse: float = _at(0.8, "share of the window's tests run an episode whose loss is a collapse", gt=0, le=1)
    release: Literal["person", "held-out"] = _at(
        "held-out", "who ends a jump's or a collapse's quarantine: a person, or also a held-out check that rose too"
    )


class Attacker(Section):
    """A policy that looks for exploits: paid by the configured reward without solving (see rewards.attacker)."""

    enabled: bool = _at(False, "train an attacker of the reward instead of a solver")
    finds: str = _at("", "folder of what it finds; empty: STORE.finds beside the task set, which `audit` replays")


class Rollout(Section):
    """How episodes are scheduled."""

    workers: int = _at(1, "processes that sample episodes", ge=1)
    concurrency: int = _at(64, "episodes in flight at once, over all workers", ge=1)
    group_size: int = _at(8, "episodes of one task that are compared with each other; one alone has no baseline", ge=2)
    kv_mb: int = _at(0, "memory a worker's engine may use for kept keys and values (MiB); 0: as much as needed", ge=0)
    kv_after_publish: Literal["rebuild", "keep"] = _at(
        "rebuild", "keys and values of old weights in episodes in flight: computed anew, or kept at inexact log-probs"
    )
    attention: Attention = _at(
        "auto",
        "attention in generation by the C kernel, by torch, or by C where it compiles and suits the model",
    )
    lent_threads: int = _at(0, "threads more, over all workers, while the learner waits for episodes; 0: none", ge=0)
    temperature: float = _at(1.0, "sampling temperature of training episodes", gt=0)
    prefixes: bool = _at(
        False, "groups of tasks nearly always failed (or solved) begin with turns of an earlier success (or failure)"
    )
    prefix_skew: float = _at(
        0.25, "share solved below which, or above 1 - which, a task's groups begin so", gt=0, lt=0.5
    )
    max_staleness: int = _at(0, "policy versions an episode may lag behind; 0 is synchronous", ge=0)
    take: Literal["asked", "finished"] = _at(
        "asked", "which group a step takes next: the oldest, or the first complete"
    )
    publish: Literal["in-flight", "drained"] = _at(
        "in-flight", "when new weights are loaded: in the middle of episodes, or once those in progress are over"
    )
    spread: Literal["group", "member"] = _at(
        "group", "what goes to one worker: a whole group, whose prompt is computed once, or each member by load"
    )
    redundancy: int = _at(0, "episodes started beyond group_size; a group is complete with group_size of them", ge=0)
    finish: Literal["first", "stratified"] = _at(
        "first", "which make the group: the first to finish (short ones are favoured), or no rank more than another"
    )
    deadline: float = _at(0.0, "seconds after which an episode is cancelled and tried again; 0: none", ge=0)
    retries: int = _at(2, "attempts after an outage before the episode is given up", ge=0)
    retry_share: float = _at(0.5, "most attempts after outages in all, as a share of the episodes asked for", ge=0)
    engine: Literal["builtin", "vllm", "sglang"] = _at(
        "builtin", "what samples: an engine in each worker, or servers that run already (see docs/engine.md)"
    )
    engine_urls: Annotated[tuple[str, ...], Strict(False)] = _at(
        (), "base URLs of the servers; worker n asks number n modulo their count"
    )
    engine_model: str = _at("", "name that vLLM serves the model under; empty: the first that it names")
    engine_key_file: str = _at("", "file with the key that the servers want; empty: they want none")
    engine_weights: str = _at(
        "", "folder for new weights that the servers see under this path; empty: a temporary one of this machine"
    )

    @field_validator("engine_urls")
    @classmethod
    def _web(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{url!r} is no http:// or https:// URL")
        if len(set(urls)) < len(urls):
            raise ValueError("names a server twice")
        return urls


class Sft(Section):
    """Supervised fine-tuning on the answers that tasks hold themselves; code edits alone hold one."""

    epochs: int = _at(1, "passes over the answers", ge=1)
    learning_rate: float = _at(1e-3, "peak learning rate, cosine after the warm-up", gt=0)
    batch_tokens: int = _at(8192, "tokens an optimiser step", ge=1)
    warmup: int = _at(20, "optimiser steps of linear warm-up", ge=0)


class Rft(Section):
    """Rejection fine-tuning: sample, keep what passes, imitate it."""

    tasks: int = _at(400, "tasks sampled", ge=1)
    attempts: int = _at(8, "episodes a task", ge=1)
    keep_per_task: int = _at(2, "passing episodes kept a task", ge=1)
    epochs: int = _at(2, "passes over what was kept", ge=1)
    learning_rate: float = _at(5e-4, "peak learning rate, cosine after the warm-up", gt=0)
    batch_tokens: int = _at(8192, "tokens an optimiser step", ge=1)
    batch_size: int = _at(0, "episodes an optimiser step at most; 0: rft.batch_tokens alone decides", ge=0)
    warmup: int = _at(10, "optimiser steps of linear warm-up", ge=0)
    mask_format_errors: bool = _at(True, "leave turns with a malformed call out of the loss")
    mask_tool_errors: bool = _at(True, "leave turns out of the loss in which a tool refused a call")


class Rl(Section):
    """Reinforcement learning by a recipe; what is None (not given) is as the recipe has it."""

    recipe: str = _at("grpo_pp", "named composition of advantage, loss and filters", min_length=1)
    steps: int = _at(40, "optimisation steps (batches)", ge=0)
    groups_per_step: int = _at(16, "groups with signal a step", ge=1)
    learning_rate: float = _at(3e-4, "learning rate, constant after three steps of warm-up", gt=0)
    weight_decay: float = _at(0.0, "decoupled weight decay", ge=0)
    grad_clip: float = _at(1.0, "bound on the norm of the gradient", gt=0)
    clip_low: float | None = _at(None, "the probability ratio is clipped below at 1 - clip_low", ge=0, le=1)
    clip_high: float | None = _at(None, "the probability ratio is clipped above at 1 + clip_high", ge=0)
    minibatches: int = _at(2, "optimiser steps a batch is split into", ge=1)
    minibatch_size: int = _at(0, "trajectories an optimiser step, instead of rl.minibatches; 0: not used", ge=0)
    max_refills: int = _at(2, "rounds of new groups for those dropped without signal", ge=0)
    overlong: Literal["penalise", "mask", "drop"] | None = _at(
        None, "episodes cut off by a limit: lower their reward, mask their loss, or drop them before grouping"
    )
    mismatch_alarm: float = _at(
        0.05, "mean difference of rollout's and learner's log-probs above which the run warns (nats)", gt=0
    )
    eval_every: int = _at(0, "steps between evaluations on eval.split; 0: none while it trains", ge=0)


class Replay(Section):
    """The trajectory cache: episodes of earlier steps that RL learns from again."""

    capacity: int = _at(0, "samples that are kept; 0: none, every episode is learned from once", ge=0)
    oldest: int = _at(4, "policy versions after which a kept sample is not drawn any more", ge=0)
    sharpness: float = _at(0.6, "how much more often samples of large advantage are drawn; 0: all alike", ge=0)
    decay: float = _at(0.5, "factor on a sample's priority for each policy version of its age", gt=0, le=1)


class Eval(Section):
    """How the result is measured."""

    tasks: int = _at(200, "tasks measured", ge=1)
    attempts: int = _at(8, "episodes a task", ge=1)
    split: Literal["train", "dev", "held-out"] = _at("held-out", "split to measure on")
