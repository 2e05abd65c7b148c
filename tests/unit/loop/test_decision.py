"""The decision: when to stop, why, and which iteration is the answer."""

import pytest

from haystack.config import Settings
from haystack.contracts import Grounding, PromptGrounding, Refinement
from haystack.loop import decide


def grounding(iteration, value):
    return Grounding(
        run_id="r",
        iteration=iteration,
        prompts=[],
        best_prompt_id=f"p{iteration}",
        composite_value=value,
        refinement=Refinement(sentence=f"after {iteration}"),
    )


def after(*values, n_untried=5, **settings):
    return decide([grounding(i, v) for i, v in enumerate(values, 1)], n_untried, Settings(**settings))


@pytest.mark.parametrize(
    ("values", "settings", "reason"),
    [
        ((7.2,), {}, "threshold_reached"),
        ((6.4,), {}, None),
        ((3.0, 3.5), {}, None),
        ((3.0, 3.5, 3.9), {}, "plateau"),
        ((3.0, 3.5, 4.0), {}, None),
        ((3.0, 5.0, 5.1, 5.2), {}, "plateau"),
        ((3.0, 4.5, 3.0, 5.0), {}, "plateau"),
        ((3.0, 4.5, 3.0, 5.5), {}, None),
        ((2.0, 3.5, 5.0, 6.0, 6.2), {"score_threshold": 9}, "max_iterations"),
        ((2.0,), {"max_iterations": 1}, "max_iterations"),
        ((7.0,), {"max_iterations": 1}, "threshold_reached"),
        ((2.0, 2.0), {"plateau_window": 2}, "plateau"),
        ((None, None, None), {}, "plateau"),
        ((None,), {}, None),
        # What could not be scored counts as the lowest composite, 1.
        ((None, 1.5, 1.9), {}, "plateau"),
        ((None, 1.5, 2.0), {}, None),
    ],
)
def test_reason(values, settings, reason):
    decision = after(*values, **settings)
    assert decision.reason == reason
    assert decision.continue_ is (reason is None)


def test_no_cells_left_ends_the_loop():
    assert after(3.0, n_untried=0).reason == "candidates_exhausted"


def test_answer_is_the_best_iteration_not_the_last_and_the_first_of_equals():
    decision = after(4.0, 6.0, 6.0, 5.0, score_threshold=10)
    assert (decision.best_iteration, decision.best_prompt_id) == (2, "p2")
    assert decision.refinement.sentence == "after 4"


def test_a_later_iteration_must_be_expected_to_be_more_accurate():
    def expecting(iteration, value, expected_r):
        prompt = PromptGrounding(
            prompt_id=f"p{iteration}", components={}, weights={}, composite_value=value, expected_r=expected_r,
            confidence="medium", control_strategy="synthetic_control", n_de=1, n_up=1, n_down=0,
        )  # fmt: skip
        return grounding(iteration, value).model_copy(update={"prompts": [prompt]})

    settings = Settings(max_iterations=2)
    first = expecting(1, 6.5, 0.50)
    stays = decide([first, expecting(2, 7.5, 0.53)], 5, settings)
    assert (stays.best_iteration, stays.reason) == (1, "max_iterations")  # the answer has not reached the threshold
    gains = decide([first, expecting(2, 7.5, 0.6)], 5, settings)
    assert (gains.best_iteration, gains.reason) == (2, "threshold_reached")


def test_threshold_reads_the_value_and_a_missing_value_never_reaches_it():
    settings = Settings(score_threshold=7)
    assert decide([grounding(1, 6.9)], 5, settings).reason is None
    assert decide([grounding(1, 6.5)], 5, Settings(score_threshold=6.5)).reason == "threshold_reached"
    assert decide([grounding(1, None)], 5, settings).best_iteration is None


def test_a_cancelled_run_ends_where_it_would_go_on():
    first = [grounding(1, 3.0)]
    assert decide(first, 5, Settings(), cancelled=True).reason == "cancelled"
    assert decide([grounding(1, 7.2)], 5, Settings(), cancelled=True).reason == "threshold_reached"


def test_a_new_pool_is_worth_an_iteration_when_nothing_is_untried():
    def pooled(iteration, *sets):
        made = grounding(iteration, 3.0 + iteration)
        return made.model_copy(update={"refinement": Refinement(sentence="pool", pool=list(sets))})

    assert decide([pooled(1)], 0, Settings()).reason == "candidates_exhausted"
    assert decide([pooled(1, "a", "b")], 0, Settings()).reason is None
    assert decide([pooled(1, "a", "b"), pooled(2, "b", "a")], 0, Settings()).reason == "candidates_exhausted"
    assert decide([pooled(1, "a", "b"), pooled(2, "a", "b", "c")], 0, Settings()).reason is None


def test_it_stops_where_no_accuracy_can_be_expected():
    def told(expected_r):
        prompt = PromptGrounding(
            prompt_id="p1", components={}, weights={}, composite_value=4.0, expected_r=expected_r, confidence="low",
            control_strategy="synthetic_control", n_de=1, n_up=1, n_down=0,
        )  # fmt: skip
        return grounding(1, 4.0).model_copy(update={"prompts": [prompt]})

    assert decide([told(None)], 5, Settings()).reason == "no_estimate"
    assert decide([told(0.4)], 5, Settings()).reason is None


def test_a_later_iteration_must_gain_to_replace_the_first():
    assert after(6.0, 6.05).best_iteration == 1
    assert after(6.0, 6.2).best_iteration == 2
