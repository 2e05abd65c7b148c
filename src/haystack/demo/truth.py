"""True effects in the simulation, for benchmarks: of perturbations, diseases and donors.

Independent of what the atlases sampled: responses are expectations over cells, and held-out cells, including controls,
are sampled anew.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from haystack.demo import world as w
from haystack.demo.simulate import NOTE, RESPONSE_SPREAD, CellSet, mean_profile, sample_set, tissue_set
from haystack.errors import AtlasError, suggest

if TYPE_CHECKING:
    import anndata
    import numpy as np
    import pandas as pd

TISSUE_ATLAS = "tabula_demo"
QUANTILES = 9


def true_response(
    perturbation: str,
    cell_type: str,
    tissue: str | None = None,
    donor: str | None = None,
    atlas: str | None = None,
    pseudocount: float = 1.0,
) -> pd.Series:
    """True log2 fold change of every gene under a perturbation.

    Parameters
    ----------
    perturbation
        a name of `perturbations()`.
    cell_type
        a label of a simulated atlas, its Cell Ontology id, or (with `tissue`) a plain word such as fibroblast.
    tissue
        lung, liver, kidney or blood; needed if a plain word means several kinds of cells.
    donor
        one donor; None: the mean over the healthy donors that have such cells.
    atlas
        whose donors and protocol; None: the tissue atlas, or the first atlas that has the label.
    pseudocount
        c of log2((mean CP10k + c) / (mean CP10k control + c)), as in `de.parquet`.

    Returns
    -------
    Series
        log2fc by gene symbol.

    Raises
    ------
    AtlasError
        for a perturbation, cell type, donor or atlas that the simulation does not have.
    """
    sets = find_sets(cell_type, tissue, donor, atlas)
    treated = [treat(one, perturbation) for one in sets]
    return _log2fc(_mean_cp10k(treated), _mean_cp10k(sets), pseudocount)


def true_difference(cell_type: str, donor: str, tissue: str | None = None, pseudocount: float = 1.0) -> pd.Series:
    """Log2 fold change of a donor's cells (disease and person) against those of healthy donors of the tissue atlas.

    Also for cells that the atlas lacks on purpose, such as the macrophages of kidney donor KD_047. Parameters, returned
    Series and errors as of `true_response`.
    """
    own = find_sets(cell_type, tissue, donor, TISSUE_ATLAS)
    return _log2fc(_mean_cp10k(own), _mean_cp10k(find_sets(cell_type, tissue, None, TISSUE_ATLAS)), pseudocount)


def simulate_truth(
    cell_type: str,
    tissue: str | None = None,
    perturbation: str | None = None,
    donor: str | None = None,
    atlas: str | None = None,
    n_cells: int = 256,
    seed: int = 0,
) -> anndata.AnnData:
    """Held-out cells of a condition that no atlas shows, and fresh control cells.

    With a perturbation: cells under it, and unperturbed cells of the same donors. Without one, a donor is needed: that
    donor's cells (KD_047's macrophages), and cells of the healthy donors as control.

    Parameters
    ----------
    cell_type, tissue, perturbation, donor, atlas
        as of `true_response`.
    n_cells
        per role, spread evenly over the donors.
    seed
        of the sampling; no cell of an atlas is drawn again, whatever the seed.

    Returns
    -------
    AnnData
        raw counts (CSR); obs: role (`observed`, `control`), donor, cell_type, perturbation, and the atlas's columns.

    Raises
    ------
    AtlasError
        as `true_response`; also when neither a perturbation nor a donor is given.
    """
    if perturbation is None and donor is None:
        raise AtlasError("simulate_truth: give a perturbation or a donor, else there is nothing to compare with")
    if perturbation is None:
        atlas = TISSUE_ATLAS
    own = find_sets(cell_type, tissue, donor, atlas)
    observed = own if perturbation is None else [treat(one, perturbation) for one in own]
    control = find_sets(cell_type, tissue, None, atlas) if perturbation is None else own
    return _sample({"observed": observed, "control": control}, n_cells, seed)


def perturbations() -> dict[str, str]:
    """Every simulated perturbation, and the atlas with it."""
    atlases = w.load_world().layouts["atlases"]
    return {name: atlas for atlas, layout in atlases.items() for name in layout.get("perturbations", [])}


def departing() -> dict[str, str]:
    """Perturbations whose truth deviates from prior knowledge, and how."""
    entries = w.load_world().programmes["perturbations"]
    return {name: entry["departs"] for name, entry in entries.items() if "departs" in entry}


def treat(one: CellSet, perturbation: str) -> CellSet:
    """The same cells under a perturbation (name in any case)."""
    known = w.load_world().programmes["perturbations"]
    perturbation = {name.lower(): name for name in known}.get(perturbation.lower(), perturbation)
    w.find(perturbation, known, "perturbation")
    return dataclasses.replace(one, perturbation=perturbation)


def find_sets(cell_type: str, tissue: str | None, donor: str | None, atlas: str | None) -> list[CellSet]:
    """Unperturbed cell sets of a cell type: of one donor, or of all healthy donors."""
    layouts = w.load_world().layouts
    tried = [atlas] if atlas else [TISSUE_ATLAS, *(name for name in layouts["atlases"] if name != TISSUE_ATLAS)]
    for name in tried:
        layout = w.find(name, layouts["atlases"], "atlas")
        label = _label(cell_type, tissue, layout, layouts["words"])
        if label is not None:
            return _sets_of(name, layout, label, donor)
    known = [label for name in tried for label in layouts["atlases"][name]["cell_types"]]
    where = f" in {tissue}" if tissue else ""
    raise AtlasError(f"the simulation has no cell type '{cell_type}'{where}.{suggest(cell_type, known)}")


def _label(cell_type: str, tissue: str | None, layout: dict[str, Any], words: dict[str, Any]) -> str | None:
    wanted = cell_type.lower()
    for label, entry in layout["cell_types"].items():
        names = {label.lower(), *(part.lower() for part in entry if str(part).startswith("CL:"))}
        place = entry[4] if len(entry) > 4 else "blood"
        if wanted in names and tissue in (None, place):
            return str(label)
    places = words.get(wanted, {})
    if tissue is None and len(places) > 1:
        raise AtlasError(f"'{cell_type}' means several kinds of cells here: give a tissue ({', '.join(places)})")
    kind = next(iter(places.values()), None) if tissue is None else places.get(tissue)
    for label, entry in layout["cell_types"].items():
        if kind is not None and entry[0] == kind:
            return str(label)
    return None


def _sets_of(atlas: str, layout: dict[str, Any], label: str, donor: str | None) -> list[CellSet]:
    donors = layout["donors"]
    if donor is not None:
        w.find(donor, donors, f"donor (in {atlas})")
    kind = layout["cell_types"][label][0]
    if "control" not in layout:
        tissue = layout["cell_types"][label][4]
        chosen = [donor] if donor else [d for d, a in donors.items() if tissue in a["tissues"] and "disease" not in a]
        return [tissue_set(atlas, layout, label, one, 1) for one in chosen]
    return [
        CellSet(
            atlas=atlas,
            cell_type=label,
            kind=kind,
            donor=one,
            sex=donors[one]["sex"],
            n_cells=1,
            depth=layout["depth"],
        )
        for one in ([donor] if donor else donors)
    ]


def _mean_cp10k(sets: list[CellSet]) -> np.ndarray:
    """Expected CP10k over the sets (one weight each) and over the responsiveness of single cells."""
    import numpy as np
    from scipy.stats import norm

    grid = norm.ppf((np.arange(QUANTILES) + 0.5) / QUANTILES)
    responsiveness = np.exp(RESPONSE_SPREAD * grid - RESPONSE_SPREAD**2 / 2)
    return 1e4 * np.mean([mean_profile(one, responsiveness).mean(axis=0) for one in sets], axis=0)


def _log2fc(perturbed: np.ndarray, control: np.ndarray, pseudocount: float) -> pd.Series:
    import numpy as np
    import pandas as pd

    values = np.log2((perturbed + pseudocount) / (control + pseudocount))
    return pd.Series(values, index=pd.Index(w.load_world().genes, name="gene"), name="log2fc")


def _sample(roles: dict[str, list[CellSet]], n_cells: int, seed: int) -> anndata.AnnData:
    import anndata
    import numpy as np
    import pandas as pd
    from scipy import sparse

    blocks, rows = [], []
    for role, sets in roles.items():
        share = np.diff(np.linspace(0, n_cells, len(sets) + 1).round().astype(int))
        for one, number in zip(sets, share, strict=True):
            drawn = dataclasses.replace(one, n_cells=int(number))
            blocks.append(sparse.csr_matrix(sample_set(drawn, seed, stream=f"truth {role}")))
            label = {"role": role, "donor": one.donor, "cell_type": one.cell_type, "perturbation": one.perturbation}
            rows += [{**one.obs, **label}] * int(number)
    obs = pd.DataFrame(rows)
    obs["perturbation"] = obs["perturbation"].fillna("control")
    obs.index = [f"truth-{role}-{i:05d}" for i, role in enumerate(obs["role"])]
    X = sparse.vstack(blocks, format="csr").astype(np.float32)
    truth = anndata.AnnData(X, obs=obs.astype("category"), var=pd.DataFrame(index=list(w.load_world().genes)))
    truth.uns["simulation"] = {"note": NOTE, "seed": seed}
    return truth
