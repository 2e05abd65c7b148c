"""`hs.ground` and `hs.validate` on cells in memory give what the commands give on files."""

import json

import anndata as ad
import numpy as np
import pytest

import haystack as hs
from haystack.cli import main
from haystack.contracts import to_json
from haystack.errors import GroundingError

QUESTION = "How would B cells respond to IFN-beta?"


@pytest.fixture
def cells(made, tmp_path):
    found = {
        name: made.cells(60, seed, rise=rise) for name, seed, rise in (("p", 0, 3.0), ("o", 1, 3.0), ("c", 2, 1.0))
    }
    for name, one in found.items():
        one.write_h5ad(tmp_path / f"{name}.h5ad")
    return found


def test_ground_is_the_command(cells, tmp_path, capsys):
    here = hs.ground(QUESTION, cells["p"], cells["c"])
    files = ["--perturbed", str(tmp_path / "p.h5ad"), "--control", str(tmp_path / "c.h5ad")]
    assert main(["ground", *files, "--question", QUESTION, "--json"]) == 0
    assert capsys.readouterr().out == to_json(here)


def test_validate_is_the_command(cells, tmp_path, capsys):
    here = hs.validate(cells["p"], cells["o"], str(tmp_path / "c.h5ad"))
    files = [f"--{name}={tmp_path / f'{name[0]}.h5ad'}" for name in ("predicted", "observed", "control")]
    assert main(["validate", *files, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == here


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda x: np.rint(np.log1p(x)), "vary less between cells"),
        (lambda x: (x > 0).astype(float), "all values are 0 or 1"),
        (lambda x: np.rint(1e4 * x / x.sum(axis=1, keepdims=True)), "scaled to one total"),
    ],
)
def test_whole_numbers_that_are_no_counts_are_refused(change, why: str):
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(1, 20, 60) * rng.uniform(0.4, 2, (50, 1))).astype(float)
    changed = ad.AnnData(change(counts))
    with pytest.raises(GroundingError, match=f"perturbed: X does not hold raw counts: .*{why}"):
        hs.ground(QUESTION, changed, ad.AnnData(counts))


def test_wrong_cells_are_named(cells):
    halves = cells["p"].copy()
    halves.X = halves.X * 0.5
    with pytest.raises(GroundingError, match=r"control: .* not whole numbers"):
        hs.ground(QUESTION, cells["p"], halves)
    with pytest.raises(GroundingError, match="give both reference and reference control"):
        hs.validate(cells["p"], cells["o"], cells["c"], reference=cells["p"])
