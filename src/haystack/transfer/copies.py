"""Cells that two atlases share: a dataset that is listed twice must not confirm itself.

Names of cells and donors differ between copies of a dataset, and one copy may lack some genes or cells, so cells are
compared by their counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.contracts.contexts import Arm

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd
    from numpy.typing import NDArray

    Marks = NDArray[np.uint64]

BUCKETS = 8
"""groups of genes that are compared separately, so that a gene that one copy lacks spoils one of them"""
LEAST_GENES = 10
"""least number of detected genes of a group for equal counts to be no coincidence"""
LEAST_CELLS, LEAST_SHARE = 3, 0.02
"""cells, and share of the smaller sample's, that two samples must have in common; only a part of each is read"""
BETWEEN = ";"


def marks_of(counts: Any, genes: Sequence[str]) -> Marks:
    """Marks of cells, equal where the counts of a group of genes are: (cells, BUCKETS), 0 where too few are detected.

    Parameters
    ----------
    counts
        CSR, cells x genes, raw counts.
    genes
        symbols, unique.
    """
    import pandas as pd
    from scipy import sparse

    codes = pd.util.hash_array(np.asarray(genes, dtype=object), categorize=False)
    bucket, weight = (codes % BUCKETS).astype(np.int64), (codes >> np.uint64(40)).astype(np.float64) + 1
    shape = (len(genes), BUCKETS)
    at = np.arange(len(genes)), bucket
    values = sparse.csr_matrix(counts, dtype=np.float64)
    total = (values @ sparse.csr_matrix((weight, at), shape=shape)).toarray()
    values.data = (values.data > 0).astype(np.float64)
    detected = (values @ sparse.csr_matrix((np.ones(len(genes)), at), shape=shape)).toarray()
    marks = total.astype(np.uint64) * np.uint64(BUCKETS) + np.arange(BUCKETS, dtype=np.uint64)
    return np.where(detected >= LEAST_GENES, marks, np.uint64(0))


def without_copies(contexts: ad.AnnData, marks: Mapping[int, Marks]) -> ad.AnnData:
    """Contexts without those whose treated (or observed) cells are those of an earlier context of another atlas.

    Donors (or atlases, where donors are not recorded) of contexts that share cells are the same: each context names
    the other's donors among those of its control cells, so none counts as independent of the other, nor of a prompt
    from the other atlas. `uns["copies"]` says so, one sentence per pair of atlases.

    Parameters
    ----------
    contexts
        rows as of `contexts.h5ad`.
    marks
        row -> marks of its cells; empty if all are of one atlas.
    """
    obs = contexts.obs
    parts = obs.loc[obs["arm"] != Arm.QUERY.value].groupby(["context_id", "arm"], sort=False, observed=True).indices
    atlas = {part: str(obs["atlas"].iloc[rows[0]]) for part, rows in parts.items()}
    if not marks or len(set(atlas.values())) < 2:
        return contexts
    cells = {part: np.concatenate([marks[row] for row in rows]) for part, rows in parts.items()}
    shared = [(a, b) for a, b in _shared(cells, atlas) if a[1] == b[1]]
    if not shared:
        return contexts
    dropped: dict[str, str] = {}
    for (kept, arm), (copy, _) in shared:
        if arm != Arm.CONTROL.value and kept not in dropped:
            dropped.setdefault(copy, kept)
    found = contexts[~obs["context_id"].isin(dropped).to_numpy()].copy()
    _name_together(found.obs, _groups(obs, [(a[0], b[0]) for a, b in shared]))
    pairs = dict.fromkeys((atlas[a], atlas[b]) for a, b in shared)
    found.uns["copies"] = [
        f"atlases {first} and {second} hold the same cells, which count once"
        + (f" ({n} contexts left out)" if (n := _count(obs, dropped, second)) else "")
        for first, second in pairs
    ]
    return found


def _count(obs: pd.DataFrame, dropped: dict[str, str], atlas: str) -> int:
    return int(obs.loc[obs["context_id"].isin(dropped) & (obs["atlas"] == atlas), "context_id"].nunique())


def _shared(
    cells: dict[tuple[str, str], Marks], atlas: dict[tuple[str, str], str]
) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Pairs of parts (context, arm) of different atlases that share cells, the earlier part first."""
    import pandas as pd

    parts = list(cells)
    tables = []
    for number, part in enumerate(parts):
        cell, bucket = np.nonzero(cells[part])
        tables.append(pd.DataFrame({"mark": cells[part][cell, bucket], "cell": cell, "part": number}))
    by_atlas: dict[str, list[pd.DataFrame]] = {}
    for part, table in zip(parts, tables, strict=True):
        by_atlas.setdefault(atlas[part], []).append(table)
    found = []
    for first, second in combinations(by_atlas, 2):
        both = pd.concat(by_atlas[first]).merge(pd.concat(by_atlas[second]), on="mark", suffixes=("", "_2"))
        pairs = both.drop_duplicates(["part", "cell", "part_2"]).groupby(["part", "part_2"]).size()
        for (a, b), n in pairs.items():
            if n >= max(LEAST_CELLS, LEAST_SHARE * min(len(cells[parts[a]]), len(cells[parts[b]]))):
                found.append((parts[a], parts[b]))
    return found


def _groups(obs: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> list[set[str]]:
    """Donors, or atlases without donors, that are the same because their contexts share cells."""
    first = {row.context_id: _people(row) for row in obs.drop_duplicates("context_id").itertuples()}
    groups: list[set[str]] = []
    for a, b in pairs:
        joined = first[a] | first[b]
        for group in [group for group in groups if group & joined]:
            groups.remove(group)
            joined |= group
        groups.append(joined)
    return groups


def _name_together(obs: pd.DataFrame, groups: Sequence[set[str]]) -> None:
    """Name all people of a group among the control donors of each context that has one of them."""
    import pandas as pd

    left = {f"atlas {atlas}" for atlas in obs.loc[obs["arm"] != Arm.QUERY.value, "atlas"]}
    groups = [group for group in groups if len(group & left) != 1]  # no other atlas is left to be told apart from it
    names = []
    for row in obs.itertuples():
        own = _people(row) if row.arm != Arm.QUERY.value else set()
        more = set().union(*(group for group in groups if group & own))
        names.append(BETWEEN.join(sorted(_controls(row) | more)))
    obs["control_donors"] = pd.Categorical(names)


def _people(row: Any) -> set[str]:
    donor = {row.donor_id} if isinstance(row.donor_id, str) else set()
    return (_controls(row) | donor) or {f"atlas {row.atlas}"}


def _controls(row: Any) -> set[str]:
    return set(row.control_donors.split(BETWEEN)) - {""} if isinstance(row.control_donors, str) else set()
