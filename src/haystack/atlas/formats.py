"""Recognise files that are neither h5ad nor zarr, and give the command that converts them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_TEXT = {".csv", ".tsv", ".txt"}
_RDS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"X\n", b"A\n", b"RDX", b"RDA")


@dataclass(frozen=True)
class Format:
    """`kind` is for programs, `what` for people; `remedy` is what to do."""

    kind: str
    what: str
    remedy: str


def other_format(path: Path) -> Format | None:
    """Format of a local file or folder that is neither h5ad nor zarr; None if it may be one of them."""
    if path.is_dir():
        return _folder(path)
    import zipfile

    import h5py

    if h5py.is_hdf5(path):
        return _hdf5(path)
    if zipfile.is_zipfile(path):
        return None
    return _other_file(path)


def convert_line(path: Path) -> str:
    """The command for what `haystack atlas convert` reads."""
    return f"Convert it: haystack atlas convert {path}"


def _folder(path: Path) -> Format | None:
    names = {item.name for item in path.iterdir()}
    if names & {".zgroup", "zarr.json", ".zmetadata"}:
        if {"mod"} <= names and "obs" in names:
            return Format(
                "mudata-zarr", "a MuData store with several kinds of data (zarr)", _mudata_line(path, "read_zarr")
            )
        if {"tables"} <= names and names & {"images", "shapes", "points", "labels"}:
            return Format(
                "spatialdata",
                "a SpatialData store",
                "Set path to its table: the folder tables/NAME inside it is an AnnData zarr",
            )
        return None
    if {"matrix.mtx", "matrix.mtx.gz"} & names:
        return Format(
            "mtx",
            "a folder of 10x matrix files",
            f"Convert it: scanpy.read_10x_mtx('{path}', gex_only=False).write_h5ad('cells.h5ad')",
        )
    inside = sorted(name for name in names if name.endswith((".h5ad", ".zarr")))
    hint = (
        f"Set path to one of the files in it: {', '.join(inside[:3])}"
        if inside
        else "Set path to an h5ad file or zarr store"
    )
    return Format("folder", "a folder but no zarr store (no .zgroup or zarr.json in it)", hint)


def _hdf5(path: Path) -> Format | None:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            keys = set(file)
            tenx = "matrix" in keys and isinstance(file["matrix"], h5py.Group) and "barcodes" in file["matrix"]
            genomes = [
                key
                for key in keys
                if isinstance(file.get(key), h5py.Group) and {"barcodes", "gene_names"} <= set(file[key])
            ]
    except OSError:
        return None  # a lock, a broken file: said where it is opened
    if "obs" in keys and "var" in keys and "mod" not in keys:
        return None
    if "mod" in keys:
        return Format("h5mu", "a MuData file with several kinds of data (h5mu)", convert_line(path))
    if tenx or genomes:
        return Format("10x", "a matrix of 10x Genomics' Cell Ranger (h5)", convert_line(path))
    if {"row_attrs", "col_attrs"} <= keys:
        return Format("loom", "a loom file", f"Convert it: scanpy.read_loom('{path}').write_h5ad('cells.h5ad')")
    if "assays" in keys and "cell.names" in keys:
        return Format(
            "h5seurat", "a Seurat file (h5Seurat)", f"Convert it in R: SeuratDisk::Convert('{path}', dest = 'h5ad')"
        )
    return None


def _other_file(path: Path) -> Format:
    size = path.stat().st_size
    with path.open("rb") as handle:
        head = handle.read(512)
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if suffixes & {".rds", ".rda", ".rdata", ".qs", ".qs2"} or (head.startswith(_RDS[2:]) and b"\n" in head[:4]):
        return Format(
            "rds",
            "a file of R (Seurat or SingleCellExperiment)",
            f"Convert it in R: zellkonverter::writeH5AD(Seurat::as.SingleCellExperiment(readRDS('{path}')), "
            "'cells.h5ad')",
        )
    if ".mtx" in suffixes or head.startswith(b"%%MatrixMarket"):
        return Format(
            "mtx",
            "a matrix in MatrixMarket form, without its cells and genes",
            f"Convert its folder: scanpy.read_10x_mtx('{path.parent}', gex_only=False).write_h5ad('cells.h5ad')",
        )
    if suffixes & _TEXT:
        return Format(
            "table",
            "a table of text",
            f"Convert it: scanpy.read_text('{path}').T.write_h5ad('cells.h5ad') (.T where rows are genes)",
        )
    if suffixes & {".parquet", ".feather"}:
        return Format(
            "table",
            "a table",
            "Build an AnnData from it with the labels of its cells, and write it: adata.write_h5ad('cells.h5ad')",
        )
    if suffixes & {".gz", ".bz2", ".xz", ".tar", ".tgz", ".zst", ".7z"}:
        return Format(
            "archive",
            f"a compressed file or archive ({size:,} bytes)",
            "Unpack it, and set path to the h5ad or zarr inside",
        )
    return Format("unknown", f"not an HDF5 (h5ad) file ({size:,} bytes)", "It may be a broken download: fetch it again")


def _mudata_line(path: Path, reader: str) -> str:
    return f"Convert it: mudata.{reader}('{path}')['rna'].write_h5ad('cells.h5ad')"
