"""`{run_id}_report.html`: the report as one self-contained file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from haystack.contracts import DE, ENRICHMENT, StructuredQuery, read_json
from haystack.contracts.failure import Failure
from haystack.contracts.runlog import RunLog
from haystack.contracts.tables import SAMPLING, check_table
from haystack.errors import ContractError
from haystack.files import write_text
from haystack.report import view, words
from haystack.report.answer import (
    answer_sentences,
    best_grounding,
    best_iteration,
    call_limits,
    capping_finding,
    cautions,
    ceiling,
    support_sentences,
)
from haystack.report.confidence import rule_of
from haystack.report.design import accuracy_text, design_rows, limitations, model_rows, run_accuracy
from haystack.report.figures import figure_data
from haystack.report.genes import SYMBOL, expected_rows, gene_links, link_patterns, perturbation_text
from haystack.report.libraries import libraries_text
from haystack.report.methods import write_methods
from haystack.report.shown import not_shown
from haystack.report.template import asset, plotly_script, render

if TYPE_CHECKING:
    import pandas as pd

SCRIPTS = ("pager.js", "plots.js", "report.js", "figures.js")


def render_report(
    run_id: str,
    predictions: Path,
    log: Path,
    de: Path,
    enrichment: Path,
    out: Path,
) -> None:
    """Write the report of a finished run.

    Parameters
    ----------
    predictions, log, de, enrichment
        what `collect_outputs` wrote.

    Raises
    ------
    ContractError
        if a file is missing, broken, or of another run.
    """
    story = read_json(log, RunLog)
    if story.run_id != run_id:
        raise ContractError(f"{log}: belongs to run '{story.run_id}', expected '{run_id}'")
    genes = _read_csv(de, DE, SAMPLING)
    terms = _read_csv(enrichment, ENRICHMENT)
    write_text(out, _page(story, genes, terms, figure_data(story, predictions, genes)))


def report_failures(runs: Sequence[tuple[str, str]], results_dir: Path) -> list[Path]:
    """Write `runs/{run_id}/{run_id}_failure.html` for every run with a `failure.json`; remove it for the others.

    Parameters
    ----------
    runs
        (run_id, question).
    results_dir
        holds `runs/{run_id}`.

    Returns
    -------
    list of Path
        the pages written.
    """
    written = []
    for run_id, question in runs:
        folder = Path(results_dir) / "runs" / run_id
        page = folder / f"{run_id}_failure.html"
        if not (folder / "failure.json").exists():
            page.unlink(missing_ok=True)
            continue
        failure = read_json(folder / "failure.json", Failure)
        # The failure itself may have left query.json absent or damaged; its page is written all the same.
        try:
            entities = view.query_rows(read_json(folder / "query.json", StructuredQuery))
        except ContractError:
            entities = []
        write_text(page, render("failure.html.j2", scripts=[], failure=failure, question=question, entities=entities))
        written.append(page)
    return written


def _page(log: RunLog, de: pd.DataFrame, enrichment: pd.DataFrame, figures: dict[str, Any] | None) -> str:
    answer = log.answer
    grounding = best_grounding(log)
    own = de[de["prompt_id"] == answer.best_prompt_id]
    methods = set(enrichment.loc[enrichment["prompt_id"] == answer.best_prompt_id, "method"].astype(str))
    paragraphs, citations = write_methods(log, methods)
    terms, factors = view.term_data(log, enrichment), view.factor_data(log, enrichment)
    accuracy = run_accuracy(log)
    script = Markup().join(map(asset, SCRIPTS))
    papers_of = perturbation_text(log.query)
    best = best_iteration(log)
    return render(
        "report.html.j2",
        log=log,
        answer=answer,
        query=log.query,
        scripts=[plotly_script(), script],
        grounding=grounding,
        best=best,
        sentences=answer_sentences(log),
        support=support_sentences(log, own),
        cautions=cautions(log),
        accuracy=accuracy,
        accuracy_text=accuracy_text(accuracy),
        capped_by=capping_finding(answer),
        design=design_rows(log),
        models=model_rows(log),
        call_limits=call_limits(log),
        n_tested=answer.n_tested,
        rule=rule_of(grounding),
        task=words.TASKS[log.query.task_type.value],
        question=view.marked_question(log),
        entities=view.query_rows(log.query),
        marks=view.scale_marks(log),
        ceiling=ceiling(log),
        components=view.component_rows(grounding),
        iterations=view.iteration_rows(log),
        history=view.component_history(log),
        limitations=limitations(log, not_shown(log)),
        missing=view.not_evaluated(log, own, methods),
        query_groups=view.cell_groups(best.query_cell_sets, best.query_cells_per_set) if best else [],
        cards=view.prompt_cards(log),
        agreement=view.agreement(de, answer.best_prompt_id),
        script=script,
        files=_files(log),
        dot_cells=view.DOT_CELLS,
        terms=terms,
        others_shown=view.OTHERS_SHOWN,
        factors=factors,
        no_factors=view.no_factors(log),
        sentences_read=view.sentences(grounding),
        papers=view.papers(grounding),
        paragraphs=paragraphs,
        citations=citations,
        expected=expected_rows(log, own),
        libraries_text=libraries_text(log.gene_sets),
        gene_links=lambda gene: gene_links(gene, papers_of),
        first_genes=own.head(25).to_dict("records"),
        data={
            "run_id": log.run_id,
            "genes": view.gene_data(log, de),
            "terms": terms,
            "factors": factors,
            "figures": figures,
            "links": {"symbol": f"^{SYMBOL}$", "pages": link_patterns(papers_of)},
        },
    )


def _files(log: RunLog) -> list[tuple[str, str]]:
    """Names and contents of the files linked in the report."""
    own = (
        ("predictions.h5ad", "generated and measured cells of the best prompt, with effects, PCA and UMAP"),
        ("other_prompts.h5ad", "generated cells of the other prompts of the iteration"),
        ("de.csv", "all genes of all prompts of the iteration"),
        ("enrichment.csv", "gene sets and transcription factors of all prompts"),
        ("log.json", "settings, seeds, versions, checksums and every decision"),
    )
    return [(f"{log.run_id}_{name}", what) for name, what in own]


def _read_csv(path: Path, table: Any, names: Mapping[str, str] = MappingProxyType({})) -> pd.DataFrame:
    """Read a table of `collect_outputs`; `names`: column of the table -> its name in the file."""
    import pandas as pd

    kinds = {"str": "object", "float": "float64", "int": "int64", "bool": "bool"}
    try:
        frame = pd.read_csv(
            path,
            dtype={names.get(column.name, column.name): kinds[column.kind] for column in table.columns},
            keep_default_na=False,
            na_values={names.get(column.name, column.name): [""] for column in table.columns if column.kind == "float"},
        )
    except FileNotFoundError:
        raise ContractError(f"{path}: no such file") from None
    except (ValueError, pd.errors.ParserError) as error:
        raise ContractError(f"{path}: not a table written by collect_outputs ({error}); run that rule again") from None
    return check_table(frame.rename(columns={shown: name for name, shown in names.items()}), table, path)
