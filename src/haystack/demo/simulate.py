"""Sample the cells of a simulated atlas and write them in the format of the atlas that it imitates."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from haystack.demo import world as w
from haystack.files import whole_file

if TYPE_CHECKING:
    from pathlib import Path

    import anndata
    import numpy as np
    import pandas as pd

    from haystack.config import DemoSettings

NOTE = "Simulated cells: made by haystack.demo, not measured. Numbers from them say nothing about biology."
RESPONSE_SPREAD = 0.25
"""sd of ln of a cell's responsiveness; its mean is 1"""
DEPTH_SPREAD = 0.35
"""sd of ln of a cell's total counts"""
SIZE = 5.0
"""negative-binomial size: variance = mean + mean^2 / size, in addition to depth and responsiveness"""


@dataclass(frozen=True)
class CellSet:
    """Cells sampled with the same parameters."""

    atlas: str
    cell_type: str
    kind: str
    donor: str
    sex: str
    n_cells: int
    depth: float
    perturbation: str | None = None
    disease: str | None = None
    severity: float = 0.0
    obs: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> str:
        """Name of the set, which together with the seed determines its random numbers."""
        return "\x1f".join([self.atlas, self.cell_type, self.donor, self.perturbation or "", self.disease or ""])


def simulate_atlas(name: str, out: Path, settings: DemoSettings) -> None:
    """Write one of the simulated atlases as h5ad (X: integer counts, CSR float32; var_names: symbols).

    Parameters
    ----------
    name
        parse_pbmc_demo, openproblems_demo or tabula_demo.
    out
        the h5ad file; the same settings give the same bytes.
    settings
        seed, and cells per cell type, donor and condition (common kinds of cells and controls have more).

    Raises
    ------
    AtlasError
        for an unknown name.
    """
    atlas = build_atlas(name, settings)
    with whole_file(out) as temporary:
        atlas.write_h5ad(temporary, compression="gzip", compression_opts=2)


def build_atlas(name: str, settings: DemoSettings) -> anndata.AnnData:
    """The atlas in memory; see `simulate_atlas`."""
    import anndata
    import numpy as np
    import pandas as pd
    from scipy import sparse

    world = w.load_world()
    layout = w.find(name, world.layouts["atlases"], "atlas")
    sets = tabula_sets(name, layout, settings) if "control" not in layout else perturbed_sets(name, layout, settings)
    blocks = [sparse.csr_matrix(sample_set(one, settings.seed)) for one in sets]
    obs = pd.DataFrame([one.obs for one in sets]).loc[np.repeat(np.arange(len(sets)), [one.n_cells for one in sets])]
    order = np.random.default_rng([settings.seed, zlib.crc32(name.encode())]).permutation(len(obs))
    obs = obs.iloc[order].reset_index(drop=True)
    obs.index = [f"{name}-{i:06d}" for i in range(len(obs))]
    X = sparse.vstack(blocks, format="csr")[order].astype(np.float32)
    X.sort_indices()
    atlas = anndata.AnnData(X, obs=_categories(obs), var=pd.DataFrame(index=list(world.genes)))
    atlas.uns["simulation"] = {"note": NOTE, "atlas": name, **settings.model_dump()}
    return atlas


def perturbed_sets(name: str, layout: dict[str, Any], settings: DemoSettings) -> list[CellSet]:
    """Cell sets of a perturbation atlas: every cell type, donor and condition."""
    sets = []
    for donor, about in layout["donors"].items():
        for condition in [layout["control"], *layout["perturbations"]]:
            control = condition == layout["control"]
            for cell_type, (kind, abundance) in layout["cell_types"].items():
                number = settings.cells_per_set * abundance * (layout["control_factor"] if control else 1)
                sets.append(
                    CellSet(
                        atlas=name,
                        cell_type=cell_type,
                        kind=kind,
                        donor=donor,
                        sex=about["sex"],
                        n_cells=round(number),
                        depth=layout["depth"],
                        perturbation=None if control else condition,
                        obs=_perturbed_obs(layout, donor, condition, cell_type),
                    )
                )
    return sets


