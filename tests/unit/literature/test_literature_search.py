"""The whole search against a server that speaks the services' formats, with and without faults."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from haystack.config import LiteratureSettings
from haystack.contracts import DE, Perturbation, StructuredQuery, read_json, write_json, write_table
from haystack.contracts.literature import Literature
from haystack.http import ServiceError, Web
from haystack.literature import search_literature
from haystack.literature.fulltext import FullTexts, read_core, read_locations, read_page
from haystack.literature.pubmed import fetch, find
from haystack.literature.search import look_up
from haystack.literature.search import search_literature as search
from haystack.literature.services import Access, Services
from haystack.literature.topic import choose_genes, gene_names, topic_of

ON = LiteratureSettings(enabled=True, genes=2)
ME = "someone@example.org"


def question(**more):
    own = Perturbation(
        query="IFN-beta",
        name="IFN-beta",
        type="cytokine",
        synonyms=["interferon beta"],
        expected_targets={"ISG15": 1, "CXCL10": 1, "MX1": 1, "IL6": -1},
    )
    given = {
        "raw_query": "How would CD14 monocytes respond to IFN-beta?",
        "task_type": "perturbation_novel_cell_types",
        "cell_type_name": "CD14-positive monocyte",
        "cell_type_cl_id": "CL:0001054",
        "perturbation_resolved": "IFN-beta",
        "perturbations": [own],
        "expected_targets": list(own.expected_targets),
        "expected_target_directions": own.expected_targets,
    }
    return StructuredQuery(**(given | more))


def de_table(moved, n=60, prompts=("p1",), absent=()):
    """DE of `n` background genes and the given ones (gene -> log2fc)."""
    genes = [*moved, *(f"BG{i}X" for i in range(n)), "MT-ND1", "RPL7"]
    parts = []
    for prompt in prompts:
        change = np.array([*moved.values(), *[0.01] * (n + 2)], dtype=float)
        level = np.geomspace(0.2, 50, len(genes))
        is_de = np.abs(change) > 0.5
        part = pd.DataFrame(
            {
                "prompt_id": prompt,
                "gene": genes,
                "log2fc": change,
                "se": 0.2,
                "lfsr": np.where(is_de, 0.001, 0.3),
                "low": change - 0.3,
                "high": change + 0.3,
                "pval": np.where(is_de, 1e-8, 0.6),
                "padj": np.where(is_de, 1e-6, 0.9),
                "mean_perturbed": level,
                "mean_control": level,
                "in_model": [gene not in absent for gene in genes],
                "is_de": is_de,
            }
        )
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


RISE = {"ISG15": 2.0, "CXCL10": 1.5, "IL6": -1.0, "ACTB": 1.2, "MX1": 0.0}


def topic(n=8):
    """The first `n` genes, without background: each costs requests."""
    query = question()
    chosen = choose_genes(query, de_table(RISE), 8)
    named = [gene for gene, why in chosen.items() if why != "background"]
    return topic_of(query, {gene: chosen[gene] for gene in named[:n]})


@pytest.fixture
def files(tmp_path):
    write_json(tmp_path / "query.json", question())
    write_table(tmp_path / "de.parquet", de_table(RISE), DE)
    return tmp_path


def run(files, services, settings=ON, offline=False, out="literature.json", **more):
    search(
        files / "query.json",
        files / "de.parquet",
        files / out,
        settings,
        offline,
        files / "cache",
        services=services,
        **more,
    )
    return read_json(files / out, Literature)


def test_evidence_per_gene_with_sentence_direction_cell_type_and_citation(library, services, web):
    found = look_up(topic(), ON, web, services, Access())
    assert found.evaluated
    said = {(e.gene, e.direction, e.cell_type_match, e.paper_id, e.section) for e in found.evidence}
    assert said == {
        ("CXCL10", 1, "sentence", "doi:10.1000/one", "abstract"),
        ("ISG15", 1, "sentence", "doi:10.1000/one", "abstract"),
        ("IL6", -1, "paper", "doi:10.1000/one", "abstract"),
        ("MX1", 1, "sentence", "doi:10.1000/one", "full text"),
        ("ISG15", 1, "none", "doi:10.1000/two", "abstract"),
        ("ACTB", 0, "none", "doi:10.1000/two", "abstract"),
    }
    one = next(e for e in found.evidence if e.gene == "IL6")
    assert one.sentence == "IFN-β suppressed IL-6 secretion."
    assert (one.cue, one.perturbation, one.cell_type) == ("suppressed", "IFN-beta", "CD14-positive monocyte")
    genes = {item.gene: item for item in found.genes}
    assert (genes["ISG15"].up, genes["ISG15"].down, genes["ISG15"].direction) == (1.5, 0, 1)
    assert (genes["IL6"].down, genes["IL6"].direction) == (1, -1)
    assert (genes["ACTB"].unchanged, genes["ACTB"].direction) == (0.5, None)
    assert genes["ISG15"].publications == 3, "papers that name the gene at all, the retracted one among them"
    first = next(p for p in found.papers if p.paper_id == "doi:10.1000/one")
    assert first.citation.startswith("Doe J and A Consortium (2015). Interferon responses of monocytes. Journal of")
    assert first.citation.endswith(". doi:10.1000/one")
    assert (first.text_read, first.text_source, first.pmid) == ("full text", "Europe PMC", "101")


def test_every_paper_once_and_none_that_was_retracted(library, services, web):
    found = look_up(topic(2), ON, web, services, Access())
    assert [p.paper_id for p in found.papers] == ["doi:10.1000/one", "doi:10.1000/two"]
    two = found.papers[1]
    assert set(two.found_by) == {"PubMed", "Europe PMC", "bioRxiv/medRxiv", "Semantic Scholar"}
    assert not two.preprint
    assert {s.name: s.status for s in found.services} == {
        "PubMed": "answered",
        "Europe PMC": "answered",
        "bioRxiv/medRxiv": "answered",
        "Semantic Scholar": "answered",
        "Europe PMC full text": "answered",
        "Unpaywall": "not asked",
        "CORE": "not asked",
    }


def test_pubmed_is_asked_for_these_cells_first_and_told_who_asks(library, services, web, monkeypatch):
    look_up(topic(2), ON, web, services, Access(ncbi_key="K1", mailto=ME))
    asked = [query for path, query, _ in library.requests if path.endswith("esearch.fcgi")]
    assert all((q["tool"], q["email"], q["api_key"]) == (["haystack"], [ME], ["K1"]) for q in asked)
    isg15 = [q["term"][0] for q in asked if '"ISG15"' in q["term"][0]]
    assert '"IFN-beta"[tiab] OR "interferon beta"[tiab]' in isg15[0]
    assert '"monocyte"[tiab]' in isg15[0]
    assert "monocyte" not in isg15[1]


PLACES = [("/eutils/", "PubMed"), ("/epmc/search", "Europe PMC"), ("/s2/", "Semantic Scholar")]
KINDS = ["429 for an hour", "500", "403", "half a body", "half, said to be whole", "an error page", "another form"]


@pytest.mark.parametrize(
    ("where", "name", "kind"),
    [(*PLACES[0], kind) for kind in KINDS] + [(*place, kind) for place in PLACES[1:] for kind in KINDS[1:4:2]],
)
def test_a_service_that_fails_is_named_and_the_others_count(library, services, web, made, where, name, kind):
    library.faults = [made.fault(where, kind)]
    found = look_up(topic(2), ON, web, services, Access())
    report = next(s for s in found.services if s.name == name)
    assert report.status == "failed"
    assert report.reason.startswith(f"{name}: ")
    assert found.evaluated
    assert {e.gene for e in found.evidence} >= {"CXCL10", "ISG15"}
    assert {p.paper_id for p in found.papers} == {"doi:10.1000/one", "doi:10.1000/two"}


def test_half_a_service_is_a_partial_answer(library, services, web, made):
    library.faults = [made.fault("efetch", "500")]
    found = look_up(topic(2), ON, web, services, Access())
    report = next(s for s in found.services if s.name == "PubMed")
    assert (report.status, report.n_papers) == ("partial", 0)
    assert {item.publications for item in found.genes} >= {3}, "counts came through"


def test_all_services_down_is_not_evaluated_and_no_error(library, services, files, made):
    library.faults = [made.fault("/", "500")]
    found = run(files, services, sleep=lambda seconds: None)
    assert not found.evaluated
    assert found.reason.startswith("no service answered: PubMed: the service answers 500")
    assert {s.status for s in found.services} == {"failed"}


def test_offline_replays_byte_for_byte_and_asks_nothing(library, services, files):
    online = run(files, services)
    assert online.evaluated
    before = len(library.requests)
    run(files, services, offline=True, out="again.json")
    assert (files / "again.json").read_bytes() == (files / "literature.json").read_bytes()
    assert len(library.requests) == before


def test_offline_without_kept_answers_is_not_evaluated(library, services, files):
    found = run(files, services, offline=True)
    assert (found.evaluated, found.reason) == (False, "offline, and no answer is kept from an earlier run")
    assert {s.status for s in found.services} == {"not asked"}
    assert library.requests == []
    assert not (files / "cache").exists()


def test_off_by_default(library, services, files):
    found = run(files, services, settings=LiteratureSettings())
    assert (found.evaluated, found.reason) == (False, "literature search is off (config: literature.enabled)")
    assert library.requests == []
    search_literature(files / "query.json", files / "de.parquet", files / "x.json", LiteratureSettings(), True, files)
    assert json.loads((files / "x.json").read_text())["evaluated"] is False


def test_questions_without_a_perturbation_are_not_evaluated(library, services, files):
    write_json(
        files / "query.json",
        question(
            task_type="cell_type_imputation",
            perturbation_resolved=None,
            perturbations=[],
            expected_targets=[],
            expected_target_directions={},
        ),
    )
    assert "names no perturbation" in run(files, services).reason
    assert library.requests == []


@pytest.mark.parametrize("coding", ["utf-16", "iso-8859-7", "utf-8-sig"])
def test_odd_encodings_give_the_same_evidence(library, services, web, coding):
    library.encoding = coding
    found = look_up(topic(), ON, web, services, Access())
    assert {e.gene for e in found.evidence} == {"CXCL10", "ISG15", "IL6", "MX1", "ACTB"}
    assert any("IFN-β" in e.sentence for e in found.evidence)


def test_hostile_text_stays_text(library, services, files):
    library.papers[0]["title"] = "<script>alert(1)</script> \ud800 &amp;lt; IFN-β"
    library.papers[0]["abstract"] += " \x07"
    found = run(files, services)
    titles = [p.title for p in found.papers]
    assert not any("<script" in title or "\ud800" in title for title in titles)


def test_xml_with_entities_is_refused(library, services, web):
    library.pages["/eutils/efetch.fcgi"] = (
        "text/xml",
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><PubmedArticleSet>&a;</PubmedArticleSet>',
    )
    with pytest.raises(ServiceError, match="declares entities"):
        fetch(web, services.pubmed, ["1"], Access())


def test_a_refused_search_says_why(library, services, web):
    library.pages["/eutils/esearch.fcgi"] = ("application/json", b'{"esearchresult": {"ERROR": "Invalid db name"}}')
    with pytest.raises(ServiceError, match="refuses the search: Invalid db name"):
        find(web, services.pubmed, "x", 1, Access())
    library.pages["/epmc/search"] = ("application/json", b'{"version": "6.9", "errCode": 404, "errMsg": "bad query"}')
    found = look_up(topic(2), ON, web, services, Access())
    assert next(s for s in found.services if s.name == "Europe PMC").reason.endswith("bad query")


def test_at_most_so_many_papers_and_full_texts(library, services, web):
    found = look_up(topic(2), LiteratureSettings(enabled=True, max_papers=1, full_texts=0), web, services, Access())
    assert len(found.papers) == 1
    assert library.asked("fullTextXML") == 0
    assert (
        next(s for s in found.services if s.name == "Europe PMC full text").reason
        == "config: literature.full_texts is 0"
    )


def test_full_text_goes_on_to_unpaywall_and_core(library, services, web):
    two = [{"url": f"{library.url}/oa/file.pdf", "url_for_landing_page": f"{library.url}/oa/page"}]
    library.locations = two
    prose = "".join(
        f"<p>IFN-&beta; increased MX1 expression in monocytes, experiment {i}. {'x' * 400}</p>" for i in range(9)
    )
    page = f"<html><script><p>IFN-beta reduced MX1</p></script><nav><p>menu</p></nav>{prose}</html>"
    library.pages["/oa/page"] = ("text/html; charset=utf-8", page.encode())
    found = look_up(topic(2), ON, web, services, Access(mailto=ME))
    sources = {p.paper_id: p.text_source for p in found.papers}
    assert sources == {"doi:10.1000/one": "Europe PMC", "doi:10.1000/two": "Unpaywall"}
    assert library.asked("/oa/file.pdf") == 0
    library.locations = []
    with Web(web.cache_dir / "other", offline=False) as fresh:
        found = look_up(topic(2), ON, fresh, services, Access(mailto=ME, core_key="C1"))
    assert {p.text_source for p in found.papers} == {"Europe PMC", "CORE"}
    assert library.requests[-1][2]["Authorization"] == "Bearer C1"


def test_a_location_in_europe_pmc_is_read_there(library, services, web):
    library.locations = [{"url": "https://www.ncbi.nlm.nih.gov/pmc/articles/PMC9001", "url_for_landing_page": None}]
    record = look_up(topic(2), ON, web, services, Access()).papers[1]
    from haystack.literature.records import Record

    reader = FullTexts(web, services, Access(mailto=ME))
    assert reader.read(Record("x", record.title, doi=record.doi)) == (
        ["Treatment of monocytes with IFN-β increased MX1 expression.1"],
        "Unpaywall",
    )


def test_pages_that_are_no_article_are_not_read(made):
    from haystack.http import Answer

    cover = Answer(200, "u", b"<p>Buy this article for 40 dollars.</p>", "text/html")
    assert read_page(cover) == []
    assert read_page(Answer(200, "u", b"%PDF-1.7" + b"x" * 9999, "application/pdf")) == []
    assert read_locations(Answer(200, "u", b'{"is_oa": false, "best_oa_location": null}', "")) == []
    assert read_core(Answer(200, "u", b'{"totalHits": 0, "results": []}', "")) == []


def test_genes_half_expected_half_predicted_and_a_background_of_equal_expression():
    moved = {"ISG15": 2.0, "CXCL10": 1.5, "A1": 3.0, "A2": -2.0, "A3": 1.0}
    table = de_table(moved, prompts=("p1", "p2"))
    found = choose_genes(question(), table, 4)
    assert list(found)[:4] == ["ISG15", "CXCL10", "A1", "A2"]
    assert list(found.values()) == ["expected"] * 2 + ["predicted"] * 2 + ["background"] * 4
    level = table[table["prompt_id"] == "p1"].set_index("gene")["mean_control"]
    background = [gene for gene, why in found.items() if why == "background"]
    assert all(gene.startswith("BG") for gene in background)
    free = sorted(level[level.index.str.startswith("BG")].index, key=lambda gene: level[gene])
    assert sorted(background) == sorted(free[:4]), "the strongest genes are the lowest expressed in this table"


def test_genes_that_cannot_be_judged_are_not_looked_up():
    table = de_table({"ISG15": 2.0, "MT-CO1": 9.0, "ENSG00000123456": 9.0, "AC012345.1": 9.0}, absent=("ISG15",))
    found = choose_genes(question(), table, 4)
    assert not {"ISG15", "MT-CO1", "ENSG00000123456", "AC012345.1"} & set(found)


def test_a_knock_out_is_looked_for_by_its_gene():
    own = Perturbation(query="STAT1 KO", name="STAT1 knock-out", type="genetic", direction=-1, targets=["STAT1"])
    query = question(perturbation_resolved="STAT1 knock-out", perturbations=[own], expected_targets=["STAT1", "ISG15"])
    genes = choose_genes(query, de_table({"STAT1": -3.0, "ISG15": -1.0}), 4)
    found = topic_of(query, genes)
    assert (found.names, found.lost) == (("STAT1",), True)
    assert "STAT1" not in genes


def test_genes_are_looked_for_by_their_other_names():
    assert "interleukin-6" in gene_names("IL6")
    assert "IL8" in gene_names("CXCL8")
    assert gene_names("NOSUCHGENE") == ["NOSUCHGENE"]


def test_public_services_keep_to_their_rates():
    slow, fast = Services.public(Access()), Services.public(Access(ncbi_key="K"))
    assert slow.pubmed.per_second <= 3 < fast.pubmed.per_second <= 10
    assert slow.semantic_scholar.per_second <= 1
    assert all(s.base_url.startswith("https://") for s in vars(slow).values())
    environment = {"NCBI_API_KEY": "a", "SEMANTIC_SCHOLAR_API_KEY": "", "CORE_API_KEY": "c"}
    assert Access.of_environment(ME, environment) == Access("a", None, "c", ME)
