"""What the report says of the cells that the model was shown, beside those that were asked for."""

from __future__ import annotations

import pytest
from report_run import RunOptions, cell_set

from haystack.contracts import CellSet, Perturbation, TaskType
from haystack.contracts.runlog import PathwayHit, RunLog
from haystack.contracts.tables import FROM_CSV
from haystack.report.answer import answer_sentences, cautions, support_sentences
from haystack.report.shown import carried_sentences, measured_sentences, not_shown
from haystack.report.view import component_rows, term_data
from haystack.report.words import TASKS

PART_OF_LUNG = "UBERON:0000101"


def shows(
    log: RunLog,
    sets: list[CellSet],
    query_sets: list[CellSet] | None = None,
    sample: dict[str, str] | None = None,
    **asked: object,
) -> RunLog:
    """The log, as if all prompts had shown these sets, 20 cells of each, and the question had asked this."""
    cells = {item.cell_set_id: 20 for item in sets}
    iterations = []
    for item in log.iterations:
        prompts = [one.model_copy(update={"cell_sets": sets, "cells_per_set": cells}) for one in item.prompts]
        changed: dict[str, object] = {"prompts": prompts}
        if query_sets is not None:
            changed["query_cell_sets"] = query_sets
            changed["query_cells_per_set"] = {one.cell_set_id: 20 for one in query_sets}
        iterations.append(item.model_copy(update=changed))
    context = log.query.asked.context.model_copy(update=sample or {})
    query = log.query.model_copy(update={"asked": log.query.asked.model_copy(update={"context": context, **asked})})
    return log.model_copy(update={"iterations": iterations, "query": query})


def make(name: str, cell_type: str, perturbation: str | None = "interferon beta", donor: str = "D1") -> CellSet:
    return cell_set(RunOptions(), name, cell_type, perturbation, donor, 40)


@pytest.fixture
def log(finish) -> RunLog:
    return finish().log


@pytest.fixture
def sentences(finish):
    """The answer, what supports it and what limits it, for a log."""
    import pandas as pd

    genes = pd.read_csv(finish().file("de.csv")).rename(columns=FROM_CSV)
    own = genes[genes["is_best_prompt"]]
    return lambda log: [*answer_sentences(log), *support_sentences(log, own), *cautions(log)]


def test_no_task_claims_that_nothing_was_measured():
    assert set(TASKS) == {task.value for task in TaskType}
    assert not [text for text in TASKS.values() if "not measured" in text]


def test_asked_cells_under_the_asked_perturbation_are_pointed_at(log, sentences):
    known = shows(log, [make("a", "B cell"), make("b", "naive B cell", donor="D2"), make("c", "CD14+ monocyte")])
    assert measured_sentences(known) == [
        "B cells and naive B cells under interferon beta are measured in atlas demo_pbmc "
        "(40 cells of 2 donors shown to the model). See the measurements."
    ]
    assert measured_sentences(known)[0] in sentences(known)
    assert carried_sentences(known) == [
        "The response is partly extrapolated from CD14+ monocytes under interferon beta."
    ]
    everything = known.model_copy(update={"inference": {"sees_all": True}})
    assert carried_sentences(everything) == [
        "The response is combined from all measured contexts of the perturbation, whichever prompt is shown."
    ]
    timed = shows(known, [make("a", "B cell")], time="6 h")
    assert measured_sentences(timed)[0].endswith("Whether their dose and time match (6 h) was not checked.")
    assert carried_sentences(timed) == []


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (
            {"donor_id": "KD_047", "tissue_name": "kidney", "disease_name": "chronic kidney disease"},
            "donor KD_047 (kidney, chronic kidney disease)",
        ),
        ({"donor_id": "Donor 3"}, "Donor 3"),
        ({"tissue_name": "kidney", "disease_name": "chronic kidney disease"}, "kidney with chronic kidney disease"),
        ({"disease_name": "asthma"}, "donors with asthma"),
        ({"tissue_name": "lung", "disease_mondo_id": "PATO:0000461", "disease_name": "normal"}, "healthy lung"),
    ],
)
def test_the_sample_is_told_in_words(log, sample, words):
    nothing = dict.fromkeys(("donor_id", "tissue_name", "tissue_uberon_id", "disease_name", "disease_mondo_id"))
    imputed = shows(log, [make("a", "CD14+ monocyte", None)], sample=nothing | sample)
    query = imputed.query.model_copy(update={"task_type": TaskType.CELL_TYPE_IMPUTATION})
    (sentence,) = carried_sentences(imputed.model_copy(update={"query": query}))
    assert sentence.endswith(f", in place of B cells of {words}.")


