"""Choose the prompt that an iteration reports, and whether to pool prompts, by expected accuracy or closeness."""

from __future__ import annotations

from collections.abc import Sequence

from haystack.contracts import Prompt, PromptGrounding, Prompts
from haystack.grounding.confidence import lowest
from haystack.grounding.measured import contexts_shown
from haystack.grounding.support import Measurements

GAIN = 0.05
"""gain in expected r required over the nearest prompt, and of a pool over its best member"""


def best_prompt(found: Sequence[PromptGrounding], prompts: Prompts) -> PromptGrounding | None:
    """The prompt that an iteration reports; None if none was scored.

    The prompt nearest to the question (the earliest of equals), unless another one is `better`. Without classes
    (profile `specification`, questions without a perturbation) the one with the highest composite_value.
    """
    rated = [item for item in found if item.composite_value is not None]
    if not rated:
        return None
    if not any(item.confidence for item in rated):
        return max(rated, key=lambda item: (item.composite_value or 0, -found.index(item)))
    relevance = {prompt.prompt_id: prompt.relevance for prompt in prompts.prompts}
    nearest, *others = sorted(rated, key=lambda item: (-relevance[item.prompt_id], found.index(item)))
    able = [item for item in others if better(item, nearest)]
    return max(able, key=_order, default=nearest)


def better(one: PromptGrounding, other: PromptGrounding) -> bool:
    """Whether a prompt is preferred to a nearer or earlier one.

    Its expected r is higher by GAIN, or a finding caps only the other one at low. A stronger response is not a better
    prompt.
    """
    if _sound(one) != _sound(other):
        return _sound(one)
    if one.expected_r is None or other.expected_r is None:
        return False
    return one.expected_r >= other.expected_r + GAIN


def _sound(item: PromptGrounding) -> bool:
    worst = lowest(item.findings)
    return worst is None or worst.cap != "low"


def _order(item: PromptGrounding) -> tuple[bool, float]:
    return _sound(item), -1.0 if item.expected_r is None else item.expected_r


def estimated(found: Sequence[PromptGrounding]) -> bool:
    """Whether prompts can be ranked: by an expected accuracy, or by composite where there are no classes."""
    return any(item.expected_r is not None or item.confidence is None for item in found)


def pool_is_better(measured: Measurements | None, members: Sequence[Prompt]) -> bool:
    """Whether the mean of all members is expected to be more accurate than the best member.

    Each context is predicted from the members that are independent of it. Without an estimate, False.
    """
    if measured is None or len(members) < 2:
        return False
    own = [contexts_shown(measured, prompt) for prompt in members]
    single = [value for rows in own if (value := measured.expected_of(rows)) is not None]
    together = measured.expected_of(sorted({row for rows in own for row in rows}))
    return bool(single) and together is not None and together >= max(single) + GAIN
