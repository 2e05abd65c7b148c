"""obs columns as codes and categories, read in chunks: memory holds the distinct labels, not the cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from haystack.errors import suggest

if TYPE_CHECKING:
    from haystack.atlas.store import Store
    from haystack.errors import AtlasError

CHUNK = 1_000_000
MAX_LABELS = 200_000
_MISSING = {"", "nan", "na", "n/a", "none", "null", "<na>", "unknown"}


def is_missing(label: str) -> bool:
    """Whether a text means a missing label (empty, nan, NA, none, null, unknown)."""
    return label.strip().casefold() in _MISSING


def plain(label: str) -> str:
    """A label without outer blanks, and with single blanks within.

    >>> plain(" CD14+  monocytes ")
    'CD14+ monocytes'
    """
    return " ".join(label.split())


def missing_words() -> frozenset[str]:
    """Texts, case-folded, that mean a missing label."""
    return frozenset(_MISSING)


class LabelColumn(Protocol):
    """A column of labels. Code -1 is a missing label."""

    @property
    def categories(self) -> list[str]:
        """The distinct labels; codes are positions in it."""
        ...

    def codes(self, start: int, stop: int) -> np.ndarray:
        """Codes of cells start to stop, (stop - start,)."""
        ...


@dataclass
class StoredCodes:
    """A categorical column whose codes are read from the file on demand."""

    categories: list[str]
    array: Any
    n_stored: int
    """categories in the file"""
    broken: AtlasError
    """raised if a code has no category"""
    lookup: np.ndarray | None = None
    """file's code -> code, if some categories mean missing labels; its last entry is for -1"""

    def codes(self, start: int, stop: int) -> np.ndarray:
        """See LabelColumn."""
        codes = np.asarray(self.array[start:stop])
        if codes.size and (int(codes.min()) < -1 or int(codes.max()) >= self.n_stored):
            raise self.broken
        return codes if self.lookup is None else self.lookup[codes]


@dataclass
class HeldCodes:
    """A column of strings or numbers, factorised while reading; codes use the smallest integer type."""

    categories: list[str]
    array: np.ndarray

    def codes(self, start: int, stop: int) -> np.ndarray:
        """See LabelColumn."""
        return self.array[start:stop]


@dataclass
class MissingNamed:
    """A column in which missing labels are a label of their own (`control_labels: [nan]`), the last category."""

    column: LabelColumn
    name: str

    @property
    def categories(self) -> list[str]:
        """See LabelColumn."""
        return [*self.column.categories, self.name]

    def codes(self, start: int, stop: int) -> np.ndarray:
        """See LabelColumn."""
        codes = self.column.codes(start, stop).astype(np.int32)
        return np.where(codes < 0, len(self.column.categories), codes)


@dataclass
class SameLabel:
    """One label for all cells (a constant of the entry), or no label."""

    categories: list[str]

    def codes(self, start: int, stop: int) -> np.ndarray:
        """See LabelColumn."""
        return np.full(stop - start, 0 if self.categories else -1, dtype=np.int8)


@dataclass
class PairedLabels:
    """Two columns as one: a category for each observed pair of labels; -1 if the first is missing."""

    categories: list[str]
    """the first label of each pair"""
    first: LabelColumn
    second: LabelColumn
    counts: dict[tuple[str, str | None], int]
    """pair -> cells, in the order of the codes"""
    lookup: dict[int, int]

    def codes(self, start: int, stop: int) -> np.ndarray:
        """See LabelColumn."""
        pairs, places = np.unique(_pair_codes(self.first, self.second, start, stop), return_inverse=True)
        return np.array([self.lookup.get(pair, -1) for pair in pairs.tolist()], dtype=np.int32)[places]


