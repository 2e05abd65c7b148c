"""Finished runs in Python: tables as DataFrames, cells as AnnData, numbers from the run's log."""

from __future__ import annotations

from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from haystack.contracts import read_json
from haystack.contracts.accuracy import ExpectedAccuracy
from haystack.contracts.failure import Failure
from haystack.contracts.runlog import RunLog
from haystack.errors import ContractError

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd


class Run:
    """A finished run. Files are read when they are first asked for.

    Parameters
    ----------
    folder
        `results/runs/{run_id}`.

    Raises
    ------
    ContractError
        if the folder holds no finished run; of a failed run the message says why it failed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        logs = sorted(self.folder.glob("*_log.json"))
        if len(logs) != 1:
            raise ContractError(f"{self.folder}: {_why_unfinished(self.folder, len(logs))}")
        self.log: RunLog = read_json(logs[0], RunLog)
        """settings, seeds, versions, every iteration and decision"""

    @property
    def run_id(self) -> str:
        """Name of the run."""
        return self.log.run_id

    @property
    def question(self) -> str:
        """The original question."""
        return self.log.query.raw_query

    @cached_property
    def de(self) -> pd.DataFrame:
        """Genes of the best prompt: log2fc with 90 % interval, lfsr, ...; called genes first, by effect size."""
        return self._best("de.csv")

    @cached_property
    def enrichment(self) -> pd.DataFrame:
        """Gene sets (`ora`, `gsea`) and transcription factors (`ulm`) of the best prompt."""
        return self._best("enrichment.csv")

    @cached_property
    def predictions(self) -> ad.AnnData:
        """Cells of the best prompt, cells x genes (Ensembl ids) of counts; obs `role`: generated or measured.

        For scanpy's plots by symbol: `sc.pl.umap(run.predictions, color="ISG15", gene_symbols="gene_symbol")`.
        """
        import anndata as ad

        return ad.read_h5ad(self._file("predictions.h5ad"))

    @property
    def score(self) -> float | None:
        """Composite score, 1 to 10; None if too little evidence could be evaluated."""
        return self.log.answer.composite_value

    @property
    def confidence(self) -> str:
        """high, medium, low or not scored."""
        return self.log.answer.confidence

    @property
    def expected_accuracy(self) -> ExpectedAccuracy | None:
        """Expected Pearson r of the answer, with interval, or why it cannot be estimated."""
        from haystack.report.design import run_accuracy

        return run_accuracy(self.log)

    @cached_property
    def answer(self) -> list[str]:
        """The answer in two sentences."""
        from haystack.report.answer import answer_sentences

        return answer_sentences(self.log)

    def report(self) -> Path:
        """Path of the report, one HTML file."""
        return self._file("report.html")

    def _file(self, ending: str) -> Path:
        path = self.folder / f"{self.run_id}_{ending}"
        if not path.exists():
            raise ContractError(f"{path}: no such file; run the pipeline again, or copy it beside the log")
        return path

    def _best(self, ending: str) -> pd.DataFrame:
        import pandas as pd

        table = pd.read_csv(self._file(ending), keep_default_na=True)
        return table[table["is_best_prompt"]].reset_index(drop=True)

    def _lines(self) -> list[tuple[str, str]]:
        accuracy, answer = self.expected_accuracy, self.log.answer
        lines = [("Answer", " ".join(self.answer))]
        lines.append(("Expected accuracy", accuracy.sentence if accuracy else "not estimated"))
        capped = next((item.sentence for item in answer.findings if item.name == answer.capped_by), "")
        lines.append(("Confidence", answer.confidence + (f"; {capped}" if capped else "")))
        if self.score is not None:
            null = f" (best null {answer.best_null:.1f})" if answer.best_null is not None else ""
            lines.append(("Composite score", f"{self.score:.1f}{null}"))
        for title, genes in (("Upregulated", answer.top_up), ("Downregulated", answer.top_down)):
            if genes:
                lines.append((title, ", ".join(genes[:10])))
        return lines

    def __repr__(self) -> str:
        """The answer as text."""
        return "\n".join(
            [f"Run {self.run_id}: {self.question}", *(f"  {name}: {text}" for name, text in self._lines())]
        )

    def _repr_html_(self) -> str:
        """For Jupyter."""
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in self._lines())
        return f"<p><strong>{escape(self.question)}</strong></p><table>{rows}</table>"


def _why_unfinished(folder: Path, n_logs: int) -> str:
    if (folder / "failure.json").exists():
        failure = read_json(folder / "failure.json", Failure)
        return f"the run failed ({failure.rule}): {failure.message}"
    runs = sorted(path.parent.name for path in folder.glob("runs/*/*_log.json"))
    if runs:
        return f"a results folder, not a run's. Name one of its runs, such as {folder / 'runs' / runs[0]}"
    return f"expected one {{run_id}}_log.json, found {n_logs}; is the run finished?"


def read_run(folder: str | Path) -> Run:
    """The finished run in `folder` (`results/runs/{run_id}`)."""
    return Run(folder)


def read_summary(folder: str | Path = "results") -> pd.DataFrame:
    """`summary.tsv` of a results folder, one row per run; numbers as numbers.

    Raises
    ------
    ContractError
        if there is no summary.
    """
    import pandas as pd

    path = Path(folder) / "summary.tsv"
    if not path.exists():
        raise ContractError(f"{path}: no such file; the pipeline writes it when its runs end")
    return pd.read_csv(path, sep="\t")
