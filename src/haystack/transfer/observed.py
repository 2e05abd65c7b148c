"""Expected accuracy of questions without a perturbation, by leaving out donors, tissues, diseases or atlases.

A sample is the unperturbed cells of one cell type of one group (donor, tissue, disease or atlas, depending on the
question) in one atlas. The prediction target is its difference from cells of the same type of another group, which
stand for the query cells. Methods: `no_change`, `type_mean` (mean of the other groups), `nearest_group` (the group
whose other cell types differ least), and `transfer`: the type's mean plus a share, estimated on the other samples, of
the group's effect in its other cell types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.contracts.accuracy import CANNOT, ExpectedAccuracy, Independence, LeftOut
from haystack.contracts.contexts import Arm
from haystack.correlation import fisher, pearson
from haystack.retrieval.celltypes import lineage_likeness
from haystack.transfer.accuracy import interval
from haystack.transfer.samples import TARGET

if TYPE_CHECKING:
    import anndata as ad
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FEW = 3
"""with fewer groups that have the cell type, samples of all types are left out"""
NOTE = (
    "expected r is that of a simple estimate (the mean of the cell type, shifted as the other cell types of the group "
    "in question are), not of the model's own prediction"
)


@dataclass(frozen=True)
class Samples:
    """K samples over G genes: log2(CP10k + c), (K, 2 halves, G) and whole (K, G)."""

    stratum: list[str]
    """samples are compared within a stratum: the atlas, or none if atlases are left out"""
    atlas: list[str]
    cell_type: list[str]
    cell_type_name: list[str]
    group: list[str]
    n_cells: list[int]
    halves: Floats
    whole: Floats

    def __len__(self) -> int:
        return len(self.group)

    @cached_property
    def lineage(self) -> dict[str, dict[str, float]]:
        """Cell type -> cell type -> shared lineage."""
        return {name: lineage_likeness(name, self.cell_type) for name in set(self.cell_type)}

    def others(self, k: int) -> list[int]:
        """Samples of the same type of other groups, without the query's group; most cells first."""
        same = [
            i
            for i in range(len(self))
            if self.stratum[i] == self.stratum[k]
            and self.cell_type[i] == self.cell_type[k]
            and self.group[i] not in (self.group[k], TARGET)
        ]
        return sorted(same, key=lambda i: (-self.n_cells[i], i))

    @classmethod
    def read(cls, contexts: ad.AnnData, pseudocount: float, kind: Independence) -> Samples:
        """Read the rows `observed` of `contexts.h5ad` over the genes common to all."""
        data = contexts[(contexts.obs["arm"] == Arm.OBSERVED.value).to_numpy()]
        obs = data.obs.reset_index(drop=True)
        order = obs.sort_values(["context_id", "half"], kind="stable").index.to_numpy()
        mean = np.asarray(data.X, dtype=float)
        mean = mean[:, np.isfinite(mean).all(axis=0)][order].reshape(len(order) // 2, 2, -1)
        n = obs["n_cells"].to_numpy(dtype=float)[order].reshape(-1, 2)
        pooled = (mean * (n / np.maximum(n.sum(axis=1, keepdims=True), 1))[..., None]).sum(axis=1)
        first = obs.loc[order[::2]].astype(object)
        text = {name: first[name].where(first[name].notna(), "").astype(str).tolist() for name in first}
        return cls(
            stratum=[""] * len(first) if kind is Independence.ATLASES else text["atlas"],
            atlas=text["atlas"],
            cell_type=text["cell_type"],
            cell_type_name=text["cell_type_name"],
            group=text["perturbation_name"],
            n_cells=[int(total) for total in n.sum(axis=1)],
            halves=np.log2(mean + pseudocount),
            whole=np.log2(pooled + pseudocount),
        )


@dataclass(frozen=True)
class _Example:
    """A left-out sample: its difference from the substitute query, the predictions of each method, and the group
    effect.
    """

    sample: int
    truth: Floats
    mean: Floats
    nearest: Floats
    shift: Floats
    reference: int


def observed_accuracy(contexts: ad.AnnData, pseudocount: float) -> ExpectedAccuracy:
    """Leave out samples of the query's type (of all types, if fewer than FEW groups have it), one group at a time.

    Parameters
    ----------
    contexts
        `contexts.h5ad` of a question without a perturbation.
    """
    kind = Independence(contexts.uns["observed"]) if contexts.uns["observed"] else None
    if kind is None:
        return _cannot("the question names no donor, tissue, disease or dataset that could be left out")
    what = str(kind).rstrip("s")
    samples = Samples.read(contexts, pseudocount, kind) if (contexts.obs["arm"] == Arm.OBSERVED.value).any() else None
    if samples is None or TARGET not in samples.group:
        return _cannot(f"no other cells of the {what} in question are measured")
    asked = {str(name) for name in contexts.uns["asked_types"]}
    able = [k for k in range(len(samples)) if samples.group[k] != TARGET and samples.others(k)]
    own = [k for k in able if samples.cell_type[k] in asked]
    notes = [NOTE, *map(str, contexts.uns.get("notes", []))]
    if len({samples.group[k] for k in own}) < FEW:
        notes.append("few groups hold the cell type in question: other cell types were left out too")
        own = able
    examples = [example for k in own if (example := _example(samples, k)) is not None]
    if len({samples.group[example.sample] for example in examples}) < 2:
        return _cannot(f"fewer than two other {kind} hold the cell type beside others")
    return _summary(samples, examples, kind, notes, bool(asked & set(samples.cell_type)))


def _example(samples: Samples, k: int) -> _Example | None:
    """None if the group shares no other cell type with other groups."""
    others = samples.others(k)
    reference = others[0]
    level = samples.halves[reference, 0]
    known = [level if i == reference else samples.whole[i] for i in others]
    shifts, weights, apart = [], [], dict[int, list[float]]((i, []) for i in others)
    for j in range(len(samples)):
        same = samples.stratum[j] == samples.stratum[k] and samples.group[j] == samples.group[k]
        if j == k or not same or samples.cell_type[j] == samples.cell_type[k] or not (rest := samples.others(j)):
            continue
        shifts.append(samples.whole[j] - samples.whole[rest].mean(axis=0))
        weights.append(0.5 + 0.5 * samples.lineage[samples.cell_type[k]].get(samples.cell_type[j], 0.0))
        for i in others:
            for other in (r for r in rest if samples.group[r] == samples.group[i]):
                apart[i].append(float(((samples.whole[j] - samples.whole[other]) ** 2).mean()))
    if not shifts:
        return None
    distance = [float(np.mean(apart[i])) if apart[i] else np.inf for i in others]
    return _Example(
        sample=k,
        truth=samples.whole[k] - samples.halves[reference, 1],
        mean=np.mean(known, axis=0) - level,
        nearest=known[int(np.argmin(distance))] - level,
        shift=np.average(shifts, axis=0, weights=weights),
        reference=reference,
    )


def _share(examples: Sequence[_Example]) -> float:
    """Least-squares share of the group effect that replicates, 0 to 1, with a prior of 0.5 worth one example."""
    products = [float(example.shift @ (example.truth - example.mean)) for example in examples]
    squares = [float(example.shift @ example.shift) for example in examples]
    prior = float(np.mean(squares)) if squares else 1.0
    return float(np.clip((sum(products) + 0.5 * prior) / (sum(squares) + prior), 0, 1))


def _summary(
    samples: Samples, examples: Sequence[_Example], kind: Independence, notes: list[str], type_is_measured: bool
) -> ExpectedAccuracy:
    left_out, real = [], []
    by_group: dict[str, list[float]] = {}
    for example in examples:
        k = example.sample
        rest = [one for one in examples if samples.group[one.sample] != samples.group[k]]
        made = {
            "transfer": example.mean + _share(rest) * example.shift,
            "nearest_group": example.nearest,
            "type_mean": example.mean,
        }
        r = {name: round(pearson(values, example.truth) or 0.0, 4) for name, values in made.items()}
        half = pearson(samples.halves[k, 0] - samples.halves[example.reference, 0], example.truth)
        real += [half] if half is not None else []
        by_group.setdefault(samples.group[k], []).append(fisher(r["transfer"]))
        left_out.append(
            LeftOut(
                context_id=f"{samples.cell_type_name[k]}, {samples.group[k]}",
                atlas=samples.atlas[k],
                cell_type_name=samples.cell_type_name[k] or None,
                donor_id=samples.group[k] if kind is Independence.DONORS else None,
                perturbation_name="",
                n_cells=samples.n_cells[k],
                n_references=len(samples.others(k)),
                r={**r, "no_change": 0.0},
                half_of_real_cells=None if half is None else round(half, 4),
            )
        )
    centre, margin = interval(by_group)
    low, r, high = np.tanh([centre - margin, centre, centre + margin]).round(4).tolist()
    methods = {name: float(np.mean([one.r[name] for one in left_out])) for name in left_out[0].r}
    return ExpectedAccuracy(
        r=r,
        low=low,
        high=high,
        n_contexts=len(left_out),
        n_donors=len(by_group),
        independence=kind,
        half_of_real_cells=round(float(np.mean(real)), 4) if real else None,
        asked_is_measured=True,
        asked_type_is_measured=type_is_measured,
        methods={name: round(value, 4) for name, value in methods.items()},
        contexts=left_out,
        notes=notes,
    )


def _cannot(why: str) -> ExpectedAccuracy:
    facts: dict[str, Any] = {"r": None, "asked_is_measured": True}
    return ExpectedAccuracy(reason=f"{CANNOT}, because {why}", **facts)
