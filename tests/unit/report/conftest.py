"""Finished runs on disk, made once per way to bend them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from report_run import RunOptions, atlases_of, settings_of, write_run

from haystack.contracts import read_json
from haystack.contracts.runlog import RunLog
from haystack.report import collect_outputs, render_report


@dataclass(frozen=True)
class Finished:
    """A run with everything that it takes home."""

    folder: Path
    options: RunOptions

    def file(self, ending: str) -> Path:
        """`{run_id}_{ending}`."""
        return self.folder / f"{self.options.run_id}_{ending}"

    @property
    def log(self) -> RunLog:
        """The run's log."""
        return read_json(self.file("log.json"), RunLog)

    @property
    def html(self) -> str:
        """The report, without plotly's own code."""
        text = self.file("report.html").read_text(encoding="utf-8")
        start = text.find("<script>/**\n* plotly.js")
        return text if start < 0 else text[:start] + text[text.index("</script>", start) :]

    def collect(self) -> None:
        """Run the rule collect_outputs."""
        root = self.folder.parents[2]
        collect_outputs(
            run_id=self.options.run_id,
            run_dir=self.folder,
            decision=self.folder / f"iter_{len(self.options.scores)}" / "decision.json",
            settings=settings_of(self.options),
            atlases=atlases_of(self.options),
            inputs={"query": self.folder / "query.json", "remote": "gs://bucket/model", "gone": root / "gone.h5ad"},
            benchmarks=root / "results" / "benchmarks",
            out_predictions=self.file("predictions.h5ad"),
            out_others=self.file("other_prompts.h5ad"),
            out_log=self.file("log.json"),
            out_de=self.file("de.csv"),
            out_enrichment=self.file("enrichment.csv"),
        )

    def render(self) -> None:
        """Run the rule render_report."""
        render_report(
            run_id=self.options.run_id,
            predictions=self.file("predictions.h5ad"),
            log=self.file("log.json"),
            de=self.file("de.csv"),
            enrichment=self.file("enrichment.csv"),
            out=self.file("report.html"),
        )


@pytest.fixture(scope="session")
def finish(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Finished]:
    """`finish(n_de=0, ...)`: a finished run, bent as RunOptions allows. Equal wishes share one: do not change it."""
    made: dict[str, Finished] = {}

    def make(**bend: object) -> Finished:
        key = repr(sorted(bend.items()))
        if key not in made:
            folder, options = write_run(tmp_path_factory.mktemp("run"), **bend)
            made[key] = Finished(folder, options)
            made[key].collect()
            made[key].render()
        return made[key]

    return make


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[..., Finished]:
    """Like `finish`, but made anew and not yet collected."""

    def make(**bend: object) -> Finished:
        folder, options = write_run(tmp_path, **bend)
        return Finished(folder, options)

    return make