def tabula_sets(name: str, layout: dict[str, Any], settings: DemoSettings) -> list[CellSet]:
    """Cell sets of the tissue atlas: every donor's tissues, except those left out on purpose."""
    missing = {(gap["donor"], gap["cell_type"]) for gap in layout["missing"]}
    return [
        tissue_set(name, layout, cell_type, donor, settings.cells_per_set)
        for donor, about in layout["donors"].items()
        for cell_type, entry in layout["cell_types"].items()
        if entry[4] in about.get("tissues", []) and (donor, cell_type) not in missing
    ]


def tissue_set(name: str, layout: dict[str, Any], cell_type: str, donor: str, cells_per_set: int) -> CellSet:
    """One cell set of the tissue atlas."""
    kind, abundance, cl_id, compartment, tissue = layout["cell_types"][cell_type]
    about = layout["donors"][donor]
    return CellSet(
        atlas=name,
        cell_type=cell_type,
        kind=kind,
        donor=donor,
        sex=about["sex"],
        n_cells=round(cells_per_set * abundance),
        depth=layout["depth"],
        disease=about.get("disease"),
        severity=about.get("severity", 0.0),
        obs={
            "tissue": tissue,
            "donor": donor,
            "cell_ontology_class": cell_type,
            "cell_ontology_id": cl_id,
            "compartment": compartment,
            "disease": about.get("disease", "normal"),
            "sex": about["sex"],
            "age": f"{about['age']}-year-old stage",
            "method": "10X",
        },
    )


def _perturbed_obs(layout: dict[str, Any], donor: str, condition: str, cell_type: str) -> dict[str, Any]:
    control = condition == layout["control"]
    if "smiles" in layout:
        return {
            "donor_id": donor,
            "cell_type": cell_type,
            "sm_name": condition,
            "SMILES": layout["smiles"][condition],
            "dose_uM": 14.1 if control else 1.0,
            "timepoint_hr": 24,
            "plate_name": f"plate_{list(layout['donors']).index(donor)}",
            "control": control,
        }
    return {
        "sample": f"{donor}_{condition}",
        "donor": donor,
        "cytokine": condition,
        "treatment": "control" if control else "cytokine",
        "cell_type": cell_type,
        "species": "hg38",
        "sex": layout["donors"][donor]["sex"],
        "age": layout["donors"][donor]["age"],
    }


def _categories(obs: pd.DataFrame) -> pd.DataFrame:
    for column in obs:
        if obs[column].dtype == object or str(obs[column].dtype).startswith("str"):
            obs[column] = obs[column].astype("category")
    return obs


def mean_profile(one: CellSet, responsiveness: float | np.ndarray = 1.0) -> np.ndarray:
    """Expected proportions of all genes (summing to 1) for cells of a set; one row per value of `responsiveness`."""
    import numpy as np

    steady, response = _log_profiles(one)
    log2 = steady + np.atleast_1d(np.asarray(responsiveness, dtype=float))[:, None] * response
    level = 1 / (np.exp2(-log2) + 2.0**-w.CEILING)
    return level / level.sum(axis=1, keepdims=True)


def sample_set(one: CellSet, seed: int, stream: str = "atlas") -> np.ndarray:
    """Counts of the cells of a set, cells x genes, negative binomial, from independent random streams."""
    import numpy as np

    rng = np.random.default_rng([seed, zlib.crc32(one.key.encode()), zlib.crc32(stream.encode())])
    responsiveness = rng.lognormal(-(RESPONSE_SPREAD**2) / 2, RESPONSE_SPREAD, one.n_cells)
    depth = one.depth * rng.lognormal(0, DEPTH_SPREAD, one.n_cells)
    mean = (mean_profile(one, responsiveness) * depth[:, None]).astype(np.float32)
    mean *= rng.standard_gamma(SIZE, mean.shape, dtype=np.float32) / np.float32(SIZE)
    return rng.poisson(mean)


def _log_profiles(one: CellSet) -> tuple[np.ndarray, np.ndarray]:
    """Log2 profile of a set without its perturbation, and the log2 effect of the perturbation."""
    import numpy as np

    steady = w.basal_profile(one.kind) + w.donor_effect(one.donor, one.kind, one.sex) + w.atlas_effect(one.atlas)
    if one.disease:
        steady = steady + one.severity * w.disease_effect(one.disease, one.kind)
    if one.perturbation is None:
        return steady, np.zeros_like(steady)
    return steady, w.donor_response(one.donor, one.perturbation) * w.perturbation_effect(one.perturbation, one.kind)
