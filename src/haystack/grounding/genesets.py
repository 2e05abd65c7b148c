"""Gene set libraries (GMT), regulons (CollecTRI-format CSV) and gene networks, read and checked."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from haystack.errors import GroundingError
from haystack.grounding.symbols import current
from haystack.knowledge.libraries import NOT_KEPT, library_file

log = logging.getLogger(__name__)


def read_gmt(path: str | Path) -> dict[str, frozenset[str]]:
    """Gene sets by name, current symbols in upper case.

    Lines without genes are left out; sets of the same name are united; both are logged.

    Raises
    ------
    GroundingError
        for a missing file, a line without tabs, or a file without any set.
    """
    path = _found(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise GroundingError(f"{path}: no such gene set library (config: enrichment.libraries)") from None
    except UnicodeDecodeError as error:
        raise GroundingError(f"{path}: not UTF-8 text ({error}); a GMT file is tab-separated text") from None
    sets: dict[str, set[str]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, _, rest = line.partition("\t")
        if not rest:
            raise GroundingError(
                f"{path}, line {number}: expected name, description and genes between tabs: {line[:60]!r}"
            )
        names = (gene.strip().split(",")[0] for gene in rest.split("\t")[1:])
        genes = {current(gene) for gene in names if gene}
        if not genes:
            log.warning("%s, line %d: the set %r has no genes and is left out", path, number, name)
            continue
        if name.strip() in sets:
            log.warning("%s, line %d: the set %r occurs twice; its genes are united", path, number, name)
        sets.setdefault(name.strip(), set()).update(genes)
    if not sets:
        raise GroundingError(f"{path}: no gene set with genes; expected a GMT file (name, description, genes)")
    return {name: frozenset(genes) for name, genes in sets.items()}


def read_libraries(libraries: Mapping[str, str]) -> dict[str, dict[str, frozenset[str]]]:
    """All libraries of the config, by name; those of public databases from their copy beside the results.

    Raises
    ------
    GroundingError
        for a faulty file (see `read_gmt`), or a library of a database that was not downloaded yet.
    """
    found = {}
    for name, given in sorted(libraries.items()):
        path = library_file(given)
        if path != given and not Path(path).exists():
            raise GroundingError(f"enrichment.libraries: {name}: {NOT_KEPT.format(path=path, address=given)}")
        found[name] = read_gmt(path)
    return found


def read_regulons(path: str | Path) -> dict[str, dict[str, float]]:
    """Transcription factor -> target -> weight (sign: activation or repression), from a CollecTRI-format CSV.

    Raises
    ------
    GroundingError
        for a missing file, missing columns (source, target, weight), or a weight that is not a number.
    """
    path = _found(path)
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle)
            missing = {"source", "target", "weight"} - set(reader.fieldnames or [])
            if missing:
                raise GroundingError(f"{path}: lacks the columns {', '.join(sorted(missing))} (source, target, weight)")
            regulons: dict[str, dict[str, float]] = {}
            for row in reader:
                weight = float(row["weight"])
                if not np.isfinite(weight):
                    raise ValueError(row["weight"])
                regulons.setdefault(current(row["source"]), {})[current(row["target"])] = weight
    except FileNotFoundError:
        raise GroundingError(f"{path}: no such regulon table (config: enrichment.regulons)") from None
    except (ValueError, TypeError) as error:
        raise GroundingError(f"{path}: a weight is not a number ({error})") from None
    return regulons


def read_edges(path: str | Path) -> set[tuple[str, str]]:
    """Undirected gene pairs from a TSV whose first two columns are symbols; lines that begin with # are comments.

    Raises
    ------
    GroundingError
        for a missing file or a line with fewer than two columns.
    """
    path = _found(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise GroundingError(f"{path}: no such gene network (config: grounding.network)") from None
    edges = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split("\t")]
        if len(parts) < 2:
            raise GroundingError(f"{path}, line {number}: expected two gene symbols between tabs: {line[:60]!r}")
        first, second = sorted(current(part) for part in parts[:2])
        if first != second:
            edges.add((first, second))
    return edges


def _found(path: str | Path) -> Path:
    """The path itself or, for `resources/...` outside a checkout, the packaged file."""
    path = Path(path)
    if not path.exists() and path.parts[:1] == ("resources",):
        from haystack.resources import resource

        return resource(path.as_posix())
    return path


@dataclass(frozen=True)
class SetMatrix:
    """Membership of genes (rows, in the order of `genes`) in sets (columns, in the order of `names`), sizes limited."""

    genes: tuple[str, ...]
    names: tuple[str, ...]
    libraries: tuple[str, ...]
    rows: tuple[np.ndarray, ...]
    """per set: positions in `genes`, ascending"""

    @cached_property
    def matrix(self) -> Any:
        """Sets x genes, CSR of ones."""
        from scipy import sparse

        columns = np.concatenate(self.rows) if self.rows else np.zeros(0, dtype=int)
        starts = np.concatenate([[0], np.cumsum(self.sizes)]).astype(int)
        return sparse.csr_matrix((np.ones(columns.size), columns, starts), shape=(len(self.names), len(self.genes)))

    def overlap(self, chosen: np.ndarray) -> np.ndarray:
        """Chosen genes (mask over `genes`) in each set."""
        return np.asarray(self.matrix @ chosen.astype(float)).ravel().astype(int)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Genes of each set within `genes`."""
        return np.array([rows.size for rows in self.rows], dtype=int)

    @cached_property
    def column(self) -> dict[str, int]:
        """Set name in lower case -> column (the first library wins)."""
        found: dict[str, int] = {}
        for index, name in enumerate(self.names):
            found.setdefault(name.lower(), index)
        return found


def set_matrix(
    libraries: Mapping[str, Mapping[str, Iterable[str]]], genes: Iterable[str], min_size: int, max_size: int
) -> SetMatrix:
    """Sets of all libraries within a background of genes; sets outside [min_size, max_size] are left out."""
    background = tuple(genes)
    position = {gene: index for index, gene in enumerate(background)}
    names, owners, rows = [], [], []
    for library in sorted(libraries):
        for name in sorted(libraries[library]):
            held = np.array(sorted(position[gene] for gene in libraries[library][name] if gene in position), dtype=int)
            if min_size <= held.size <= max_size:
                names.append(name)
                owners.append(library)
                rows.append(held)
    return SetMatrix(background, tuple(names), tuple(owners), tuple(rows))
