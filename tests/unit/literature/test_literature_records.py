"""Identifiers and deduplication."""

from __future__ import annotations

from itertools import permutations

import pytest

from haystack.literature.records import Record, citation, merge, normal_doi, normal_pmcid, normal_pmid, normal_year


@pytest.mark.parametrize(
    ("given", "doi"),
    [
        ("10.1000/ABC", "10.1000/abc"),
        ("https://doi.org/10.1000/abc.", "10.1000/abc"),
        ("doi:10.1000/a(b)c", "10.1000/a(b)c"),
        ("NA", None),
        ("", None),
        (None, None),
        (10.1, None),
    ],
)
def test_doi(given, doi):
    assert normal_doi(given) == doi


def test_other_identifiers():
    assert [normal_pmid(x) for x in ("00123", 123, "PMC1", True, None, "0")] == ["123", "123", None, None, None, None]
    assert [normal_pmcid(x) for x in ("PMC12", "12", "pmc12.1", None, "x")] == ["PMC12", "PMC12", "PMC12", None, None]
    assert [normal_year(x) for x in ("2015 Jan-Feb", 1999, "Spring", None, float("nan"))] == [
        2015,
        1999,
        None,
        None,
        None,
    ]


def test_one_paper_by_any_chain_of_identifiers_in_any_order():
    parts = [
        Record("PubMed", "Title one", abstract="long abstract", pmid="1", doi="10.1/a"),
        Record("Semantic Scholar", "Title One", doi="10.1/a"),
        Record("Europe PMC", "Title one.", pmid="1", pmcid="PMC5"),
        Record("bioRxiv/medRxiv", "An early title", doi="10.1101/x", preprint=True, published_doi="10.1/a"),
        Record("Europe PMC", "Something else", doi="10.1/b"),
    ]
    for order in permutations(parts):
        found = merge(order)
        assert len(found) == 2
        one = next(item for item in found if item.paper_id == "doi:10.1/a")
        assert one.record.title == "Title one"
        assert (one.record.pmid, one.record.pmcid, one.record.preprint) == ("1", "PMC5", False)
        assert one.record.abstract == "long abstract"
        assert set(one.found_by) == {"PubMed", "Semantic Scholar", "Europe PMC", "bioRxiv/medRxiv"}


def test_titles_join_only_what_has_no_identifier():
    title = "A title that is long enough to tell"
    assert len(merge([Record("a", title, doi="10.1/a"), Record("b", title, doi="10.1/b")])) == 2
    assert len(merge([Record("a", title, doi="10.1/a"), Record("b", title.upper())])) == 1
    assert len(merge([Record("a", "Erratum"), Record("b", "Erratum")])) == 2


def test_a_retracted_paper_is_left_out_whoever_says_so():
    assert merge([Record("a", "T", doi="10.1/a"), Record("b", "T", doi="10.1/a", retracted=True)]) == []


def test_a_preprint_alone_stays_a_preprint():
    (found,) = merge([Record("r", "T", doi="10.1101/x", preprint=True)])
    assert found.record.preprint
    assert found.paper_id == "doi:10.1101/x"


def test_citation():
    record = Record("a", "A title.", year=2015, journal="J", authors=("Doe J", "Roe R", "Poe E"), doi="10.1/a")
    assert citation(record) == "Doe J et al. (2015). A title. J. doi:10.1/a"
    assert citation(Record("a", "T", pmid="7", authors=("Doe J", "Roe R"))) == "Doe J and Roe R (no year). T. PMID 7"