@pytest.mark.parametrize(
    "item",
    [
        make("a", "B cell", "interferon gamma"),
        make("a", "B cell", None),
        make("a", "CD14+ monocyte"),
        make("a", "B cell").model_copy(update={"cell_type_cl_id": None}),
        make("a", "B cell").model_copy(update={"cell_type_cl_id": "CL:0000945"}),  # its parent, lymphocyte of B lineage
    ],
)
def test_other_cells_are_not_called_measured(log, item):
    assert measured_sentences(shows(log, [item])) == []


def test_synonyms_mean_the_asked_perturbation(log):
    assert "under IFNB1 are measured" in measured_sentences(shows(log, [make("a", "B cell", "IFNB1")]))[0]


def test_one_of_two_asked_perturbations_is_not_the_asked_combination(log):
    both = [*log.query.perturbations, Perturbation(query="TNF", name="TNF", type="cytokine")]
    assert measured_sentences(shows(log, [make("a", "B cell")], perturbations=both)) == []


def test_cells_of_another_type_are_said_to_be_carried_over(log, sentences):
    assert "The response is extrapolated from CD14+ monocytes under interferon beta." in sentences(log)
    sets = [make(f"s{n}", f"kind {n} cell", "interferon gamma") for n in range(6)]
    (sentence,) = carried_sentences(shows(log, sets))
    assert sentence == (
        "The response is extrapolated from kind 0 cells, kind 1 cells, kind 2 cells and 3 other cell types "
        "under interferon gamma, in place of interferon beta."
    )


def test_a_donor_a_tissue_and_a_disease_that_no_shown_cell_has_are_named(log):
    assert not_shown(log) == []
    sample = {
        "donor_id": "D7",
        "tissue_uberon_id": "UBERON:0002048",
        "tissue_name": "lung",
        "disease_mondo_id": "MONDO:0007915",
        "disease_name": "systemic lupus erythematosus",
    }
    start = "None of the prompt and query cells is known to come from "
    known = shows(log, [make("a", "B cell")], sample=sample)
    assert not_shown(known) == [
        f"{start}donor D7; the prediction is not specific to that donor.",
        f"{start}lung; the prediction is not specific to it.",
        f"{start}a donor with systemic lupus erythematosus; the prediction is not specific to that.",
    ]
    has = {"tissue_uberon_id": PART_OF_LUNG, "disease_mondo_id": "MONDO:0007915"}
    assert not_shown(shows(log, [make("a", "B cell", donor="D7").model_copy(update=has)], sample=sample)) == []
    assert (
        not_shown(shows(log, [make("a", "B cell")], [make("q", "B cell", None, "D7")], sample={"donor_id": "D7"})) == []
    )


def test_what_is_not_shown_stands_in_the_report(fresh):
    run = fresh()
    query = run.folder / "query.json"
    text = query.read_text().replace('"donor_id": null', '"donor_id": "D7"')
    query.write_text(text.replace('"target_donor_id": null', '"target_donor_id": "D7"'))
    run.collect()
    run.render()
    told = run.html[run.html.index("<h2>Limitations</h2>") :]
    assert "known to come from donor D7; the prediction is not specific" in told[: told.index("</section>")]


def test_query_cells_of_another_type_are_named(log):
    known = shows(log, [make("a", "B cell")], [make("q", "natural killer cell", None)])
    assert not_shown(known) == ["The cells whose change is predicted are natural killer cells, not B cells."]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([("MYC knock-out", "genetic", -1)], "For B cells that lose MYC, the model"),
        ([("STAT1 overexpression", "genetic", 1)], "For B cells that gain STAT1, the model"),
        ([("STAT1 perturbation", "genetic", None)], "For B cells with STAT1 changed, the model"),
        (
            [("STAT1 knock-down", "genetic", -1), ("IFN-beta", "cytokine", None)],
            "For B cells treated with IFN-beta and that lose STAT1, the model",
        ),
    ],
)
def test_genes_are_lost_and_gained_not_their_knock_outs(log, sentences, changes, words):
    items = [Perturbation(query=name, name=name, type=kind, direction=way) for name, kind, way in changes]
    known = shows(log, [make("a", "B cell")], perturbations=items)
    assert sentences(known)[0].startswith(words)


