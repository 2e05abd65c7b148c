"""The tracked files of the simulated world are whole, and its truth is no copy of what knowledge expects."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from haystack.demo import departing, perturbations, true_response
from haystack.demo.world import BRANCHES, load_world

ROOT = Path(__file__).parents[3]
LIBRARY = ROOT / "resources" / "genesets" / "haystack.gmt"
RESPONDS = 0.5


def test_every_gene_of_a_programme_is_simulated():
    world = load_world()
    for section in ("lineages", "modules"):
        for name, entry in world.programmes[section].items():
            assert len(entry["genes"]) == len(set(entry["genes"])), name
            assert set(entry["genes"]) <= set(world.genes), name
    assert set(world.programmes["receptors"]) <= set(world.genes)


def test_names_refer_to_what_exists():
    world = load_world()
    tags = {tag for kind in world.layouts["kinds"].values() for tag in kind}
    modules = set(world.programmes["modules"])

    def check(factors: dict) -> None:
        assert set(factors) <= modules
        for factor in factors.values():
            assert not isinstance(factor, dict) or set(factor) <= tags

    for entry in world.programmes["perturbations"].values():
        check(entry["modules"])
        assert all(set(way) <= set(world.programmes["receptors"]) for way in entry["via"])
    for factors in world.programmes["diseases"].values():
        check(factors)
    for levels in world.programmes["receptors"].values():
        assert set(levels) <= tags
        assert "all" in levels
        assert all(0 <= level <= 1 for level in levels.values())
    assert set(world.programmes["lineages"]) <= tags
    for kind, words in world.layouts["kinds"].items():
        assert sum(tag in BRANCHES for tag in words) == 1, kind
    for layout in world.layouts["atlases"].values():
        assert set(layout.get("perturbations", [])) <= set(world.programmes["perturbations"])
        kinds = {entry[0] for entry in layout["cell_types"].values()}
        assert kinds <= set(world.layouts["kinds"])
        for about in layout["donors"].values():
            assert about.get("disease") in {None, *world.programmes["diseases"]}


def test_labels_of_the_tissue_atlas_are_those_of_the_cell_ontology():
    from cellxgene_ontology_guide.ontology_parser import OntologyParser

    parser = OntologyParser()
    layout = load_world().layouts["atlases"]["tabula_demo"]
    for label, entry in layout["cell_types"].items():
        assert parser.get_term_label(entry[2]) == label
    for disease in load_world().programmes["diseases"]:
        assert parser.get_term_id_by_label(disease, "MONDO"), disease


@pytest.fixture(scope="module")
def responses() -> dict[str, pd.DataFrame]:
    """Perturbation -> genes x cell types of its own atlas and of the tissue atlas."""
    atlases = load_world().layouts["atlases"]
    return {
        name: pd.DataFrame(
            {
                (one, cell_type): true_response(name, cell_type, atlas=one)
                for one in (atlas, "tabula_demo")
                for cell_type in atlases[one]["cell_types"]
            }
        )
        for name, atlas in perturbations().items()
    }


@pytest.fixture(scope="module")
def expected() -> dict[str, tuple[dict[str, int], set[str]]]:
    """Perturbation -> expected targets with direction, and all genes that targets and expected pathways name."""
    if not (ROOT / "resources" / "knowledge" / "cytokines.tsv").exists() or not LIBRARY.exists():
        pytest.skip("resources/knowledge is not there")
    from haystack.grounding.genesets import read_gmt
    from haystack.knowledge import resolve_perturbation

    library = read_gmt(LIBRARY)
    found = {}
    for name in perturbations():
        known = resolve_perturbation(name)
        if known is None or not known.expected_targets:
            continue
        genes = set(known.expected_targets).union(*(library[pathway] for pathway in known.expected_pathways))
        found[name] = (dict(known.expected_targets), genes)
    return found


def test_knowledge_knows_the_perturbations(expected):
    assert len(expected) >= len(perturbations()) - 1


def test_about_forty_percent_of_responders_are_unexpected(responses, expected):
    total = surprising = 0
    for name, (_, genes) in expected.items():
        moved = responses[name].abs().ge(RESPONDS).any(axis=1)
        responders = set(moved.index[moved])
        share = len(responders - genes) / len(responders)
        assert 0.2 < share < 0.8, (name, share)
        total += len(responders)
        surprising += len(responders - genes)
    assert 0.35 < surprising / total < 0.5


def test_a_third_of_the_truths_departs_from_what_knowledge_expects(responses, expected):
    """Share of expected targets (that are simulated) which move as expected, in the kind that responds most."""
    agreement = {}
    for name, (targets, _) in expected.items():
        response = responses[name]
        strongest = response[response.abs().ge(RESPONDS).sum().idxmax()]
        known = [gene for gene in targets if gene in strongest.index]
        assert len(known) >= 15, name
        right = [strongest[gene] * targets[gene] >= RESPONDS for gene in known]
        agreement[name] = sum(right) / len(right)
    departed = {name for name, share in agreement.items() if share < 0.15}
    assert departed == set(departing()) & set(expected)
    assert min(share for name, share in agreement.items() if name not in departed) > 0.3
