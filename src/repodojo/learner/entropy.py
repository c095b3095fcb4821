"""The entropy bonus of a learner: fixed by the recipe, or adapted from batch to batch towards its target."""

from __future__ import annotations

from typing import Any

from repodojo.algorithms.entropy import EntropyBonus, adapt
from repodojo.algorithms.recipe import Recipe


class EntropyControl:
    """Holds what an adaptive bonus stands at; a recipe without entropy_target never moves it."""

    def __init__(self) -> None:
        self._bonus: EntropyBonus | None = None

    def alpha(self, recipe: Recipe) -> float:
        """The weight of the entropy in the next batch."""
        adaptive = recipe.entropy_target is not None and self._bonus is not None
        return self._bonus.applied if adaptive and self._bonus else recipe.entropy_coef

    def update(self, recipe: Recipe, metrics: dict[str, float]) -> dict[str, float]:
        """`metrics` of a batch with the weight that was used; an adaptive one moves by what the entropy was."""
        if recipe.entropy_target is None or "entropy" not in metrics:
            return metrics
        used = self.alpha(recipe)
        at = self._bonus.coefficient if self._bonus else recipe.entropy_coef
        self._bonus = adapt(at, metrics["entropy"], target=recipe.entropy_target, step=recipe.entropy_step)
        return metrics | {"entropy_coef": used}

    def state(self) -> list[float]:
        """For a checkpoint."""
        return list(self._bonus or ())

    def restore(self, state: Any) -> None:
        """As it was saved; nothing where an earlier version saved none."""
        self._bonus = EntropyBonus(*state) if state else None
