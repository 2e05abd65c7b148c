"""Answer a question in this process with the stage functions that the rules of the pipeline call."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from haystack.config import Settings
from haystack.contracts import Decision, read_json
from haystack.contracts.query import StructuredQuery
from haystack.errors import ConfigError
from haystack.results import Run
from haystack.run_table import RUN_ID, RUN_ID_RULE, run_identifier

if TYPE_CHECKING:
    from haystack.prompting import Chosen
    from haystack.workflow.plan import Plan


def parse(question: str) -> StructuredQuery:
    """Parse a question, with ambiguities and words not understood.

    Raises
    ------
    QueryParsingError
        if the question cannot be answered.
    """
    from haystack.query import parse_question

    return parse_question(question)


def ask(
    question: str,
    *,
    atlases: str | Path | Mapping[str, Any],
    model: str | Mapping[str, Any] = "transfer",
    folder: str | Path = "results",
    run_id: str | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Run:
    """Answer one question; tables are byte for byte those of the pipeline with the same settings and seed.

    Parameters
    ----------
    question
        in plain words.
    atlases
        file with the atlases (`config/atlases.yaml`), or name -> entry; see docs/own_atlas.md.
    model
        kind of model (`transfer`, `additive`, ...), or the settings under `model`, such as
        `{"kind": "stack", "path": "models/stack-large"}`.
    folder
        gets `index/` and `runs/{run_id}/`, like the results of the pipeline. Atlases are indexed anew in each call.
    settings
        further settings, as in `config/config.yaml`.
    progress
        print each stage to stderr.

    Raises
    ------
    HaystackError
        if the question, a setting or a file is not usable; the message says what to do.
    """
    from haystack.workflow.plan import Plan

    _check_types(question=question, atlases=atlases, model=model, settings=settings or {})
    own = dict(settings or {})
    for name in ("runs", "atlases", "model"):
        if name in own:
            raise ConfigError(f"settings: '{name}' is an argument of its own, or not used by ask")
    if not question.strip() or len(question.splitlines()) > 1:
        raise ConfigError("question: write one line, such as: How would B cells respond to IL-4?")
    if isinstance(atlases, str | Path) and Path(atlases).suffix not in {".yaml", ".yml"}:
        raise ConfigError(
            f"atlases: {atlases} is no YAML file. `haystack atlas add FILE` writes the entry of a file of cells into "
            "config/atlases.yaml"
        )
    if Path(folder).is_file():
        raise ConfigError(f"folder: {folder} is a file. Name a folder for the results")
    run_id = run_id or run_identifier(question, own)
    if not RUN_ID.fullmatch(run_id):
        raise ConfigError(f"run_id: '{run_id}' becomes a folder name: {RUN_ID_RULE}")
    own |= {
        "runs": f"run_id\tquery\n{run_id}\t{question}\n",
        "atlases": str(atlases) if isinstance(atlases, str | Path) else dict(atlases),
        "model": {"kind": model} if isinstance(model, str) else dict(model),
    }
    stages = _Stages(Plan(own), run_id, Path(folder), progress)
    return stages.answer()


def _check_types(**arguments: object) -> None:
    wanted = {
        "question": (str, "a text"),
        "atlases": (str | Path | Mapping, "the path of a YAML file, or a dict of name -> entry"),
        "model": (str | Mapping, "a kind, such as 'transfer', or a dict of settings"),
        "settings": (Mapping, "a dict, as in config/config.yaml"),
    }
    for name, value in arguments.items():
        kind, words = wanted[name]
        if not isinstance(value, kind):
            raise ConfigError(f"{name}: give {words}; this is of type {type(value).__name__}")


class _Stages:
    """Stages of one run, in the order of the rules; paths are those of the rules, below `folder`."""

    def __init__(self, plan: Plan, run_id: str, folder: Path, progress: bool) -> None:
        from haystack.workflow.plan import placed

        self.plan, self.run_id, self.progress = plan, run_id, progress
        wildcards = SimpleNamespace(run_id=run_id)
        self.question = plan.query(wildcards)
        given = Settings.model_validate(plan.get(*Settings.model_fields)(wildcards))
        self.settings = placed(given, plan.library_files(wildcards))
        self.provenance = [Path(path) for path in plan.library_provenance(wildcards)]
        self.effective = Settings.model_validate(plan.effective(wildcards))
        self.checksummed = plan.checksummed(wildcards)
        self.atlases = plan.atlases
        self.folder, self.index, self.run = folder, folder / "index", folder / "runs" / run_id
        self.cells = {name: self.index / name / "cells.parquet" for name in self.atlases}
        self.cell_sets = self.index / "cell_sets.parquet"
        self.query = self.run / "query.json"
        self.accuracy, self.contexts = self.run / "accuracy.json", self.run / "contexts.h5ad"

    def answer(self) -> Run:
        """Run all stages until the loop stops; then write outputs and report."""
        self._ask()
        self._index()
        self._measure()
        i = 1
        while self._iterate(i).continue_:
            i += 1
        self._collect(i)
        return Run(self.run)

    def _say(self, stage: str) -> None:
        from haystack.report.words import STAGES

        if self.progress:
            print(f"haystack: {STAGES[stage]}", file=sys.stderr)

    def _ask(self) -> None:
        from haystack.query import write_query

        self._say("parse_query")
        write_query(question=self.question, out=self.query, settings=self.settings.query, offline=self.settings.offline)

    def _index(self) -> None:
        from haystack.atlas import harmonize_atlas, index_cell_sets, read_model_genes

        for name, entry in self.atlases.items():
            self._say("harmonize_atlas")
            harmonize_atlas(
                name=name,
                entry=entry,
                out_cells=self.cells[name],
                out_mapping=self.index / name / "mapping.tsv",
                out_intake=self.index / name / "intake.json",
                model_genes=read_model_genes(self.plan.genes_file()),
            )
        self._say("index_cell_sets")
        index_cell_sets(cells=self.cells, out=self.cell_sets)

    def _measure(self) -> None:
        from haystack.transfer import estimate_response, measure_contexts

        self._say("measure_contexts")
        measure_contexts(
            query=self.query,
            cell_sets=self.cell_sets,
            cells=self.cells,
            atlases=self.atlases,
            out=self.contexts,
            settings=self.settings,
        )
        estimate_response(
            contexts=self.contexts,
            out_estimates=self.run / "transfer.parquet",
            out_accuracy=self.accuracy,
            pseudocount=self.settings.de.pseudocount,
            out_left_out=self.run / "left_out.parquet",
        )

    def _iterate(self, i: int) -> Decision:
        from haystack.loop import write_decision

        at, groundings = self._at(i), [self._at(k) / "grounding.json" for k in range(1, i + 1)]
        self._prompt(i)
        self._predict(i)
        self._ground(i)
        self._say("decide")
        write_decision(
            groundings=groundings, prompts=at / "prompts.json", out=at / "decision.json", settings=self.settings
        )
        return read_json(at / "decision.json", Decision)

    def _at(self, i: int) -> Path:
        return self.run / f"iter_{i}"

    def _prompt(self, i: int) -> None:
        from haystack.prompting import write_prompts
        from haystack.retrieval import retrieve_cells

        at = self._at(i)
        self._say("retrieve_cells")
        retrieve_cells(
            query=self.query,
            cell_sets=self.cell_sets,
            cells=self.cells,
            previous_grounding=self._at(i - 1) / "grounding.json" if i > 1 else None,
            previous_prompts=[self._at(k) / "prompts.json" for k in range(1, i)],
            out=at / "candidates.json",
            settings=self.settings,
            run_id=self.run_id,
            iteration=i,
        )
        self._say("generate_prompts")
        write_prompts(
            query=self.query,
            candidates=at / "candidates.json",
            cell_sets=self.cell_sets,
            cells=self.cells,
            atlases=self.atlases,
            out_prompts=at / "prompts.json",
            out_cells=at / "cells.h5ad",
            settings=self.settings,
            exam=self._exam(i),
        )

    def _exam(self, i: int) -> list[Chosen]:
        from haystack.transfer import choose_exam

        n = self.plan.exam_contexts(SimpleNamespace(run_id=self.run_id, iteration=str(i)))
        return choose_exam(query=self.query, cell_sets=self.cell_sets, cells=self.cells, settings=self.settings, n=n)

    def _predict(self, i: int) -> None:
        from haystack.inference import run_inference
        from haystack.specs import MODELS

        self._say("stack_inference")
        run_inference(
            model_dir=self.plan.model_dir(),
            cells=self._at(i) / "cells.h5ad",
            out=self._at(i) / "predictions.h5ad",
            settings=self.settings.model,
            seed=self.settings.seed,
            files={name: self.run / name for name in MODELS.get(self.settings.model.kind).needs},
        )

    def _ground(self, i: int) -> None:
        from haystack.grounding import enrich_predictions
        from haystack.loop import ground_predictions

        at, settings = self._at(i), self.settings
        self._say("enrich_predictions")
        enrich_predictions(
            predictions=at / "predictions.h5ad",
            query=self.query,
            estimates=self.run / "transfer.parquet",
            out_de=at / "de.parquet",
            out_enrichment=at / "enrichment.parquet",
            de=settings.de,
            enrichment=settings.enrichment,
            seed=settings.seed,
        )
        self._say("ground_predictions")
        ground_predictions(
            query=self.query,
            predictions=at / "predictions.h5ad",
            prompts=at / "prompts.json",
            candidates=at / "candidates.json",
            de=at / "de.parquet",
            enrichment=at / "enrichment.parquet",
            cells=at / "cells.h5ad",
            literature=self._literature(at),
            accuracy=self.accuracy,
            contexts=self.contexts,
            estimates=self.run / "transfer.parquet",
            examined=self._at(1) / "predictions.h5ad",
            left_out=self.run / "left_out.parquet",
            out=at / "grounding.json",
            settings=settings,
            run_id=self.run_id,
            iteration=i,
        )

    def _literature(self, at: Path) -> Path | None:
        if not self.settings.literature.enabled:
            return None
        from haystack.literature import search_literature

        search_literature(
            query=self.query,
            de=at / "de.parquet",
            out=at / "literature.json",
            settings=self.settings.literature,
            offline=self.settings.offline,
            cache_dir=self.run / "web",
        )
        return at / "literature.json"

    def _collect(self, last: int) -> None:
        from haystack.report import collect_outputs, render_report

        best = self._at(read_json(self._at(last) / "decision.json", Decision).best_iteration or 1)
        files = {
            name: self.run / f"{self.run_id}_{name}"
            for name in (
                "predictions.h5ad",
                "other_prompts.h5ad",
                "log.json",
                "de.csv",
                "enrichment.csv",
                "report.html",
            )
        }
        self._say("collect_outputs")
        collect_outputs(
            run_id=self.run_id,
            run_dir=self.run,
            decision=self._at(last) / "decision.json",
            settings=self.effective,
            atlases=self.atlases,
            inputs=self.checksummed | {"cell sets": self.cell_sets},
            benchmarks=self.folder / "benchmarks",
            out_predictions=files["predictions.h5ad"],
            out_others=files["other_prompts.h5ad"],
            out_log=files["log.json"],
            out_de=files["de.csv"],
            out_enrichment=files["enrichment.csv"],
            libraries=self.provenance,
            validation=self._validate(best),
        )
        self._say("render_report")
        render_report(
            run_id=self.run_id,
            predictions=files["predictions.h5ad"],
            log=files["log.json"],
            de=files["de.csv"],
            enrichment=files["enrichment.csv"],
            out=files["report.html"],
        )

    def _validate(self, best: Path) -> Path | None:
        if not self.settings.validation:
            return None
        from haystack.grounding import validate_prediction

        validate_prediction(
            query=self.query,
            predictions=best / "predictions.h5ad",
            cells=best / "cells.h5ad",
            grounding=best / "grounding.json",
            atlases=self.atlases,
            tables=self.cells,
            out=self.run / "validation.json",
            settings=self.settings,
        )
        return self.run / "validation.json"
