"""Shared mechanisms: alike scores high, opposed and unrelated score nothing, and the reasons say why."""

import itertools

import pytest

from haystack.contracts import Perturbation
from haystack.knowledge import perturbations, resolve_perturbation, shared_mechanism


def score(first, second):
    return shared_mechanism(resolve_perturbation(first), resolve_perturbation(second))[0]


@pytest.mark.parametrize(
    ("asked", "nearer", "farther"),
    [
        ("IFN-beta", "IFN-alpha", "IFN-lambda1"),
        ("IFN-beta", "IFN-lambda1", "IFN-gamma"),
        ("IFN-beta", "IFN-gamma", "IL-4"),
        ("IL-2", "IL-15", "IL-4"),
        ("IL-4", "IL-13", "IL-6"),
        ("TNF-alpha", "IL-1-beta", "IL-4"),
        ("IL-17A", "IL-17F", "TNF-alpha"),
        ("TGF-beta1", "activin A", "BMP4"),
        ("dexamethasone", "prednisolone", "ibrutinib"),
        ("ibrutinib", "tamatinib", "vorinostat"),
        ("LPS", "Pam3CSK4", "dexamethasone"),
        ("vorinostat", "belinostat", "bortezomib"),
    ],
)
def test_nearer_in_biology_is_nearer_in_score(asked, nearer, farther):
    assert score(asked, nearer) > score(asked, farther)


def test_opposed_perturbations_share_nothing():
    assert score("IFN-beta", "ruxolitinib") == 0
    assert score("TNF-alpha", "infliximab") < 0.1
    assert score("STAT1 knock-out", "STAT1 overexpression") < score("STAT1 knock-out", "STAT1 knock-down")


def test_scores_are_symmetric_and_bounded():
    some = perturbations()[::17]
    for first, second in itertools.combinations(some, 2):
        one, other = shared_mechanism(first, second), shared_mechanism(second, first)
        assert one[0] == pytest.approx(other[0])
        assert 0 <= one[0] <= 1
        assert (one[0] == 0) == one[1].startswith(("no shared", "nothing is known"))


def test_reasons_name_what_is_shared():
    _, why = shared_mechanism(resolve_perturbation("IL-2"), resolve_perturbation("IL-15"))
    assert "shared receptors: IL2RB, IL2RG" in why
    assert "STAT5A" in why
    nothing = Perturbation(query="x", name="x")
    assert shared_mechanism(nothing, Perturbation(query="y", name="y"))[0] == 0
    assert shared_mechanism(nothing, nothing) == (1.0, "the same perturbation")


def test_a_gene_that_is_gained_is_not_inhibited():
    """Both act on the same molecule, in opposite directions."""
    assert score("JAK1 knock-out", "ruxolitinib") > 0
    assert score("JAK1 overexpression", "ruxolitinib") == 0
    assert score("BTK overexpression", "ibrutinib") == 0 < score("BTK knock-down", "ibrutinib")
