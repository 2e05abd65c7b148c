"""A small atlas in every form that cells are stored in, and a web server on loopback."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from haystack.config import AtlasEntry

GENES = ["CD3D", "MS4A1", "NKG7", "LYZ", "ISG15", "ACTB", "GNLY", "IFIT1", "CD79A", "actb", "S100A8", "HLA-DRA", "MX1"]
TYPES = ["B cell", "natural killer cell", "CD14-positive monocyte"]
N_CELLS = 90


@pytest.fixture
def cells() -> ad.AnnData:
    """90 cells x 13 genes of raw counts; `ACTB` is there twice (as `actb` too)."""
    rng = np.random.default_rng(3)
    counts = rng.poisson(0.8, size=(N_CELLS, len(GENES))).astype(np.float32)
    counts[:, 5] += 1  # no empty cell
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(np.array(TYPES)[np.arange(N_CELLS) % 3]),
            "treatment": pd.Categorical(np.array(["PBS", "IFN-beta", "IL-6"])[(np.arange(N_CELLS) // 3) % 3]),
            "patient": pd.Categorical(np.array(["p1", "p2"])[(np.arange(N_CELLS) // 9) % 2]),
        },
        index=pd.Index([f"cell_{i}" for i in range(N_CELLS)], dtype=object),
    )
    var = pd.DataFrame({"symbol": GENES}, index=pd.Index([f"ENSG{i:011d}" for i in range(len(GENES))], dtype=object))
    return ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=var)


def entry_of(path: Path | str, **changes: object) -> AtlasEntry:
    """The entry that describes `cells`."""
    values: dict[str, object] = {
        "path": str(path),
        "obs": {"cell_type": "cell_type", "perturbation": "treatment", "donor": "patient"},
        "constants": {"tissue": "blood"},
        "control_labels": ["PBS"],
        "perturbation_type": "cytokine",
        "gene_symbols": "symbol",
    }
    return AtlasEntry.model_validate({**values, **changes})


@pytest.fixture
def make_entry():
    return entry_of


@pytest.fixture
def atlas(tmp_path: Path, cells: ad.AnnData):
    """Write `cells` (or another AnnData) as h5ad, and describe it."""

    def write(data: ad.AnnData | None = None, name: str = "atlas", **changes: object) -> AtlasEntry:
        path = tmp_path / f"{name}.h5ad"
        (cells if data is None else data).write_h5ad(path)
        return entry_of(path, **changes)

    return write


class RangeHandler(SimpleHTTPRequestHandler):
    """Static files with ranges and ETags. `server.log` keeps (method, path, Range); `server.cut` ends a body early."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        self.server.log.append((self.command, self.path, self.headers.get("Range")))
        if self.server.failures:
            self.send_error(self.server.failures.pop(0))
            return
        if not path.is_file():
            self.send_error(404)
            return
        body = path.read_bytes()
        etag = f'"{hash(body) & 0xFFFFFFFF:x}"'
        start, stop = 0, len(body)
        span = self.headers.get("Range") if self.server.ranges else None
        if span and self.headers.get("If-Range", etag) == etag:
            first, _, last = span.removeprefix("bytes=").partition("-")
            start = int(first) if first else len(body) - int(last)
            stop = min(int(last) + 1, len(body)) if first and last else len(body)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(body)}")
        else:
            self.send_response(200)
        if self.server.etags:
            self.send_header("ETag", etag)
        self.send_header("Accept-Ranges", "bytes" if self.server.ranges else "none")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        if self.command == "GET":
            cut = self.server.cuts.pop(0) if self.server.cuts else None
            self.wfile.write(body[start:stop][:cut])
            if cut is not None:
                self.close_connection = True

    do_HEAD = do_GET  # noqa: N815  named by http.server

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def web(tmp_path: Path):
    """A server of `tmp_path` on loopback, with its address as `.url`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(RangeHandler, directory=str(tmp_path)))
    server.log, server.cuts, server.failures, server.ranges, server.etags = [], [], [], True, True
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
