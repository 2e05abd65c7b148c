"""`haystack atlas labels`: a table to correct once, which `mapping` of the entry reads back."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from haystack.atlas import harmonize_atlas
from haystack.cli import main


@pytest.fixture
def harmonised(cells, atlas, tmp_path: Path):
    """Harmonise an atlas with clear, unsure and unknown labels; `again(mapping)` does it with a mapping file."""
    names = {"B cell": "B cells", "natural killer cell": "Cytotoxic_GZMK", "CD14-positive monocyte": "mystery"}
    cells.obs["cell_type"] = cells.obs["cell_type"].map(names).astype(str)
    cells.obs["treatment"] = cells.obs["treatment"].map({"PBS": "NT", "IFN-beta": "KLF1_AHR", "IL-6": "sgGATA1-2"})
    index = tmp_path / "index"

    def again(mapping: Path | None = None) -> Path:
        entry = atlas(
            control_labels=["NT"],
            perturbation_type="genetic",
            genetic_effect="CRISPRa",
            **({"mapping": str(mapping)} if mapping else {}),
        )
        harmonize_atlas("mine", entry, index / "mine" / "cells.parquet", index / "mine" / "mapping.tsv")
        return index

    return again


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def test_labels_with_most_cells_come_first_and_doubt_is_marked(harmonised, capsys) -> None:
    assert main(["atlas", "labels", "mine", "--index", str(harmonised())]) == 0
    lines = list(csv.DictReader(capsys.readouterr().out.splitlines(), delimiter="\t"))
    cells = [int(line["n_cells"]) for line in lines]
    assert cells == sorted(cells, reverse=True)
    check = {line["label"]: line["check"] for line in lines}
    assert check["mystery"] == "no term"
    assert check["B cells"] == check["KLF1_AHR"] == ""


def test_an_unchanged_table_changes_nothing(harmonised, tmp_path: Path) -> None:
    import pandas as pd

    index = harmonised()
    before = pd.read_parquet(index / "mine" / "cells.parquet")
    out = tmp_path / "labels.tsv"
    assert main(["atlas", "labels", "mine", "--index", str(index), "--out", str(out)]) == 0
    harmonised(out)
    pd.testing.assert_frame_equal(pd.read_parquet(index / "mine" / "cells.parquet"), before)


def test_a_corrected_table_is_read_back(harmonised, tmp_path: Path) -> None:
    import pandas as pd

    index = harmonised()
    out = tmp_path / "labels.tsv"
    main(["atlas", "labels", "mine", "--index", str(index), "--out", str(out)])
    rows = _rows(out)
    for row in rows:
        row["id"] = {"mystery": "CL:0001054", "sgGATA1-2": "TAL1 knock-out"}.get(row["label"], row["id"])
    with out.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    harmonised(out)
    frame = pd.read_parquet(index / "mine" / "cells.parquet")
    assert set(frame.loc[frame["cell_type_original"] == "mystery", "cell_type_cl_id"]) == {"CL:0001054"}
    assert set(frame.loc[frame["perturbation_original"] == "sgGATA1-2", "perturbation_name"]) == {"TAL1 knock-out"}


def test_an_atlas_that_is_not_there_is_named(tmp_path: Path, capsys) -> None:
    assert main(["atlas", "labels", "mine", "--index", str(tmp_path)]) == 1
    assert "haystack index build" in capsys.readouterr().err
