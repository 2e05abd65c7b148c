from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from haystack.prompting.rows import SetRows
from haystack.prompting.sampling import generator, sample, sample_alike
from haystack.retrieval.query_cells import shares


def _cells(n: int, seed: int = 0, mean: float = 8.0) -> SetRows:
    rng = np.random.default_rng(seed)
    return SetRows(np.sort(rng.choice(10 * n, n, replace=False)), rng.lognormal(mean, 0.6, n))


def test_the_same_seed_and_words_give_the_same_cells() -> None:
    cells = _cells(500)
    one, again = (sample(cells, 40, generator(3, "prompt", "cs_1")).rows for _ in range(2))
    assert one.tolist() == again.tolist()
    assert one.tolist() != sample(cells, 40, generator(4, "prompt", "cs_1")).rows.tolist()
    assert one.tolist() != sample(cells, 40, generator(3, "query", "cs_1")).rows.tolist()
    assert one.tolist() == sorted(set(one.tolist()))


def test_a_sample_keeps_the_depth_distribution_better_than_chance() -> None:
    cells = _cells(2000)
    distance = stats.ks_2samp(sample(cells, 50, generator(0)).depth, cells.depth).statistic
    drawn = [
        stats.ks_2samp(np.random.default_rng(i).choice(cells.depth, 50, replace=False), cells.depth).statistic
        for i in range(50)
    ]
    assert distance < 0.03 < np.median(drawn)


def test_controls_follow_the_depth_of_the_prompt_cells() -> None:
    prompt = sample(_cells(300, 1, mean=8.3), 100, generator(0, "p"))
    controls = _cells(3000, 2, mean=8.0)
    matched = sample_alike(controls, prompt, 100, generator(0, "c"))
    plain = sample(controls, 100, generator(0, "c"))
    assert len(set(matched.rows.tolist())) == 100
    assert set(matched.rows.tolist()) <= set(controls.rows.tolist())
    near = stats.ks_2samp(matched.depth, prompt.depth).statistic
    assert near < 0.1 < stats.ks_2samp(plain.depth, prompt.depth).statistic


def test_where_matching_controls_run_out_others_make_up_the_number() -> None:
    prompt = SetRows(np.arange(50), np.full(50, 1000.0))
    controls = SetRows(np.arange(60), np.concatenate([np.full(5, 1000.0), np.full(55, 10.0)]))
    matched = sample_alike(controls, prompt, 20, generator(0))
    assert len(matched) == len(set(matched.rows.tolist())) == 20
    assert (matched.depth == 1000).sum() == 5


def test_without_depth_cells_are_drawn_evenly() -> None:
    cells = SetRows(np.arange(100), np.full(100, np.nan))
    counts = np.zeros(100)
    for seed in range(400):
        counts[sample(cells, 10, generator(seed)).rows] += 1
    assert stats.chisquare(counts).pvalue > 0.01


def test_small_sets_are_taken_whole() -> None:
    cells = _cells(5)
    assert sample(cells, 9, generator(0)) is cells
    assert sample_alike(cells, _cells(50), 5, generator(0)) is cells


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20), st.integers(0, 2000))
def test_shares_sum_up_and_never_exceed(sizes: list[int], n: int) -> None:
    n = min(n, sum(sizes))
    found = shares(np.array(sizes), n)
    assert found.sum() == n
    assert (found >= 0).all()
    assert (found <= np.array(sizes)).all()
    if sum(sizes):
        assert np.abs(found - np.array(sizes) * n / sum(sizes)).max() < 1 + 1e-6


def test_generators_do_not_confuse_words() -> None:
    draws = {generator(1, "ab", "c").random(), generator(1, "a", "bc").random(), generator(1, "abc").random()}
    assert len(draws) == 3
    assert generator(1, "a").random() == pytest.approx(generator(1, "a").random(), abs=0)
