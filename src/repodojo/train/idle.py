"""Which settings would do nothing beside which others: what is idle is refused, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from repodojo.agent.kit import tool_names
from repodojo.train.recipe_parts import resolve

if TYPE_CHECKING:
    from repodojo.algorithms.recipe import Recipe
    from repodojo.train.config import Config


@dataclass(frozen=True)
class Needs:
    """Settings (dotted; `section.*` for a whole section) that do nothing unless `met` holds; `why` says what to do."""

    settings: tuple[str, ...]
    met: Callable[[Config], bool]
    why: str

    def covers(self, name: str) -> bool:
        return name in self.settings or f"{name.partition('.')[0]}.*" in self.settings


def recipe_of(config: Config) -> Recipe:
    """The recipe that rl.recipe names, with the parts that [rl] and [recipe] give; ConfigError for what cannot be.

    An attacker is paid by degree, and what is paid in part is solved by nobody: by the outcome of its episodes no such
    group would have a signal, and nothing would be learned.
    """
    recipe = resolve(config.rl, config.recipe, config.agent)
    by_degree = config.attacker.enabled and config.recipe.signal_by is None
    return replace(recipe, signal_by="score") if by_degree else recipe


def _off_policy(config: Config) -> bool:
    ahead = config.rollout.max_staleness > 0 or (config.replay.capacity > 0 and config.replay.oldest > 0)
    return config.rl.minibatch_size > 0 or config.rl.minibatches > 1 or ahead


def _watches(config: Config, sign: str) -> bool:
    return "rl" in config.run.stages and sign in config.monitor.signs


def _names_tools(config: Config) -> bool:
    """Whether agent.tool_chars speaks only of tools that the agent has (a server's: by their prefix)."""
    agent = config.agent
    names, prefixes = tool_names(agent.sources, agent.keep_rest), tuple(f"{server.name}_" for server in agent.mcp)
    return all(name in names or (prefixes and name.startswith(prefixes)) for name in agent.tool_chars)


_UNWATCHED = 'monitor.signs lacks {}, or run.stages has no "rl", which alone is watched for it'

RULES = (
    Needs(
        ("agent.context", "agent.memo_tests", "tasks.max_prompt_tokens"),
        lambda c: not c.agent.command,
        "agent.command makes its own prompts and runs its own commands",
    ),
    Needs(("sft.*",), lambda c: "sft" in c.run.stages, 'run.stages has no "sft"'),
    Needs(("context.*",), lambda c: not c.agent.command, "agent.command makes its own prompts"),
    Needs(
        ("context.keep_turns",), lambda c: c.context.condense_at > 0, "context.condense_at is 0: nothing is condensed"
    ),
    Needs(
        ("rollout.prefixes",),
        lambda c: c.context.condense_at == 0,
        "with context.condense_at the first turns of an episode may have been condensed away",
    ),
    Needs(("agent.preload",), lambda c: bool(c.agent.command), "there is no agent.command whose modules they could be"),
    Needs(("rft.*",), lambda c: "rft" in c.run.stages, 'run.stages has no "rft"'),
    Needs(("rl.*", "recipe.*"), lambda c: "rl" in c.run.stages, 'run.stages has no "rl"'),
    Needs(
        ("rollout.group_size", "rollout.max_staleness"),
        lambda c: "rl" in c.run.stages,
        'run.stages has no "rl", and only that stage compares groups or runs ahead of the learner',
    ),
    Needs(
        ("rollout.take", "rollout.publish"),
        lambda c: "rl" in c.run.stages and c.rollout.max_staleness > 0,
        "with rollout.max_staleness = 0 every group is waited for before the weights change",
    ),
    Needs(
        ("rollout.kv_after_publish",),
        lambda c: "rl" in c.run.stages and c.rollout.max_staleness > 0 and c.rollout.publish == "in-flight",
        'no episode is in flight at a publication with rollout.max_staleness = 0, with rollout.publish = "drained", '
        'or without the stage "rl"',
    ),
    Needs(
        ("rollout.kv_mb", "rollout.kv_after_publish", "rollout.lent_threads", "rollout.attention"),
        lambda c: c.rollout.engine == "builtin",
        "rollout.engine is a server, which has its own memory and threads and computes keys and values of old weights "
        "anew",
    ),
    Needs(
        ("rollout.engine_urls", "rollout.engine_key_file", "rollout.engine_weights"),
        lambda c: c.rollout.engine != "builtin",
        'rollout.engine is "builtin": there is no server',
    ),
    Needs(
        ("rollout.engine_model",),
        lambda c: c.rollout.engine == "vllm",
        'rollout.engine is not "vllm", which alone serves several names',
    ),
    Needs(
        ("rollout.attention",),
        lambda c: c.model.dtype == "float32",
        'the C kernel computes in float32, so model.dtype = "bfloat16" leaves torch alone',
    ),
    Needs(
        ("rollout.attention", "rollout.lent_threads"),
        lambda c: c.model.device == "cpu",
        "the C kernel and the learner's threads are the CPU's, and model.device is not \"cpu\"",
    ),
    Needs(
        ("rollout.lent_threads",),
        lambda c: "rl" in c.run.stages,
        'run.stages has no "rl", and in no other stage does a learner wait',
    ),
    Needs(
        ("rollout.redundancy",),
        lambda c: "rl" in c.run.stages,
        'run.stages has no "rl", and only that stage compares groups',
    ),
    Needs(
        ("tasks.sampling", "rollout.prefixes"),
        lambda c: "rl" in c.run.stages,
        'run.stages has no "rl", and only that stage looks at how hard tasks are',
    ),
    Needs(
        ("tasks.sampling_floor",),
        lambda c: c.tasks.sampling == "difficulty",
        'tasks.sampling is not "difficulty"',
    ),
    Needs(("replay.*",), lambda c: "rl" in c.run.stages, 'run.stages has no "rl", and only that stage replays'),
    Needs(
        ("replay.oldest", "replay.sharpness", "replay.decay"),
        lambda c: c.replay.capacity > 0,
        "replay.capacity is 0: nothing is kept",
    ),
    Needs(
        ("recipe.confidence", "recipe.confidence_score"),
        lambda c: c.agent.confidence,
        "agent.confidence is false: nobody states a probability",
    ),
    Needs(("rollout.prefix_skew",), lambda c: c.rollout.prefixes, "rollout.prefixes is false"),
    Needs(
        ("rollout.finish",),
        lambda c: "rl" in c.run.stages and c.rollout.redundancy > 0,
        "with rollout.redundancy = 0 every member of a group is waited for",
    ),
    Needs(
        ("rollout.retry_share",),
        lambda c: c.rollout.retries > 0,
        "with rollout.retries = 0 nothing is tried again",
    ),
    Needs(
        ("reward.gates",),
        lambda c: bool(c.reward.weights),
        "no reward.weights pay anything beyond 1 that a gate could hold back",
    ),
    Needs(("reward.outliers",), lambda c: "rl" in c.run.stages, 'run.stages has no "rl", where rewards are compared'),
    Needs(
        ("reward.tokens_target",),
        lambda c: "tokens" in {*c.reward.weights, *c.reward.gates},
        "neither reward.weights nor reward.gates has tokens",
    ),
    Needs(
        ("reward.cap",),
        lambda c: sum(c.reward.weights.values()) > c.reward.cap,
        "reward.weights together pay no more than it",
    ),
    Needs(
        ("reward.partial_cap",),
        lambda c: sum(c.reward.partial.values()) > c.reward.partial_cap,
        "reward.partial together pays no more than it",
    ),
    Needs(("attacker.finds",), lambda c: c.attacker.enabled, "attacker.enabled is false"),
    Needs(
        ("monitor.*",),
        lambda c: not c.attacker.enabled,
        "an attacker is meant to show the signs that the monitor looks for, so nothing watches it",
    ),
    Needs(
        ("monitor.signs", "monitor.withhold", "monitor.window", "monitor.jump", "monitor.collapse", "monitor.release"),
        lambda c: c.monitor.enabled,
        "monitor.enabled is false",
    ),
    Needs(("monitor.jump",), lambda c: _watches(c, "jump"), _UNWATCHED.format("jump")),
    Needs(("monitor.collapse",), lambda c: _watches(c, "collapse"), _UNWATCHED.format("collapse")),
    Needs(
        ("monitor.window",),
        lambda c: _watches(c, "jump") or _watches(c, "collapse"),
        _UNWATCHED.format("jump or collapse"),
    ),
    Needs(
        ("monitor.release",),
        lambda c: c.monitor.withhold and c.rl.eval_every > 0 and (_watches(c, "jump") or _watches(c, "collapse")),
        "it needs monitor.withhold, rl.eval_every > 0, and a jump or collapse to watch for in stage rl",
    ),
    Needs(("agent.tool_chars",), _names_tools, "it names a tool that the agent does not have"),
    Needs(("agent.memory",), lambda c: "memory" in c.agent.sources, 'agent.sources lacks "memory"'),
    Needs(("run.wandb_project",), lambda c: "wandb" in c.run.trackers, 'run.trackers lacks "wandb"'),
    Needs(
        ("rl.clip_low", "rl.clip_high", "recipe.dual_clip", "recipe.off_policy_delta"),
        _off_policy,
        "with rl.minibatches = 1 and rollout.max_staleness = 0 every probability ratio is 1, so nothing is clipped",
    ),
    Needs(("rl.minibatches",), lambda c: not c.rl.minibatch_size, "rl.minibatch_size says how many there are"),
    Needs(
        ("rl.max_refills",),
        lambda c: recipe_of(c).drop_no_signal,
        "this rl.recipe keeps groups without signal, so there is nothing to refill",
    ),
)


def idle_reason(config: Config, name: str) -> str:
    """Why the setting `name` would do nothing in this configuration; "" where it does something."""
    return next((rule.why for rule in RULES if rule.covers(name) and not rule.met(config)), "")
