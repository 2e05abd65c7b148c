"""`intake.json`: content of one atlas, how it was understood, and what was left out."""

from __future__ import annotations

from typing import Literal

from haystack.contracts.base import Contract


class LabelCount(Contract):
    """A label and its number of cells."""

    label: str
    n_cells: int


class LeftOut(Contract):
    """Parts of the file that are not in the index."""

    unit: Literal["cells", "features"]
    n: int
    why: str


class LabelMeaning(Contract):
    """How one label was understood (a row of mapping.tsv)."""

    kind: str
    label: str
    id: str | None
    """ontology or database id; null where nothing fits"""
    name: str
    score: float | None
    """confidence in [0, 1]; null for what nothing resolves"""
    method: str
    n_cells: int


class GeneIntake(Contract):
    """Features and genes."""

    n_features: int
    n_symbols: int
    """distinct symbols of human genes"""
    n_repeats: int
    """genes whose counts were added to another one with the same symbol"""
    repaired: dict[str, int]
    """kind of repair of names -> number"""
    n_model: int | None
    """genes of the model; null where the model is not there yet"""
    n_shared: int | None
    """of these, genes that the atlas has"""


class Depth(Contract):
    """Counts and genes per cell: 5th, 50th, 95th percentile; cells per bin of log10(counts)."""

    counts: list[float]
    genes: list[float]
    bins: list[float]
    """edges, log10 of counts"""
    histogram: list[int]


class DonorCrossing(Contract):
    """Donors of one condition compared with those of the controls."""

    condition: str
    n_cells: int
    n_donors: int
    n_paired: int
    pairing: str
    """paired, partly paired, confounded, unknown"""


class Intake(Contract):
    """One atlas."""

    atlas: str
    path: str
    matrix: str
    """location of the counts, their format and type"""
    counts: str
    """result of the test for counts in a sample of rows"""
    n_cells: int
    n_indexed: int
    left_out: list[LeftOut]
    species: str
    """and where the file states it"""
    genes: GeneIntake
    controls: list[LabelCount]
    donors: list[LabelCount]
    conditions: list[str]
    """columns of `table`, those with most cells first; control cells are `control`"""
    cell_types: list[str]
    """rows of `table`"""
    table: list[list[int]]
    """cells per cell type and condition"""
    labels: list[LabelMeaning]
    depth: Depth | None
    """null: counts per cell were neither in obs nor read (read_counts)"""
    doublets: list[LabelCount]
    """labels and columns that name doublets, debris or cells of unknown kind"""
    design: list[DonorCrossing]
    warnings: list[str]
