from __future__ import annotations

import numpy as np
import pytest

from haystack.config import RetrievalSettings
from haystack.errors import ConfigError
from haystack.retrieval.index import CellSetIndex
from haystack.retrieval.ranking import FEATURES, Ranker, features_of, quality


def _random(seed: int, n: int = 40):
    rng = np.random.default_rng(seed)
    relevance, rated = rng.random(n).round(2), rng.random(n).round(2)
    features = rng.integers(0, 3, (n, len(FEATURES)))
    ids = [f"cs_{i:03d}" for i in rng.permutation(n)]
    return relevance, rated, features, ids


@pytest.mark.parametrize("seed", range(5))
def test_greedy_equals_a_plain_loop(seed: int) -> None:
    relevance, rated, features, ids = _random(seed)
    shares = list(FEATURES.values())
    chosen: list[int] = []
    while len(chosen) < 10:
        best = None
        for i in range(len(ids)):
            if i in chosen:
                continue
            alike = max(
                (sum(s for s, a, b in zip(shares, features[i], features[j], strict=True) if a == b) for j in chosen),
                default=0.0,
            )
            score = round(0.5 * relevance[i] / max(relevance) + 0.3 * (1 - alike) + 0.2 * rated[i], 9)
            order = (-score, -relevance[i], ids[i])
            if best is None or order < best[0]:
                best = (order, i)
        chosen.append(best[1])
    ranker = Ranker(relevance, rated, features, ids, RetrievalSettings())
    assert [pick.position for pick in ranker.greedy(10)] == chosen


def test_only_proportions_of_the_weights_matter_and_scores_stay_in_range() -> None:
    data = _random(1)
    half = RetrievalSettings(weight_relevance=0.25, weight_diversity=0.15, weight_quality=0.1)
    picks = Ranker(*data, RetrievalSettings()).greedy(5)
    assert Ranker(*data, half).greedy(5) == picks
    assert all(0 <= pick.score <= 1 and 0 <= pick.diversity <= 1 for pick in picks)
    assert picks[0].diversity == 1


def test_weights_that_are_all_zero_are_refused() -> None:
    nothing = RetrievalSettings(weight_relevance=0, weight_diversity=0, weight_quality=0)
    with pytest.raises(ConfigError, match="weight_relevance"):
        Ranker(*_random(1), nothing)


def test_what_was_tried_makes_its_like_less_attractive(sets) -> None:
    frame = sets(
        {"id": "tried", "perturbation": "IFN-beta", "donor": "a:1"},
        {"id": "alike", "perturbation": "IFN-beta", "donor": "a:2"},
        {"id": "unlike", "type": "monocyte", "perturbation": "IFN-beta", "donor": "a:3"},
    )
    index = CellSetIndex(frame)
    vocabulary: dict = {}
    rows = [index.positions["alike"], index.positions["unlike"]]
    features = features_of([index.cell_set(row) for row in rows], vocabulary)
    ranker = Ranker(np.array([0.9, 0.8]), np.array([0.5, 0.5]), features, ["alike", "unlike"], RetrievalSettings())
    assert ranker.greedy(1)[0].position == 0
    ranker = Ranker(np.array([0.9, 0.8]), np.array([0.5, 0.5]), features, ["alike", "unlike"], RetrievalSettings())
    ranker.penalise_similar(features_of([index.cell_set(index.positions["tried"])], vocabulary)[0])
    assert ranker.greedy(1)[0].position == 1


def test_a_related_perturbation_does_not_displace_the_asked_one_for_variety(sets) -> None:
    asked = [
        {"id": f"asked{i}", "type": t, "perturbation": "TGF-beta1", "donor": f"a:{i}"}
        for i, t in enumerate(["NK", "CD8 T"])
    ]
    other = {"id": "other", "type": "monocyte", "perturbation": "vorinostat", "donor": "b:1", "atlas": "b"}
    index = CellSetIndex(sets(*asked, other))
    features = features_of([index.cell_set(row) for row in range(3)], {})
    relevance = np.array([0.35, 0.35, 0.03])  # all far from the asked cell type
    ranker = Ranker(relevance, np.full(3, 0.8), features, index.ids.tolist(), RetrievalSettings())
    assert [index.ids[pick.position] for pick in ranker.greedy(3)] == ["asked0", "asked1", "other"]


def test_quality_grows_with_cells_depth_and_control_and_leaves_out_unknown_depth() -> None:
    cells = np.array([20, 100, 500, 5000])
    nan, none, full = np.full(4, np.nan), np.zeros(4), np.ones(4)
    by_cells = quality(cells, nan, full)
    assert np.all(np.diff(by_cells) >= 0)
    assert by_cells[2] == by_cells[3] == 1
    assert np.all(quality(cells, nan, none) < by_cells)
    deep, shallow = quality(cells, np.full(4, 3000.0), full), quality(cells, np.full(4, 300.0), full)
    assert np.all(deep > shallow)
    one = quality(np.array([100]), np.array([1000.0]), np.array([0.5]))[0]
    assert one == pytest.approx(0.4 * np.log(101) / np.log(501) + 0.2 * 0.5 + 0.4 * 0.5)


@pytest.mark.parametrize(
    ("field", "other", "diversity"),
    [
        ("type", "monocyte", 0.40),
        ("donor", "a:2", 0.25),
        ("perturbation", "IL-4", 0.10),
        ("atlas", "b", 0.10),
        ("tissue", "UBERON:0002048", 0.05),
        ("disease", "MONDO:0005300", 0.05),
        ("condition", "24h", 0.05),
    ],
)
def test_what_differs_in_one_field_only_is_little_diverse(sets, field: str, other: str, diversity: float) -> None:
    same = {"perturbation": "IFN-beta", "donor": "a:1", "atlas": "a"}
    index = CellSetIndex(sets(same | {"id": "first"}, same | {"id": "second", field: other}))
    features = features_of([index.cell_set(row) for row in (0, 1)], {})
    picks = Ranker(np.array([0.9, 0.8]), np.zeros(2), features, ["first", "second"], RetrievalSettings()).greedy(2)
    assert [pick.diversity for pick in picks] == [1.0, diversity]
    assert picks[1].score == pytest.approx(0.5 * 0.8 / 0.9 + 0.3 * diversity)
