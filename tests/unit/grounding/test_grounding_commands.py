"""`haystack ground` and `haystack validate` on files, and the quality lines on real cells."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pytest

from haystack.cli import main


@pytest.fixture
def files(tmp_path: Path, made: SimpleNamespace) -> dict[str, str]:
    found = {}
    for index, (name, rise) in enumerate((("perturbed", 3.0), ("observed", 3.0), ("control", 1.0), ("other", 1.0))):
        path = tmp_path / f"{name}.h5ad"
        made.cells(60, index, rise=rise).write_h5ad(path)
        found[name] = str(path)
    return found


def test_validate_prints_json(files: dict[str, str], capsys: pytest.CaptureFixture) -> None:
    arguments = ["validate", "--predicted", files["perturbed"], "--observed", files["observed"]]
    arguments += ["--control", files["control"]]
    assert main([*arguments, "--predicted-control", files["other"], "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["conventions"]) == 2
    assert main(arguments) == 0
    assert "split-half ceiling" in capsys.readouterr().out


def test_ground_prints_json(files: dict[str, str], capsys: pytest.CaptureFixture) -> None:
    arguments = ["ground", "--perturbed", files["perturbed"], "--control", files["control"]]
    arguments += ["--question", "How would B cells respond to IFN-beta?"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["composite_value"] is None
    assert not found["components"]["target_activation"]["evaluated"]
    assert main(arguments) == 0
    assert "not evaluated" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cells: cells.X.__imul__(0.5), "not whole numbers"),
        (lambda cells: cells.X.data.__setitem__(0, -1), "negative"),
        (lambda cells: setattr(cells, "var_names", [f"ENSG{i}" for i in range(cells.n_vars)]), "gene names are shared"),
    ],
)
def test_bad_files_are_one_message(
    files: dict[str, str], made: SimpleNamespace, capsys: pytest.CaptureFixture, change: object, message: str
) -> None:
    cells = made.cells(30, 1)
    change(cells)
    cells.write_h5ad(files["other"])
    asked = "How would B cells respond to IFN-beta?"
    assert (
        main(["ground", "--perturbed", files["other"], "--control", files["control"], "--question", asked, "--json"])
        == 1
    )
    out = capsys.readouterr()
    assert out.out == ""
    assert message in out.err


def test_duplicate_symbols_are_summed(tmp_path: Path, made: SimpleNamespace) -> None:
    from haystack.grounding.cells import read_counts

    cells = made.cells(12, 1)
    cells.var_names = ["g000", *cells.var_names[:1], *cells.var_names[2:]]
    cells.write_h5ad(tmp_path / "x.h5ad")
    read = read_counts(tmp_path / "x.h5ad")
    assert read.n_vars == cells.n_vars - 1
    np.testing.assert_array_equal(read[:, "G000"].X.toarray().ravel(), cells.X.toarray()[:, :2].sum(axis=1))


@pytest.mark.slow
@pytest.mark.parametrize("label", ["NK"])
def test_truth_and_nonsense_on_real_cells(
    data: Path, tmp_path: Path, label: str, capsys: pytest.CaptureFixture
) -> None:
    cells = ad.read_h5ad(data / "kang_ifnb.h5ad")
    mine = cells[cells.obs["cell_type"] == label]
    treated, control = mine[mine.obs["stim"] == "IFN-beta"], mine[mine.obs["stim"] == "ctrl"]
    order = np.random.default_rng(0).permutation(control.n_obs)
    parts = {"treated": treated, "control": control, "half": control[order[::2]], "rest": control[order[1::2]]}
    for name, part in parts.items():
        part.copy().write_h5ad(tmp_path / f"{name}.h5ad")

    def score(perturbed: str, base: str, perturbation: str) -> int:
        question = f"How would {label} cells respond to {perturbation}?"
        paths = ["--perturbed", str(tmp_path / f"{perturbed}.h5ad"), "--control", str(tmp_path / f"{base}.h5ad")]
        assert main(["ground", *paths, "--question", question, "--json"]) == 0
        return json.loads(capsys.readouterr().out)["composite_value"]

    assert score("treated", "control", "IFN-beta") >= 8
    assert score("treated", "control", "dexamethasone") <= 4
    assert score("treated", "control", "TGF-beta") <= 4
    assert score("half", "rest", "IFN-beta") <= 3
