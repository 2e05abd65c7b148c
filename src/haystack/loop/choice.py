"""Which prompt stands for an iteration, and whether a pool is worth one: by expected accuracy, else by nearness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from haystack.contracts import Prompt, PromptGrounding, Prompts
from haystack.grounding.support import LEAST_RELIABILITY, Measurements, correlation

GAIN = 0.02
"""expected r that a pool must gain over its best member"""


def best_prompt(found: Sequence[PromptGrounding], prompts: Prompts) -> PromptGrounding | None:
    """The prompt that stands for an iteration; None where none was scored.

    The highest composite_value. Where no accuracy can be expected of any prompt, its differences say nothing of
    accuracy, and the prompt nearest to the question stands, the earliest of equals.
    """
    rated = [item for item in found if item.composite_value is not None]
    if not rated:
        return None
    if estimated(rated):
        return max(rated, key=lambda item: (item.composite_value or 0, -found.index(item)))
    relevance = {prompt.prompt_id: prompt.relevance for prompt in prompts.prompts}
    return max(rated, key=lambda item: (relevance[item.prompt_id], -found.index(item)))


def estimated(found: Sequence[PromptGrounding]) -> bool:
    """Whether prompts can be told apart: by an expected accuracy, or as the specification has it (no class then)."""
    return any(item.expected_r is not None or item.confidence is None for item in found)


def pool_is_better(measured: Measurements | None, members: Sequence[Prompt]) -> bool:
    """Whether the mean of all members is expected to be more accurate than the best of them alone.

    Every context is predicted from those members that are independent of it. Without an estimate no pool is better.
    """
    if measured is None or len(members) < 2:
        return False
    own = [_contexts(measured, prompt) for prompt in members]
    single = [value for rows in own if (value := _expected(measured, rows)) is not None]
    together = _expected(measured, sorted({row for rows in own for row in rows}))
    return bool(single) and together is not None and together >= max(single) + GAIN


def _contexts(measured: Measurements, prompt: Prompt) -> list[int]:
    keys = {(part.cell_type_cl_id or part.cell_type_name, part.donor_id) for part in prompt.cell_sets}
    pairs = zip(measured.cell_types, measured.donors, strict=True)
    return [row for row, key in enumerate(pairs) if key in keys]


def _expected(measured: Measurements, rows: Sequence[int]) -> float | None:
    """Expected r, in the asked type, of the mean response of these contexts."""
    values, weights = [], []
    for i, reliability in enumerate(measured.reliability):
        from_ = [j for j in rows if j != i and measured.independent(i, j)]
        if not from_ or reliability < LEAST_RELIABILITY:
            continue
        mean = measured.log2fc[from_].mean(axis=0)
        r = correlation(measured.log2fc[i, measured.plain], mean[measured.plain]) / np.sqrt(reliability)
        values.append(float(np.clip(r, -1, 1)))
        weights.append(float(reliability * (0.1 + measured.closeness[i] ** 2)))
    return float(np.average(values, weights=weights)) if values else None
