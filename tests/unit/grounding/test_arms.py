"""What else than the perturbation may set two groups of cells apart: each finding fires on its fault only."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from haystack.grounding.arms import (
    PROGRAMMES,
    arm_findings,
    batch_finding,
    compare_arms,
    own_batches,
    programmes,
)
from haystack.grounding.lineages import LINEAGES, assign_lineages, lineage_markers, lineage_of
from haystack.grounding.symbols import Columns

MARKERS = [gene for genes in lineage_markers().values() for gene in genes]
GENES = sorted({*MARKERS, "XIST", "RPS4Y1"}.union(*(programmes()[key] for key in PROGRAMMES)))
GENES += [f"G{index:03d}" for index in range(300)]


def cells(
    n: int, seed: int, lineage: str = "T and NK cells", raised: dict[str, float] | None = None, depth: float = 1.0
) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    mean = np.where(np.isin(GENES, MARKERS), 0.02, 0.6)
    mean[np.isin(GENES, ["XIST", "RPS4Y1"])] = 0
    mean[np.isin(GENES, lineage_markers()[lineage])] = 1.0
    for gene, factor in (raised or {}).items():
        mean[GENES.index(gene)] = max(mean[GENES.index(gene)], 0.5) * factor
    counts = sparse.csr_matrix(rng.poisson(depth * mean, (n, len(GENES))).astype(np.float32))
    return ad.AnnData(counts, pd.DataFrame(index=[f"{seed}_{i}" for i in range(n)]), pd.DataFrame(index=GENES))


def found(treated: ad.AnnData, control: ad.AnnData, cell_type: str | None = None, **how: bool) -> dict[str, str]:
    return {item.name: item.cap for item in arm_findings(compare_arms(treated, control), cell_type, **how)}


RESPONSE = {f"G{index:03d}": 4.0 for index in range(30)}


def test_a_clean_response_has_no_finding_that_caps() -> None:
    caps = found(cells(80, 1, raised=RESPONSE), cells(80, 2), "CL:0000084")
    assert set(caps.values()) == {"high"}
    assert {"composition", "identity", "stress", "cell_cycle", "dying", "depth", "power"} == set(caps)


def test_halves_of_the_same_cells_are_no_response() -> None:
    assert found(cells(80, 1), cells(80, 2))["no_response"] == "low"
    assert found(cells(80, 1, depth=0.4), cells(80, 2))["no_response"] == "low"


@pytest.mark.parametrize(("key", "name"), PROGRAMMES.items())
def test_a_rival_programme_is_named_by_its_share(key: str, name: str) -> None:
    shifted = cells(80, 1, raised=dict.fromkeys(programmes()[key], 4.0))
    assert found(shifted, cells(80, 2))[name] == "low"
    both = cells(80, 1, raised={**dict.fromkeys(sorted(programmes()[key])[:12], 3.0), **RESPONSE})
    assert found(both, cells(80, 2))[name] in {"high", "medium"}


def test_cells_that_leak_are_named_as_dying() -> None:
    """Two thirds of the cytoplasmic transcripts are gone; CP10k raises the mitochondrial ones."""
    healthy = dict.fromkeys([gene for gene in GENES if gene.startswith("MT-")], 8.0)
    broken = cells(80, 1, raised=healthy)
    rng = np.random.default_rng(0)
    kept = np.where([gene in programmes()["dying"] for gene in GENES], 1.0, 0.33)
    broken.X = sparse.csr_matrix(rng.binomial(broken.X.toarray().astype(int), kept).astype(np.float32))
    caps = found(broken, cells(80, 2, raised=healthy))
    assert caps["dying"] == "low"
    assert caps["stress"] == caps["cell_cycle"] == "high"


def test_mixed_and_exchanged_lineages() -> None:
    mixed = ad.concat([cells(75, 1), cells(25, 2, "myeloid cells")])
    assert found(mixed, cells(100, 3))["composition"] == "low"
    caps = found(cells(80, 1, "myeloid cells"), cells(80, 2), "CL:0000576")
    assert caps["composition"] == caps["identity"] == "low"


def test_a_shift_of_lineages_counts_by_what_it_explains() -> None:
    """All cells respond, and there are a few more myeloid cells: the response is there within each lineage."""
    strong = dict.fromkeys(GENES[-300:-100], 6.0)
    treated = ad.concat([cells(60, 1, raised=strong), cells(40, 2, "myeloid cells", raised=strong)])
    control = ad.concat([cells(85, 3), cells(15, 4, "myeloid cells")])
    assert found(treated, control)["composition"] == "high"
    assert compare_arms(treated, control).explained_by_mix < 0.25
    calm = ad.concat([cells(60, 1), cells(40, 2, "myeloid cells")])
    assert compare_arms(calm, control).explained_by_mix > 0.8


def test_batches_of_single_donors_are_no_rival() -> None:
    assert batch_finding(["b1"], ["b0"]).cap == "medium"
    assert batch_finding(["b1"], ["b0", "b1"]).cap == "high"
    assert batch_finding(["10 uM"], ["DMSO 0 uM"]) is None
    assert batch_finding(["b1"], ["b0"], own=True).name == "donor_batches"
    treated = ad.concat([cells(5, 1), cells(5, 2)])
    treated.obs = treated.obs.assign(donor_id=["A"] * 5 + ["B"] * 5, batch=["a1"] * 5 + ["b1"] * 5)
    assert own_batches(treated)
    assert not own_batches(treated[:5])
    treated.obs["batch"] = "b1"
    assert not own_batches(treated)


def test_other_people_are_named_unless_known() -> None:
    woman, man = cells(60, 1, raised={"XIST": 2.0}), cells(60, 2, raised={"RPS4Y1": 2.0})
    assert found(woman, man)["other_people"] == "low"
    assert "other_people" not in found(woman, man, other_donors=True)
    assert "other_people" not in found(woman, cells(60, 3, raised={"XIST": 2.0}))


def test_few_cells_and_other_depth() -> None:
    assert found(cells(20, 1, raised=RESPONSE), cells(80, 2))["power"] == "medium"
    assert found(cells(8, 1, raised=RESPONSE), cells(80, 2))["power"] == "low"
    assert found(cells(80, 1, raised=RESPONSE, depth=0.5), cells(80, 2))["depth"] == "medium"


def test_a_prediction_is_not_asked_for_the_numbers_of_its_model() -> None:
    caps = found(cells(20, 1, raised=RESPONSE, depth=0.5), cells(80, 2), generated=True)
    assert not {"depth", "power", "no_response", "other_people"} & set(caps)


def test_lineages() -> None:
    assigned = assign_lineages(Columns(GENES), cells(50, 1).X)
    assert assigned is not None
    assert (assigned == list(LINEAGES).index("T and NK cells")).all()
    assert assign_lineages(Columns(["G001", "G002"]), cells(50, 1)[:, ["G001", "G002"]].X) is None
    assert lineage_of("CL:0001054") == "myeloid cells"
    assert lineage_of(None) is None
