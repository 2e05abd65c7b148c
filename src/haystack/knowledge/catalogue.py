"""Perturbations of the tracked tables, classes of compounds, and the index of their names."""

from __future__ import annotations

from collections import Counter
from functools import cache

from haystack.contracts.query import Perturbation
from haystack.knowledge.names import bare, key
from haystack.knowledge.tables import KnowledgeError, items, read_rows, signed
from haystack.resources import resource

CYTOKINE_COLUMNS = (
    *("name", "synonyms", "uniprot", "genes", "receptors", "signalling"),
    *("tfs_up", "tfs_down", "up", "down", "pathways_up", "pathways_down", "source"),
)
MECHANISM_COLUMNS = (
    *("mechanism", "synonyms", "signalling", "tfs_up", "tfs_down"),
    *("up", "down", "pathways_up", "pathways_down", "source"),
)
COMPOUND_COLUMNS = ("name", "type", "synonyms", "chebi", "targets", "mechanism", "source")


@cache
def catalogue() -> dict[str, Perturbation]:
    """Canonical name -> perturbation, cytokines first, both in the order of their tables."""
    known: dict[str, Perturbation] = {}
    for perturbation in (*_cytokines(), *_compounds()):
        if perturbation.name in known:
            raise KnowledgeError(f"resources/knowledge: '{perturbation.name}' is listed twice")
        known[perturbation.name] = perturbation
    return known


@cache
def classes() -> dict[str, Perturbation]:
    """Classes of compounds: those of mechanisms with the targets that most members share, and `class` rows without.

    >>> classes()["JAK inhibitor"].targets, classes()["bisphosphonate"].targets
    (['JAK1', 'JAK2'], [])
    """
    members: dict[str, list[Perturbation]] = {}
    for name, perturbation in catalogue().items():
        members.setdefault(mechanism_of(name), []).append(perturbation)
    classes_by_name = {}
    for mechanism, row in _mechanisms().items():
        drugs = [p for p in members.get(mechanism, []) if p.type == "drug"]
        if mechanism in catalogue() or not drugs:
            continue
        counts = Counter(gene for drug in drugs for gene in drug.targets)
        classes_by_name[mechanism] = Perturbation(
            query=mechanism,
            name=mechanism,
            type="drug",
            synonyms=items(row["synonyms"]),
            targets=[gene for gene, n in counts.items() if 2 * n >= len(drugs)],
            **_response(row),
        )
    for row in read_rows(resource("knowledge/compounds.tsv"), COMPOUND_COLUMNS):
        if row["type"] == "class":
            classes_by_name[row["name"]] = Perturbation(
                query=row["name"], name=row["name"], type="drug", synonyms=items(row["synonyms"])
            )
    return classes_by_name


def known(name: str) -> Perturbation:
    """The perturbation or class with this canonical name."""
    return catalogue().get(name) or classes()[name]


@cache
def index() -> dict[str, str]:
    """Key of every name and synonym -> canonical name.

    A canonical name takes precedence over another row's synonym, and a single perturbation over a class. Includes
    plurals of classes.
    """
    names: dict[str, str] = {}
    for name in (*catalogue(), *classes()):
        names.setdefault(key(name), name)
    for name, perturbation in (catalogue() | classes()).items():
        for synonym in perturbation.synonyms:
            names.setdefault(key(synonym), name)
            names.setdefault(key(bare(synonym)), name)
    for name, perturbation in classes().items():
        for word in (name, *perturbation.synonyms):
            names.setdefault(key(word + "s"), name)
    names.pop("", None)
    return names


@cache
def mechanism_of(name: str) -> str:
    """The mechanism of a compound of the table, empty for anything else."""
    return _mechanism_by_compound().get(name, "")


@cache
def _mechanism_by_compound() -> dict[str, str]:
    rows = read_rows(resource("knowledge/compounds.tsv"), COMPOUND_COLUMNS)
    return {row["name"]: row["mechanism"] for row in rows}


@cache
def _mechanisms() -> dict[str, dict[str, str]]:
    return {row["mechanism"]: row for row in read_rows(resource("knowledge/mechanisms.tsv"), MECHANISM_COLUMNS)}


def _cytokines() -> list[Perturbation]:
    found = []
    for row in read_rows(resource("knowledge/cytokines.tsv"), CYTOKINE_COLUMNS):
        genes = items(row["genes"])
        ids = {"UniProt": ";".join(items(row["uniprot"])), "HGNC": ";".join(genes)}
        found.append(
            Perturbation(
                query=row["name"],
                name=row["name"],
                type="cytokine",
                synonyms=items(row["synonyms"]),
                external_ids={database: value for database, value in ids.items() if value},
                receptors=items(row["receptors"]),
                targets=items(row["receptors"]),
                **_response(row),
            )
        )
    return found


def _compounds() -> list[Perturbation]:
    mechanisms = _mechanisms()
    found = []
    for row in read_rows(resource("knowledge/compounds.tsv"), COMPOUND_COLUMNS):
        if row["type"] == "class":
            continue
        if row["mechanism"] and row["mechanism"] not in mechanisms:
            raise KnowledgeError(
                f"resources/knowledge/compounds.tsv: {row['name']}: '{row['mechanism']}' is not in mechanisms.tsv"
            )
        found.append(
            Perturbation(
                query=row["name"],
                name=row["name"],
                type="drug" if row["type"] == "drug" else "unknown",
                synonyms=items(row["synonyms"]),
                external_ids={"ChEBI": row["chebi"]} if row["chebi"] else {},
                targets=items(row["targets"]),
                **(_response(mechanisms[row["mechanism"]]) if row["mechanism"] else {}),
            )
        )
    return found


def _response(row: dict[str, str]) -> dict:
    """Expected effects of a `Perturbation`, from the up and down columns."""
    return {
        "signalling": items(row["signalling"]),
        "expected_targets": signed(row["up"], row["down"]),
        "expected_tfs": signed(row["tfs_up"], row["tfs_down"]),
        "expected_pathways": signed(row["pathways_up"], row["pathways_down"]),
    }
