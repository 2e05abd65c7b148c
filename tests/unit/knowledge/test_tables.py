"""The tracked tables: whole, of one form, of known genes, gene sets, ontology terms and sources."""

import csv
import gzip
import json
import subprocess
import sys

import pytest

from haystack.contracts import Perturbation
from haystack.grounding.genesets import read_gmt
from haystack.knowledge import KnowledgeError, gene_symbol, markers, perturbations
from haystack.knowledge.catalogue import COMPOUND_COLUMNS, CYTOKINE_COLUMNS, MECHANISM_COLUMNS, catalogue, classes
from haystack.knowledge.genetic import symbols
from haystack.knowledge.tables import items, read_rows, signed
from haystack.resources import resource

TABLES = {
    "cytokines.tsv": CYTOKINE_COLUMNS,
    "compounds.tsv": COMPOUND_COLUMNS,
    "mechanisms.tsv": MECHANISM_COLUMNS,
    "regulators.tsv": ("gene", "raises", "lowers", "source"),
    "markers.tsv": ("id", "name", "genes", "source"),
    "tissues.tsv": ("id", "name", "genes", "source"),
}
GENE_COLUMNS = ("genes", "receptors", "targets", "tfs_up", "tfs_down", "up", "down", "gene")
SETS = read_gmt(resource("genesets/haystack.gmt"))


def rows(name):
    return list(read_rows(resource(f"knowledge/{name}"), TABLES[name]))


@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_a_source_and_only_current_gene_symbols(name):
    assert rows(name)
    for row in rows(name):
        first = next(iter(row.values()))
        assert row["source"], f"{name}: {first} has no source"
        for column in GENE_COLUMNS:
            wrong = [gene for gene in items(row.get(column, "")) if gene_symbol(gene) != gene]
            assert not wrong, f"{name}: {first}: {column}: {wrong}"


@pytest.mark.parametrize("name", ["cytokines.tsv", "mechanisms.tsv", "regulators.tsv"])
def test_expected_pathways_are_gene_sets_of_the_tracked_library(name):
    for row in rows(name):
        for column in ("pathways_up", "pathways_down", "raises", "lowers"):
            unknown = set(items(row.get(column, ""))) - set(SETS)
            assert not unknown, f"{name}: {row}: {unknown}"


@pytest.mark.parametrize("name", ["cytokines.tsv", "mechanisms.tsv"])
def test_nothing_is_expected_to_move_both_ways(name):
    for row in rows(name):
        for up, down in (("up", "down"), ("tfs_up", "tfs_down"), ("pathways_up", "pathways_down")):
            both = set(items(row[up])) & set(items(row[down]))
            assert not both, f"{name}: {row}: {both}"


def test_names_and_synonyms_mean_one_perturbation_each():
    from haystack.knowledge.names import key

    owner = {}
    for perturbation in perturbations():
        for word in (perturbation.name, *perturbation.synonyms):
            assert owner.setdefault(key(word), perturbation.name) == perturbation.name, word


def test_enough_is_known_about_well_known_cytokines():
    well_known = (
        "IFN-alpha IFN-beta IFN-gamma IFN-lambda1 TGF-beta1 TNF-alpha IL-1-beta IL-2 IL-4 IL-6 IL-10 IL-12 IL-13 IL-15 "
        "IL-17A IL-18 IL-21 IL-22 IL-27 IL-33 GM-CSF M-CSF G-CSF EGF PDGF-BB CD40L OSM"
    )
    for name in well_known.split():
        perturbation = catalogue()[name]
        assert 15 <= len(perturbation.expected_targets) <= 60, name
        assert perturbation.receptors
        assert perturbation.signalling
        assert perturbation.expected_pathways
        assert perturbation.expected_tfs


def test_the_tables_are_as_large_as_asked():
    types = [perturbation.type for perturbation in perturbations()]
    assert types.count("cytokine") >= 90
    assert types.count("drug") >= 150
    assert len(rows("markers.tsv")) >= 80
    assert 55 <= len(SETS) <= 75


def test_chebi_ids_are_those_of_the_shipped_ontology():
    with gzip.open(resource("knowledge/chebi_names.tsv.gz"), "rt", encoding="utf-8") as handle:
        listed = {line.split("\t")[1] for line in handle if not line.startswith("#")}
    ids = [row["chebi"] for row in rows("compounds.tsv") if row["chebi"]]
    assert len(ids) > 300
    assert all(identifier.startswith("CHEBI:") for identifier in ids)
    assert len(set(ids) & listed) / len(ids) > 0.8, "most have simple names, which the compact list holds too"