def test_gene_sets_are_told_by_direction(log, sentences):
    def hits(*found: tuple[str, str]) -> RunLog:
        pathways = [
            PathwayHit(term=term, library="x", direction=way, statistic=2, padj=0.01)  # type: ignore[arg-type]
            for term, way in found
        ]
        return log.model_copy(update={"answer": log.answer.model_copy(update={"pathways": pathways})})

    assert sentences(hits(("A", "up"), ("B", "down"), ("C", "up")))[1] == (
        "Upregulated genes are enriched for “A” and “C”, downregulated genes for “B”."
    )
    assert sentences(hits(("B", "down")))[1] == "Downregulated genes are enriched for “B”."
    assert sentences(hits())[1] == "No gene set is enriched among them."


@pytest.mark.parametrize(
    ("lfsr", "log2fc", "said"),
    [
        (0.2, 0.5, "(local false sign rate up to 0.2)"),
        (0.05, 0.0, "(log2 fold changes from 0)"),
        (0.3, 0.1, "(local false sign rate up to 0.3 and log2 fold changes from 0.1)"),
        (0.1, 0.25, None),
    ],
)
def test_loose_thresholds_are_warned_of(log, sentences, lfsr, log2fc, said):
    settings = log.settings | {"de": log.settings["de"] | {"lfsr": lfsr, "log2fc": log2fc}}
    warned = [text for text in sentences(log.model_copy(update={"settings": settings})) if "loose" in text]
    assert warned == ([] if said is None else [f"The thresholds are loose {said}: a called gene may hardly change."])


def test_the_agreement_of_a_component_says_what_it_is(log):
    grounding = log.iterations[1].grounding.prompts[0]
    part = grounding.components["target_activation"]
    with_factors = part.model_copy(update={"details": {"agreement": 0.5, "transcription_factors": {"STAT1": 1.0}}})
    without = part.model_copy(update={"details": {"agreement": 0.5}})
    components = {"target_activation": with_factors, "pathway_coherence": without}
    rows = component_rows(grounding.model_copy(update={"components": components}))
    labels = {row["name"]: row["details"][0][0] for row in rows}
    assert labels == {
        "target_activation": "agreement beyond chance, transcription factors included",
        "pathway_coherence": "agreement beyond chance",
    }


def test_gene_sets_that_are_not_significant_are_few(finish):
    import pandas as pd

    run = finish(n_terms=20)
    terms = term_data(run.log, pd.read_csv(run.file("enrichment.csv"), keep_default_na=False))
    limit = run.log.settings["enrichment"]["padj"]
    assert [row["padj"] <= limit for row in terms] == [True] * 7 + [False] * 3


def test_the_answer_says_whether_the_cells_had_what_the_question_says(log, sentences):
    main = log.query.asked.perturbations[0]
    had = Perturbation(query="LPS", name="lipopolysaccharide", type="drug")
    asked = {"perturbations": [main, had], "background": [had.name]}
    plain = make("b", "B cell")
    under = plain.model_copy(update={"background": had.name})
    told = " ".join(sentences(shows(log, [under], **asked)))
    assert "under lipopolysaccharide treated with interferon beta, the model predicts" in told
    assert "No atlas measured" not in told
    told = " ".join(sentences(shows(log, [plain], **asked)))
    assert "under lipopolysaccharide treated" not in told
    assert "the response predicted is that of cells without lipopolysaccharide" in told


def test_cells_without_what_the_question_says_they_had_are_named_in_the_first_sentence(log):
    had = [make("a", "B cell").model_copy(update={"background": "LPS"})]
    primed = shows(log, had, background=["LPS"])
    plain = shows(log, [make("a", "B cell")], background=["LPS"])
    assert answer_sentences(primed)[0].startswith("For B cells under LPS treated with interferon beta, the model")
    assert answer_sentences(plain)[0].startswith("For B cells treated with interferon beta without LPS, the model")
    assert "No atlas measured" in cautions(plain)[0]
