"""What questions may name, and whether matched controls exist: from the cell index, of which only distinct names leave.

The index is read with pyarrow alone; scanpy and friends are never loaded by the service.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from haystack.api.schemas import Controls, MetadataItem
from haystack.config import AtlasEntry, load_atlases
from haystack.contracts.query import StructuredQuery
from haystack.errors import HaystackError
from haystack.runs.folders import Folders
from haystack.runs.settings import ServiceSettings
from haystack.runs.views import Defaults

Kind = Literal["perturbations", "cell-types", "tissues", "donors", "atlases"]
INDEX = "results/index/cell_sets.parquet"
COLUMNS = {
    "atlas": "atlas",
    "perturbation": "perturbation_name",
    "perturbation_type": "perturbation_type",
    "is_control": "is_control",
    "cell_type": "cell_type_name",
    "cell_type_id": "cell_type_cl_id",
    "tissue": "tissue_name",
    "tissue_id": "tissue_uberon_id",
    "donor": "donor_id",
    "disease_id": "disease_mondo_id",
    "n_cells": "n_cells",
}
HEALTHY = "PATO:0000461"
Stamp = tuple[str, int, int]
"""path, time in ns, and size of an index"""


@dataclass(frozen=True)
class CellSetRow:
    """What of a cell set is needed here."""

    atlas: str
    perturbation: str | None
    perturbation_type: str | None
    is_control: bool
    cell_type: str | None
    cell_type_id: str | None
    tissue: str | None
    tissue_id: str | None
    donor: str | None
    disease_id: str | None
    n_cells: int

    @property
    def cell_type_key(self) -> str | None:
        """What tells its cell type from others."""
        return self.cell_type_id or self.cell_type


@dataclass(frozen=True)
class _Read:
    stamp: Stamp
    rows: list[CellSetRow]
    items: dict[Kind, list[MetadataItem]]


class Catalogue:
    """Reads the pipeline's config once, and the index again when it has changed.

    Parameters
    ----------
    settings
        of the service.

    Raises
    ------
    ConfigError
        when the pipeline's config is wrong.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        config = Folders(settings).pipeline_settings()
        self.defaults = Defaults.of(config)
        self.query_settings = config.query.model_copy(update={"llm": None})
        self._min_controls = config.prompting.min_control_cells
        self._atlases = _entries(settings, config)
        self._paths = (settings.work_dir / "shared" / INDEX, settings.pipeline_dir / INDEX)
        self._lock = threading.Lock()
        self._read: _Read | None = None

    def items(self, kind: Kind, search: str = "") -> tuple[list[MetadataItem], bool]:
        """Entries whose name or id holds the words, by name; and whether there is an index."""
        read = self._current()
        items = read.items[kind] if read else self._without_index(kind)
        words = search.casefold().split()
        texts = ((item, f"{item.name} {item.id or ''}".casefold()) for item in items)
        return [item for item, text in texts if all(word in text for word in words)], read is not None

    def controls(self, query: StructuredQuery) -> Controls:
        """Whether the atlases hold control cells for the question, as far as the index tells without ranking.

        A perturbation has matched controls where an atlas holds unperturbed cells of the same cell type beside the
        perturbed ones; a question without perturbation needs cells of healthy donors of the type.
        """
        read = self._current()
        if read is None:
            return Controls(available=None, message="Whether matched controls exist is known once atlases are indexed.")
        enough = [row for row in read.rows if row.n_cells >= self._min_controls]
        return _perturbed(query, enough) if query.asked.perturbations else _observed(query, enough)

    def stamp(self) -> Stamp | None:
        """Which index this is; None before any."""
        for path in self._paths:
            with suppress(FileNotFoundError):
                state = path.stat()
                return str(path), state.st_mtime_ns, state.st_size
        return None

    def _current(self) -> _Read | None:
        stamp = self.stamp()
        if stamp is None:
            return None
        with self._lock:
            if self._read is None or self._read.stamp != stamp:
                rows = read_rows(Path(stamp[0]))
                self._read = _Read(stamp, rows, self._gather(rows))
            return self._read

    def _gather(self, rows: list[CellSetRow]) -> dict[Kind, list[MetadataItem]]:
        shown = [row for row in rows if row.perturbation and not row.is_control]
        return {
            "perturbations": _items(shown, lambda row: (row.perturbation, None, row.perturbation_type)),
            "cell-types": _items(rows, lambda row: (row.cell_type, row.cell_type_id, None)),
            "tissues": _items(rows, lambda row: (row.tissue, row.tissue_id, None)),
            "donors": _items(rows, lambda row: (row.donor, None, None)),
            "atlases": self._atlas_items(rows),
        }

    def _atlas_items(self, rows: list[CellSetRow]) -> list[MetadataItem]:
        cells: Counter[str] = Counter()
        for row in rows:
            cells[row.atlas] += row.n_cells
        return [
            MetadataItem(
                name=name,
                description=entry.description or None,
                simulated=entry.simulated,
                n_cells=cells[name],
                atlases=[name],
            )
            for name, entry in sorted(self._atlases.items())
        ]

    def _without_index(self, kind: Kind) -> list[MetadataItem]:
        """Before any index: the configured atlases, and perturbations of the knowledge tables."""
        if kind == "atlases":
            return self._atlas_items([])
        if kind == "perturbations":
            from haystack.knowledge import perturbations

            known = {item.name: item.type for item in perturbations()}
            return [
                MetadataItem(name=name, kind=known[name], n_cells=0)
                for name in sorted(known, key=lambda n: n.casefold())
            ]
        return []