def pair_columns(first: LabelColumn, second: LabelColumn, n: int) -> PairedLabels:
    """Pair two columns of `n` cells."""
    cells: dict[int, int] = {}
    for start, stop in chunks(n):
        pairs, counts = np.unique(_pair_codes(first, second, start, stop), return_counts=True)
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
            cells[pair] = cells.get(pair, 0) + count
    size = len(second.categories) + 1
    present = sorted(pair for pair in cells if pair >= 0)
    others: list[str | None] = [None, *second.categories]
    named = {(first.categories[pair // size], others[pair % size]): cells[pair] for pair in present}
    return PairedLabels(
        [label for label, _ in named], first, second, named, {pair: code for code, pair in enumerate(present)}
    )


def _pair_codes(first: LabelColumn, second: LabelColumn, start: int, stop: int) -> np.ndarray:
    """One number per cell for its pair of codes; negative if the first is missing."""
    one, other = first.codes(start, stop).astype(np.int64), second.codes(start, stop).astype(np.int64)
    return np.where(one < 0, -1, one * (len(second.categories) + 1) + other + 1)


def obs_columns(store: Store) -> list[str]:
    """Names of the obs columns, without the index."""
    _require_frame(store, "obs")
    hidden = {index_name(store, "obs"), "__categories"}
    return [key for key in store.keys("obs") if key not in hidden]


def index_name(store: Store, frame: str) -> str:
    """Name of the array that holds the row names of `obs`, `var` or `raw/var`."""
    name = store.attribute(frame, "_index")
    return str(name) if name is not None else "_index"


def n_rows(store: Store, frame: str) -> int:
    """Rows of `obs`, `var` or `raw/var`."""
    _require_frame(store, frame)
    key = f"{frame}/{index_name(store, frame)}"
    if key not in store.root:
        raise store.error(f"{frame} has no index array '{index_name(store, frame)}'")
    if store.is_group(key):  # nullable strings or a categorical index
        key = f"{key}/{'values' if f'{key}/values' in store.root else 'codes'}"
    return int(store.root[key].shape[0])


def require_column(store: Store, frame: str, column: str, field: str) -> None:
    """Raise an AtlasError that lists the columns and suggests the nearest one when `column` is absent.

    `field` is the key of the atlas's entry that named it (for example `obs.cell_type`).
    """
    known = obs_columns(store) if frame == "obs" else [k for k in store.keys(frame) if k != index_name(store, frame)]
    if column not in known:
        listed = f" Its {frame} columns: {', '.join(known)}." if known else f" Its {frame} has no columns."
        near = suggest(column, known)
        near = near if near.startswith(" Did you mean") else ""
        raise store.error(f"{frame} has no column '{column}', which {field} of its entry names.{near}{listed}")


def read_labels(
    store: Store, column: str, field: str, frame: str = "obs", keep: frozenset[str] = frozenset()
) -> LabelColumn:
    """Read a column as codes and text categories, in any anndata encoding.

    Parameters
    ----------
    store : Store
        open atlas.
    column : str
        name of the column.
    field : str
        key of the entry that named it, for messages.
    frame : str
        `obs`, `var` or `raw/var`.
    keep : frozenset of str
        case-folded labels that are real although they look missing (a control label "none").

    Raises
    ------
    AtlasError
        if the column is absent, or has more than 200,000 distinct labels (it then names cells, not groups).
    """
    require_column(store, frame, column, field)
    key = f"{frame}/{column}"
    node = store.root[key]
    if store.is_group(key):
        if "codes" in node:
            return _categorical(store, column, field, node["categories"], node["codes"], keep)
        return _factorised(store, column, field, node["values"], node["mask"], keep)
    legacy = f"{frame}/__categories/{column}"
    if legacy in store.root:
        return _categorical(store, column, field, store.root[legacy], node, keep)
    return _factorised(store, column, field, node, None, keep)


def read_names(store: Store, frame: str, start: int, stop: int) -> np.ndarray:
    """Row names start..stop of `obs`, `var` or `raw/var`: array of str."""
    return np.array(texts(stored_names(store, frame, start, stop)), dtype=object)


def stored_names(store: Store, frame: str, start: int, stop: int) -> np.ndarray:
    """Row names as stored (bytes, str or numbers), not decoded: takes half the time of read_names."""
    array, categories = _names(store, frame)
    names = np.asarray(array[start:stop])
    return names.astype(object) if categories is None else categories[names]


def names_of_rows(store: Store, frame: str, rows: np.ndarray) -> np.ndarray:
    """Names of some rows, ascending: array of str."""
    array, categories = _names(store, frame)
    names = (
        np.asarray(array.oindex[rows] if store.is_zarr else array[rows]) if len(rows) else np.empty(0, dtype=np.int8)
    )
    return np.array(texts(names if categories is None else categories[names]), dtype=object)


def _names(store: Store, frame: str) -> tuple[Any, np.ndarray | None]:
    """The array of row names, or of their codes with the names they refer to."""
    key = f"{frame}/{index_name(store, frame)}"
    node = store.root[key]
    if not store.is_group(key):
        return node, None
    if "codes" in node:
        return node["codes"], np.asarray(node["categories"][:], dtype=object)
    return node["values"], None


def neighbours(starts: np.ndarray, stops: np.ndarray, gap: int) -> Iterator[tuple[int, int]]:
    """Group ascending ranges starts..stops separated by at most `gap`: (first, last + 1) of each group."""
    if not len(starts):
        return
    breaks = np.flatnonzero(starts[1:] - stops[:-1] > gap) + 1
    edges = np.concatenate([[0], breaks, [len(starts)]])
    yield from zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)


def texts(values: Iterable[Any]) -> list[str]:
    """Labels of any type as str; whole numbers lose their decimals (1015.0 -> '1015')."""
    values = values.tolist() if isinstance(values, np.ndarray) else list(values)
    try:
        return list(map(bytes.decode, values))
    except (TypeError, UnicodeDecodeError):
        return [value if type(value) is str else _text(value) for value in values]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value.decode("latin-1")  # as R and older Windows programs write it
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def chunks(n: int, size: int = CHUNK) -> Iterator[tuple[int, int]]:
    """(start, stop) pairs covering 0..n."""
    for start in range(0, n, size):
        yield start, min(start + size, n)


def count_labels(column: LabelColumn, n: int) -> np.ndarray:
    """Cells per category, (n_categories + 1,); the last entry counts cells without a label."""
    total = np.zeros(len(column.categories) + 1, dtype=np.int64)
    for start, stop in chunks(n):
        codes = column.codes(start, stop)
        total += np.bincount(np.where(codes < 0, len(column.categories), codes), minlength=len(total))
    return total


def present_labels(column: LabelColumn, n: int) -> list[str]:
    """Categories that occur; a file may list unused ones."""
    return [label for label, cells in zip(column.categories, count_labels(column, n).tolist(), strict=False) if cells]


def label_pairs(first: LabelColumn, second: LabelColumn, n: int) -> dict[str, str]:
    """For each label of `first`, the most frequent label of `second` among its cells; the earlier one on ties."""
    size = len(second.categories) + 1
    pairs: dict[int, int] = {}
    for start, stop in chunks(n):
        a, b = first.codes(start, stop).astype(np.int64), second.codes(start, stop)
        found, counts = np.unique((a * size + b)[(a >= 0) & (b >= 0)], return_counts=True)
        for pair, count in zip(found.tolist(), counts.tolist(), strict=True):
            pairs[pair] = pairs.get(pair, 0) + count
    best: dict[str, str] = {}
    for pair in sorted(pairs, key=lambda item: (-pairs[item], item)):
        best.setdefault(first.categories[pair // size], second.categories[pair % size])
    return best


def _require_frame(store: Store, frame: str) -> None:
    if frame not in store.root:
        raise store.error(f"has no {frame}; it is no AnnData file (found {', '.join(sorted(store.root)) or 'nothing'})")
    if not store.is_group(frame):
        raise store.error(
            f"{frame} is a compound table, as anndata before 0.7 wrote it. "
            "Open it with anndata 0.12 or older and write it again: anndata.read_h5ad(old).write_h5ad(new)"
        )


def _categorical(
    store: Store, column: str, field: str, categories: Any, codes: Any, keep: frozenset[str]
) -> LabelColumn:
    n_stored = int(categories.shape[0])
    broken = store.error(
        f"column '{column}' ({field}) holds codes outside its categories; it is damaged: write it again"
    )
    if n_stored <= MAX_LABELS:
        kept, lookup = _without_missing(texts(categories[:]), keep)
        return StoredCodes(kept, codes, n_stored, broken, None if len(kept) == n_stored else lookup)
    used = _used(codes, n_stored, broken)  # a subset of a larger file may keep the categories of all of it
    _limit(store, column, field, len(used))
    kept, lookup = _without_missing(texts(categories[:][used]), keep)
    of_stored = np.full(n_stored + 1, -1, dtype=lookup.dtype)
    of_stored[used] = lookup[:-1]
    return StoredCodes(kept, codes, n_stored, broken, of_stored)


def _used(codes: Any, n_stored: int, broken: AtlasError) -> np.ndarray:
    """Codes that occur, ascending."""
    seen = np.zeros(n_stored, dtype=bool)
    for start, stop in chunks(int(codes.shape[0])):
        part = np.asarray(codes[start:stop])
        if part.size and (int(part.min()) < -1 or int(part.max()) >= n_stored):
            raise broken
        seen[part[part >= 0]] = True
    return np.flatnonzero(seen)


def _without_missing(labels: list[str], keep: frozenset[str]) -> tuple[list[str], np.ndarray]:
    """Distinct real labels (see `plain`), and a look-up from old to new codes, whose last entry (for -1) is -1."""
    position: dict[str, int] = {}
    labels = [plain(label) for label in labels]
    for label in labels:
        if label.casefold() in keep or not is_missing(label):
            position.setdefault(label, len(position))
    lookup = np.array([position.get(label, -1) for label in labels] + [-1], dtype=np.int32)
    return list(position), _smallest(lookup, len(position))


def _factorised(store: Store, column: str, field: str, values: Any, mask: Any, keep: frozenset[str]) -> LabelColumn:
    import pandas as pd

    position: dict[Any, int] = {}
    parts = [np.empty(0, dtype=np.int32)]
    for start, stop in chunks(int(values.shape[0])):
        codes, uniques = pd.factorize(np.asarray(values[start:stop]), use_na_sentinel=True)
        for value in uniques:
            position.setdefault(value, len(position))
        _limit(store, column, field, len(position))
        part = np.array([position[value] for value in uniques] + [-1], dtype=np.int32)[codes]
        if mask is not None:
            part[np.asarray(mask[start:stop], dtype=bool)] = -1
        parts.append(part)
    kept, lookup = _without_missing(texts(list(position)), keep)
    return HeldCodes(kept, lookup[np.concatenate(parts)])


def _smallest(codes: np.ndarray, n_categories: int) -> np.ndarray:
    return codes.astype(np.int8 if n_categories < 127 else np.int16 if n_categories < 32_000 else np.int32)


def _limit(store: Store, column: str, field: str, n_labels: int) -> None:
    if n_labels > MAX_LABELS:
        raise store.error(
            f"column '{column}' ({field}) holds more than {MAX_LABELS:,} distinct labels; "
            "it seems to name single cells rather than groups. Choose another column"
        )
