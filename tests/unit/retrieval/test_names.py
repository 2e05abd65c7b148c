from __future__ import annotations

import pytest

from haystack.retrieval.hybrid import same_dataset
from haystack.retrieval.perturbations import match_names
from haystack.retrieval.question import same_donor


@pytest.mark.parametrize(
    ("asked", "synonyms", "names", "kind"),
    [
        ("IFN-β", [], ["IFN-beta"], "exact"),
        ("interferon beta", [], ["IFN-beta"], "exact"),
        ("IFNB1", ["IFN-beta"], ["IFN-beta"], "synonym"),
        ("IFNB1", [], ["IFN-beta", "IFNB1"], "synonym"),
        ("interferon", [], ["IFN-gamma"], "partial"),
        ("TNF", [], ["TNF-alpha"], "partial"),
        ("interferon", [], ["IL-6", "interferon beta-2"], None),
        ("IL-1", [], ["IL-10"], None),
        ("IL-12", [], ["IL-2"], None),
        ("anti-TNF antibody", [], ["TNF-alpha"], None),
        ("IL-1 receptor antagonist", [], ["IL-1-beta"], None),
        ("STAT1 knockout", [], ["STAT1"], None),
        ("IL2 knock-out", [], ["IL-2"], None),
        ("STAT1 knock-out", [], ["STAT1 overexpression"], None),
    ],
)
def test_names_match(asked: str, synonyms: list[str], names: list[str], kind: str | None) -> None:
    assert match_names(asked, synonyms, names) == kind


@pytest.mark.parametrize(
    ("asked", "donor_id", "same"),
    [
        ("donor 101", "kang:101", True),
        ("Donor101", "kang:donor_101", True),
        ("kang:101", "kang:101", True),
        ("other:101", "kang:101", False),
        ("10", "kang:101", False),
        ("donor", "kang:101", False),
        ("patient_101", "kang:patient_101", True),
    ],
)
def test_donors(asked: str, donor_id: str, same: bool) -> None:
    assert same_donor(asked, donor_id) is same


def test_datasets() -> None:
    assert same_dataset("Parse", "parse_10m_pbmc")
    assert same_dataset("Tabula Sapiens v2", "tabula_sapiens")
    assert same_dataset("Tabula Sapiens", "tabula_demo")
    assert not same_dataset("Human PBMC data", "kang_pbmc")
    assert not same_dataset("OP", "opals")
    assert not same_dataset("Tahoe", "kang")