def read_rows(path: Path) -> list[CellSetRow]:
    """The cell sets of an index.

    Raises
    ------
    HaystackError
        when the file is not a whole index.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=list(COLUMNS.values()))
        columns: list[list[Any]] = [table.column(name).to_pylist() for name in COLUMNS.values()]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise HaystackError(f"{path}: cannot be read as an index of cell sets ({type(error).__name__})") from None
    return [CellSetRow(**dict(zip(COLUMNS, values, strict=True))) for values in zip(*columns, strict=True)]


def _entries(settings: ServiceSettings, config: Any) -> dict[str, AtlasEntry]:
    if isinstance(config.atlases, str):
        path = settings.pipeline_dir / config.atlases
        if not path.is_file():
            return {}
        config = config.model_copy(update={"atlases": str(path)})
    return load_atlases(config)


def _items(
    rows: Iterable[CellSetRow], key: Callable[[CellSetRow], tuple[str | None, str | None, str | None]]
) -> list[MetadataItem]:
    cells: Counter[tuple[str, str | None, str | None]] = Counter()
    atlases: dict[tuple[str, str | None, str | None], set[str]] = defaultdict(set)
    for row in rows:
        name, identifier, kind = key(row)
        if name is None:
            continue
        cells[name, identifier, kind] += row.n_cells
        atlases[name, identifier, kind].add(row.atlas)
    order = sorted(cells, key=lambda found: (found[0].casefold(), found[0], found[1] or "", found[2] or ""))
    return [
        MetadataItem(name=name, id=identifier, kind=kind, n_cells=cells[found], atlases=sorted(atlases[found]))
        for found in order
        for name, identifier, kind in [found]
    ]


def _perturbed(query: StructuredQuery, rows: list[CellSetRow]) -> Controls:
    controls = {(row.atlas, row.cell_type_key) for row in rows if row.is_control}
    names = {item.name.casefold() for item in query.asked.given}
    shown = [row for row in rows if row.perturbation and not row.is_control]
    direct = [row for row in shown if (row.perturbation or "").casefold() in names]
    said = " and ".join(item.name for item in query.asked.given)
    matched = sorted({row.atlas for row in (direct or shown) if (row.atlas, row.cell_type_key) in controls})
    if not direct:
        message = f"No atlas shows {said} itself; cells under similar perturbations would be looked for."
    elif matched:
        message = f"Cells under {said} have matched control cells in {', '.join(matched)}."
    else:
        message = f"Cells under {said} have no matched control cells: the original cells would be the control."
    return Controls(available=bool(matched), message=message, atlases=matched)


def _observed(query: StructuredQuery, rows: list[CellSetRow]) -> Controls:
    cells = query.asked.cells
    types = {cells.cl_id, cells.name} - {None}
    healthy = [row for row in rows if row.disease_id == HEALTHY and {row.cell_type_id, row.cell_type} & types]
    atlases = sorted({row.atlas for row in healthy})
    name = cells.name or "these cells"
    if atlases:
        message = f"Cells of healthy donors serve as controls for {name}: {', '.join(atlases)}."
    else:
        message = f"No atlas holds {name} of healthy donors: the original cells would be the control."
    return Controls(available=bool(atlases), message=message, atlases=atlases)