def test_marker_and_tissue_ids_are_terms_of_the_ontologies():
    from haystack.ontology import label

    for name in ("markers.tsv", "tissues.tsv"):
        for row in rows(name):
            assert label(row["id"]) == row["name"]
            assert len(items(row["genes"])) >= 5


def test_markers_fall_back_to_the_nearest_parent():
    assert markers("CL:0000236")[:2] == ["MS4A1", "CD79A"]
    assert markers("CL:0000985") == markers("CL:0000786"), "IgG plasma cell: those of plasma cell"
    assert markers("CL:0000000") == []


def test_regulons_are_in_collectri_format_and_agree_with_the_expected_factors():
    with resource("knowledge/regulons.csv").open(encoding="utf-8") as handle:
        edges = list(csv.DictReader(handle))
    assert list(edges[0]) == ["source", "target", "weight"]
    assert all(edge["weight"] in {"1", "-1"} for edge in edges)
    assert len({(edge["source"], edge["target"]) for edge in edges}) == len(edges)
    known = symbols()
    assert all(known.get(edge["target"].upper()) for edge in edges)
    assert all(gene_symbol(edge["source"]) == edge["source"] for edge in edges)
    sources = {edge["source"] for edge in edges}
    assert len(sources) >= 50
    asked = {factor for perturbation in perturbations() for factor in perturbation.expected_tfs}
    assert len(asked & sources) / len(asked) > 0.9, sorted(asked - sources)


def test_gene_sets_hold_known_genes_with_a_source():
    for line in resource("genesets/haystack.gmt").read_text(encoding="utf-8").splitlines():
        name, source, *genes = line.split("\t")
        assert len(source) > 20, name
        assert 10 <= len(genes) <= 150, name
        assert len(set(genes)) == len(genes), name
        unknown = [gene for gene in genes if gene_symbol(gene) is None]
        assert not unknown, f"{name}: {unknown}"


def test_type_one_and_gamma_interferon_can_be_told_apart():
    one, gamma = catalogue()["IFN-beta"].expected_targets, catalogue()["IFN-gamma"].expected_targets
    assert len(set(one) & set(gamma)) <= 4
    first, second = set(SETS["Type I interferon response"]), set(SETS["Interferon gamma response"])
    assert len(first & second) / len(first | second) < 0.1
    assert "CIITA" in gamma
    assert "MX1" in one


def test_every_perturbation_passes_its_contract():
    for perturbation in (*perturbations(), *classes().values()):
        assert Perturbation.model_validate_json(perturbation.model_dump_json()) == perturbation


def test_reading_says_which_line_is_wrong(tmp_path):
    table = tmp_path / "t.tsv"
    with pytest.raises(KnowledgeError, match=r"t\.tsv: no such file"):
        list(read_rows(table, ("a", "b")))
    table.write_text("# comment\n")
    with pytest.raises(KnowledgeError, match="empty; expected the columns a, b"):
        list(read_rows(table, ("a", "b")))
    table.write_text("# comment\na\tc\n1\t2\n")
    with pytest.raises(KnowledgeError, match="lacks the columns b; found a, c"):
        list(read_rows(table, ("a", "b")))
    table.write_text("# comment\na\tb\n1\t2\n\n3\n")
    with pytest.raises(KnowledgeError, match=r"line 5: 1 cells, expected 2"):
        list(read_rows(table, ("a", "b")))
    assert items(" x; y ;;x") == ["x", "y"]
    assert signed("x;y", "z") == {"x": 1, "y": 1, "z": -1}


def test_importing_is_light_and_loading_quick():
    code = """
import json, sys, time
import haystack.knowledge
heavy = [m for m in ("pandas", "numpy", "requests", "anndata", "scanpy") if m in sys.modules]
start = time.process_time()
haystack.knowledge.resolve_perturbation("IFN-beta")
print(json.dumps([heavy, time.process_time() - start]))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, seconds = json.loads(answer.stdout)
    assert heavy == []
    assert seconds < 2, "about 0.2 s on an idle machine, the contracts' import included"
