"""What a configuration amounts to, before anything runs: batch arithmetic, derived values, memory, time, warnings."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from repodojo.algorithms.recipe import idle_part
from repodojo.core.editing import is_edit
from repodojo.core.errors import CheckpointError
from repodojo.inference import checkpoint
from repodojo.inference.architecture import Architecture
from repodojo.inference.published import PUBLISHED
from repodojo.tasks.store import TaskStore
from repodojo.train import estimates, setup
from repodojo.train.config import Config
from repodojo.train.estimates import Load, Machine
from repodojo.train.idle import recipe_of
from repodojo.train.stages import Span, spans

BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Line:
    """A value, its unit ("" for a count or a name), and how it comes about."""

    value: Any
    unit: str = ""
    how: str = ""


@dataclass(frozen=True)
class Plan:
    """Sections of named lines, and what a person should know before starting."""

    sections: dict[str, dict[str, Line]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def values(self) -> dict[str, Any]:
        """Plain numbers and names, for JSON."""
        plain = {title: {name: line.value for name, line in lines.items()} for title, lines in self.sections.items()}
        return plain | {"warnings": list(self.warnings)}


def plan(config: Config, machine: Machine) -> Plan:
    """The plan of a run; CheckpointError where its model is neither a folder nor a published size."""
    a = architecture_of(config)
    sections = {"model": _model(config, a), "rollout": _rollout(config)}
    if "sft" in config.run.stages:
        sections["sft"] = _sft(config)
    if "rft" in config.run.stages:
        sections["rft"] = _rft(config)
    if "rl" not in config.run.stages:
        return Plan(sections, tuple(warnings_of(config)))
    found: list[str] = []
    if config.rollout.engine == "vllm" and a.tied:
        found.append("vLLM for CPUs never renews a tied output head: serve such a model on a GPU, or untie it")
    for span in spans(config):
        parts = {"recipe": _recipe(span.config), "batch": _batch(span.config)}
        parts |= {"memory": _memory(span.config, a, machine), "time": _time(span.config, a, machine)}
        if span.name:
            parts = {f"{title} ({span.name})": lines for title, lines in {**_stage(span), **parts}.items()}
        sections |= parts
        found += warnings_of(span.config)
    return Plan(sections, tuple(dict.fromkeys(found)))


def _stage(span: Span) -> dict[str, dict[str, Line]]:
    """What a stage plays, and where it stands in the run."""
    lines = {"steps": Line(f"{span.first} to {span.end - 1}", "", "of all of RL"), **_rollout(span.config)}
    if span.yarn is not None:
        lines["yarn"] = Line(span.yarn, "", "factor, for learner and engine alike, from this stage or an earlier one")
    if span.refresh:
        lines["refresh"] = Line(True, "", "tasks solved in 2/3 of all attempts so far, or never, are left out")
    return {"rollout": lines}


def architecture_of(config: Config) -> Architecture:
    """Of the model folder, or of a published model that is not here."""
    path = setup.model_path(config)
    if (path / "config.json").is_file() or config.model.path not in PUBLISHED:
        try:
            return checkpoint.architecture(path)
        except CheckpointError as error:
            known = f"{error.way_out}; sizes are known of {', '.join(PUBLISHED)}"
            raise CheckpointError(error.cause, way_out=known) from None
    return PUBLISHED[config.model.path]


def load_of(config: Config) -> Load:
    """What a step asks for where every episode fills its context and every group has signal."""
    agent = config.agent
    sampled = min(agent.max_turns * agent.max_tokens, agent.max_context)
    episodes = config.rl.groups_per_step * config.rollout.group_size
    return Load(episodes, sampled, agent.max_context, min(config.rollout.concurrency, episodes))


def optimiser_steps(config: Config, episodes: int) -> int:
    """Of one batch."""
    size = config.rl.minibatch_size
    return math.ceil(episodes / size) if size else min(config.rl.minibatches, config.rl.groups_per_step)


def warnings_of(config: Config) -> list[str]:
    """What is allowed and probably not meant."""
    found: list[str] = []
    if "rl" not in config.run.stages:
        return found
    recipe, rollout = recipe_of(config), config.rollout
    if recipe.advantage == "gapo" and not _pays_by_degree(config):
        found.append(
            "GAPO is for continuous rewards: where tests pay 0 or 1, all successes or all failures of a group get 0"
        )
    if rollout.temperature != 1.0:
        found.append(f"the learner's log-probs are at temperature 1, episodes are sampled at {rollout.temperature}")
        if rollout.engine == "vllm":
            found.append("vLLM tells log-probs at temperature 1 unless it runs with --logprobs-mode processed_logprobs")
    if rollout.max_staleness > 2 and not recipe.correction:
        found.append(f"episodes may be {rollout.max_staleness} versions old and no recipe.correction weighs them")
    if recipe.drop_no_signal and not config.rl.max_refills:
        found.append("groups without signal are dropped and not replaced (rl.max_refills = 0): batches will vary")
    if recipe.l_max is not None and recipe.l_max != config.agent.max_context:
        found.append(
            f"recipe.l_max is {recipe.l_max:g}, agent.max_context {config.agent.max_context}: this scales the loss"
        )
    return found


def _pays_by_degree(config: Config) -> bool:
    """Whether rewards are more than 0 and 1, as far as that is known: intermediate scores, outliers, or code edits."""
    if config.reward.partial or config.reward.outliers:
        return True
    store = Path(config.tasks.store)
    if not config.tasks.store or not store.is_dir():
        return False
    tasks = TaskStore(store).tasks(config.tasks.split)
    return bool(tasks) and all(map(is_edit, tasks))


# ---------------------------------------------------------------- sections


def _model(config: Config, a: Architecture) -> dict[str, Line]:
    return {
        "path": Line(config.model.path or "the base that ships with the package"),
        "parameters": Line(a.parameters(), how="from config.json"),
        "layers": Line(a.layers),
        "kv_bytes_per_token": Line(
            estimates.kv_bytes(a, BYTES[config.model.dtype]), "bytes", "2 * layers * kv_heads * head_dim * bytes"
        ),
        "positions": Line(a.max_positions, "tokens", f"rope scaling: {dict(a.rope_scaling) or 'none'}"),
    }


def _rollout(config: Config) -> dict[str, Line]:
    agent, rollout = config.agent, config.rollout
    sampled = min(agent.max_turns * agent.max_tokens, agent.max_context)
    found = {
        "context": Line(agent.max_context, "tokens", "agent.max_context"),
        "turns_at_most": Line(agent.max_turns, "", "agent.max_turns"),
        "sampled_tokens_at_most": Line(sampled, "tokens", "min(max_turns * max_tokens, max_context)"),
        "episodes_at_once": Line(rollout.concurrency, "", f"over {rollout.workers} workers"),
        "engine": Line(rollout.engine, "", ", ".join(rollout.engine_urls) or "one in each worker"),
        "sampling": Line(f"temperature {rollout.temperature:g}", "", "top_p, top_k, min_p and penalties do not exist"),
        "staleness_at_most": Line(rollout.max_staleness, "versions", "0 is synchronous"),
    }
    store = Path(config.tasks.store)
    if config.tasks.store and store.is_dir():
        tasks = len(TaskStore(store).tasks(config.tasks.split))
        limit = config.tasks.limit
        found["tasks"] = Line(
            min(tasks, limit) if limit else tasks, "", f"split {config.tasks.split}, before the prompt limit"
        )
    return found


def _sft(config: Config) -> dict[str, Line]:
    sft = config.sft
    return {
        "batch": Line(sft.batch_tokens, "tokens", "of one optimiser step"),
        "epochs": Line(sft.epochs),
        "learning_rate": Line(sft.learning_rate, "", f"cosine after {sft.warmup} steps of warm-up"),
    }


def _rft(config: Config) -> dict[str, Line]:
    rft = config.rft
    most = min(rft.keep_per_task, rft.attempts) * rft.tasks
    return {
        "episodes": Line(rft.tasks * rft.attempts, "", "rft.tasks * rft.attempts"),
        "kept_at_most": Line(most, "", "tasks * min(keep_per_task, attempts)"),
        "batch": Line(
            rft.batch_size or rft.batch_tokens, "episodes" if rft.batch_size else "tokens", "of one optimiser step"
        ),
        "epochs": Line(rft.epochs),
        "learning_rate": Line(rft.learning_rate, "", f"cosine after {rft.warmup} steps of warm-up"),
    }


def _recipe(config: Config) -> dict[str, Line]:
    """Every part, the derived ones with what they come from."""
    derived = {"turn_limit": "agent.max_turns", "overlong_limit": "agent.max_context"}
    if config.recipe.overlong_cache is None:
        derived["overlong_cache"] = "a fifth of agent.max_context"
    recipe = recipe_of(config)
    parts = {name: v for name, v in asdict(recipe).items() if v not in (None, "") and not idle_part(recipe, name)}
    return {name: Line(value, "", derived.get(name, "")) for name, value in parts.items()}


def _batch(config: Config) -> dict[str, Line]:
    rl, load = config.rl, load_of(config)
    steps = optimiser_steps(config, load.episodes)
    refills = rl.max_refills if recipe_of(config).drop_no_signal else 0
    found = {
        "groups_per_step": Line(rl.groups_per_step, "", "rl.groups_per_step"),
        "group_size": Line(config.rollout.group_size, "", "rollout.group_size"),
        "episodes_per_step": Line(load.episodes, "", "groups_per_step * group_size"),
        "episodes_per_step_at_most": Line(load.episodes * (1 + refills), "", f"with {refills} rounds of refills"),
        "optimiser_steps_per_step": Line(steps, "", "rl.minibatches, or episodes / rl.minibatch_size"),
        "episodes_per_optimiser_step": Line(load.episodes / steps, "", "episodes_per_step / optimiser_steps_per_step"),
        "tokens_per_step_at_most": Line(load.episodes * load.context, "tokens", "episodes * context"),
        "steps": Line(rl.steps, "", "rl.steps"),
        "optimiser_steps": Line(rl.steps * steps),
        "episodes": Line(rl.steps * load.episodes, "", "without refills"),
        "tokens_at_most": Line(rl.steps * load.episodes * load.context, "tokens", "without refills"),
        "learning_rate": Line(rl.learning_rate, "", f"constant after {min(3, rl.steps)} steps of warm-up"),
        "weight_decay": Line(rl.weight_decay),
        "grad_clip": Line(rl.grad_clip),
    }
    tasks = _rollout(config).get("tasks")
    if tasks is not None and tasks.value:
        found["passes_over_the_tasks"] = Line(rl.steps * rl.groups_per_step / tasks.value, "", "steps * groups / tasks")
    return found


def _memory(config: Config, a: Architecture, m: Machine) -> dict[str, Line]:
    number, servers = BYTES[config.model.dtype], len(config.rollout.engine_urls)
    copies = servers or config.rollout.workers
    found = estimates.memory(
        a, load_of(config), rollout_bytes=number, copies=copies, reference=bool(recipe_of(config).kl)
    )
    how = {
        "learner_activations": f"{max(estimates.ROWS, config.agent.max_context)} rows, nothing recomputed",
        "rollout_weights": f"{copies} {'servers' if servers else 'workers'}, {config.model.dtype}",
        "rollout_kv": f"{load_of(config).at_once} full contexts",
        "total": f"{found['total'] / m.count / m.memory:.0%} of {m.count} x {m.name} if spread evenly",
    }
    return {name: Line(value, "bytes", how.get(name, "")) for name, value in found.items()}


def _time(config: Config, a: Architecture, m: Machine) -> dict[str, Line]:
    found = estimates.seconds(a, load_of(config), m, number=BYTES[config.model.dtype])
    fits = found.pop("episodes_at_once")
    lines = {f"{name}_seconds": Line(value, "seconds") for name, value in found.items()}
    run = found["step"] * config.rl.steps
    return lines | {
        "run_seconds": Line(run, "seconds", "steps * step; no tools, tests or refills"),
        "episodes_at_once": Line(fits, "", "rollout.concurrency, or what fits beside the weights, contexts half full"),
        "machine": Line(f"{m.count} x {m.name}"),
        "flops": Line(m.flops * m.compute_share, "a second", f"{m.compute_share:.0%} of the peak of each device"),
        "bandwidth": Line(m.bandwidth * m.bandwidth_share, "bytes a second", f"{m.bandwidth_share:.0%} of the peak"),
    }
