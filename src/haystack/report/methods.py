"""The methods paragraph of a paper, with versions and citations, from the run's log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from haystack.contracts import ControlStrategy
from haystack.contracts.runlog import RunLog
from haystack.report.answer import best_grounding, call_limits
from haystack.report.words import count, doi_url, listed, percent, spoken
from haystack.specs import COMPONENTS


@dataclass(frozen=True)
class Citation:
    """A work to cite."""

    key: str
    text: str
    doi: str

    @property
    def url(self) -> str | None:
        """Resolver address."""
        return doi_url(self.doi)


MODEL = "model"
"""key of the work cited by the model's descriptor"""

_WORKS = {
    item.key: item
    for item in (
        Citation(
            "snakemake",
            "Mölder F, Jablonski KP, Letcher B, et al. Sustainable data analysis with Snakemake. F1000Research (2021).",
            "10.12688/f1000research.29032.2",
        ),
        Citation(
            "anndata",
            "Virshup I, Rybakov S, Theis FJ, et al. anndata: Access and store annotated data matrices. "
            "Journal of Open Source Software (2024).",
            "10.21105/joss.04371",
        ),
        Citation(
            "scanpy",
            "Wolf FA, Angerer P, Theis FJ. SCANPY: large-scale single-cell gene expression data analysis. "
            "Genome Biology (2018).",
            "10.1186/s13059-017-1382-0",
        ),
        Citation(
            "umap",
            "McInnes L, Healy J, Saul N, Großberger L. UMAP: Uniform Manifold Approximation and Projection. "
            "Journal of Open Source Software (2018).",
            "10.21105/joss.00861",
        ),
        Citation(
            "cl",
            "Diehl AD, Meehan TF, Bradford YM, et al. The Cell Ontology 2016: enhanced content, modularization, and "
            "ontology interoperability. Journal of Biomedical Semantics (2016).",
            "10.1186/s13326-016-0088-7",
        ),
        Citation(
            "uberon",
            "Mungall CJ, Torniai C, Gkoutos GV, et al. Uberon, an integrative multi-species anatomy ontology. "
            "Genome Biology (2012).",
            "10.1186/gb-2012-13-1-r5",
        ),
        Citation(
            "bh",
            "Benjamini Y, Hochberg Y. Controlling the false discovery rate: a practical and powerful approach to "
            "multiple testing. Journal of the Royal Statistical Society B (1995).",
            "10.1111/j.2517-6161.1995.tb02031.x",
        ),
        Citation(
            "gsea",
            "Subramanian A, Tamayo P, Mootha VK, et al. Gene set enrichment analysis: a knowledge-based approach for "
            "interpreting genome-wide expression profiles. PNAS (2005).",
            "10.1073/pnas.0506580102",
        ),
        Citation(
            "gseapy",
            "Fang Z, Liu X, Peltz G. GSEApy: a comprehensive package for performing gene set enrichment analysis in "
            "Python. Bioinformatics (2023).",
            "10.1093/bioinformatics/btac757",
        ),
        Citation(
            "decoupler",
            "Badia-i-Mompel P, Vélez Santiago J, Braunger J, et al. decoupleR: ensemble of computational methods to "
            "infer biological activities from omics data. Bioinformatics Advances (2022).",
            "10.1093/bioadv/vbac016",
        ),
        Citation(
            "collectri",
            "Müller-Dott S, Tsirvouli E, Vazquez M, et al. Expanding the coverage of regulons from high-confidence "
            "prior knowledge for accurate estimation of transcription factor activities. "
            "Nucleic Acids Research (2023).",
            "10.1093/nar/gkad841",
        ),
    )
}


def write_methods(log: RunLog, methods: set[str]) -> tuple[list[str], list[Citation]]:
    """Paragraphs, and the works cited in them as [1], [2], ..., in order of first mention.

    Parameters
    ----------
    methods
        kinds of enrichment that were run: ora, gsea, ulm.
    """
    cited: list[str] = []

    def cite(key: str) -> str:
        if key not in cited:
            cited.append(key)
        return f"[{cited.index(key) + 1}]"

    paragraphs = [
        _data(log, cite),
        _model(log, cite),
        _tests(log, methods, cite),
        _scores(log),
    ]
    works = _WORKS | {library.doi: Citation(library.doi, library.citation, library.doi) for library in log.libraries}
    works |= {MODEL: Citation(MODEL, log.model.citation or "", log.model.doi or "")}
    return paragraphs, [works[key] for key in cited]


def _version(log: RunLog, name: str) -> str:
    return f"{name} {log.versions[name]}" if name in log.versions else name


def _data(log: RunLog, cite: Any) -> str:
    used = [atlas.name + (" (simulated)" if atlas.simulated else "") for atlas in log.atlases if atlas.used]
    n = len(log.iterations)
    reason = log.iterations[-1].decision.reason if log.iterations else None
    end = f", and ended by the criterion “{spoken(reason.value)}”" if reason else ""
    best = best_grounding(log)
    chosen = "nearest to the question, unless another is expected to be clearly more accurate"
    if best is None or best.confidence is None:
        chosen = "with the highest composite"
    return (
        f"The question was answered with {_version(log, 'haystack')}, a Snakemake workflow "
        f"({_version(log, 'snakemake')}) {cite('snakemake')}. Cell types and tissues were resolved to the Cell "
        f"Ontology {cite('cl')} and Uberon {cite('uberon')}; cells were handled with {_version(log, 'anndata')} "
        f"{cite('anndata')}, the map of cells was made with {_version(log, 'scanpy')} "
        f"{cite('scanpy')} (PCA) and {_version(log, 'scranpy')} (UMAP {cite('umap')}). Prompt, "
        f"control and query cells came from {listed(used) or 'no atlas'}. The "
        f"closed loop took {count(n, 'iteration')}{end}; the run reports the prompt {chosen}."
    )


def _model(log: RunLog, cite: Any) -> str:
    prompting = log.settings["prompting"]
    who = log.model.title + (f" {cite(MODEL)}" if log.model.citation else "")
    if log.model.package in log.versions:
        who += f" ({log.model.package} {log.versions[log.model.package]})"
    who += log.model.detail
    facts = [f"{spoken(key)} {log.inference[key]}" for key in ("device", "precision") if log.inference.get(key)]
    where = f" ({', '.join(facts)})" if facts and log.model.gpu else ""
    made = [prompt for item in log.iterations for prompt in item.prompts]
    sizes = sorted({prompt.n_prompt_cells for prompt in made})
    cells = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else f"{sizes[0] if sizes else 0}"
    paired = all(
        prompt.control_strategy is ControlStrategy.SYNTHETIC_CONTROL
        for prompt in made
        if prompt.prompt_id == log.answer.best_prompt_id
    )
    control = (
        "Differential expression compares cells generated from prompt cells with cells generated from their paired "
        "control cells (synthetic control)."
        if paired and log.inference.get("generated_control", True)
        else "Differential expression compares the predicted cells with the query cells that they were made from."
        if paired
        else "No control prompt stands behind the answer: its generated cells are compared with the original query "
        "cells, so that the difference also holds the model's reconstruction error."
    )
    return (
        f"Cells were generated with {who}{where}, from {cells} prompt cells per prompt and up to "
        f"{prompting['query_cells']} query cells, at most {count(log.settings['prompts_per_iteration'], 'prompt')} per "
        f"iteration, seed {log.settings['seed']}. {control}"
    )


def _tests(log: RunLog, methods: set[str], cite: Any) -> str:
    de, enrichment = log.settings["de"], log.settings["enrichment"]
    test = (
        "two-sided Wilcoxon rank-sum test (normal approximation, ties corrected) on counts per 10,000 (CP10k)"
        if de["test"] == "wilcoxon"
        else "two-sided Welch’s t-test on log1p of counts per 10,000 (CP10k)"
    )
    bh = de["correction"] == "benjamini-hochberg"
    correction = f"the Benjamini-Hochberg procedure {cite('bh')}" if bh else "the Bonferroni correction"
    text = (
        f"A gene is called changed with {call_limits(log)}, between mean CP10k with a pseudocount of "
        f"{de['pseudocount']:g}, where the means are of the counts that the model expects for the generated cells. "
        f"Genes were also tested by a {test}, p-values adjusted by {correction}. Generated cells are not biological "
        "replicates: these p-values describe the model's sampling, not variation between donors, and call no gene."
    )
    if "ora" in methods:
        text += (
            f" Over-representation of gene sets ({_libraries(log, cite)}) was tested by the hypergeometric "
            f"distribution ({_version(log, 'gseapy')} {cite('gseapy')}), separately for upregulated and "
            "downregulated genes, against all tested genes."
        )
    if "gsea" in methods:
        text += (
            f" At most {enrichment['gsea_sets']} shortlisted sets were ranked by pre-ranked GSEA {cite('gsea')} with "
            f"{enrichment['gsea_permutations']} permutations of genes."
        )
    if "ulm" in methods:
        text += (
            " Transcription factor activities are t statistics of univariate linear models, as in decoupleR "
            f"{cite('decoupler')}, with regulons in the format of CollecTRI {cite('collectri')}."
        )
    return text


def _libraries(log: RunLog, cite: Any) -> str:
    fetched = {library.address: library for library in log.libraries}
    own = {item.name: f"{item.name}: {item.origin}, {count(item.n_sets, 'set')}" for item in log.gene_sets}
    names = []
    for name, address in sorted(log.settings["enrichment"]["libraries"].items()):
        library = fetched.get(address)
        cited = f"{name}: {address}, version {library.version} {cite(library.doi)}" if library else own.get(name, name)
        names.append(cited)
    return listed(names)


def _scores(log: RunLog) -> str:
    best = best_grounding(log)
    shares = [f"{spoken(name)} {percent(share)}" for name, share in (best.weights if best else {}).items()]
    weights = f" (weights of the best prompt: {', '.join(shares)})" if shares else ""
    text = (
        f"Predictions were scored from 1 to 10 as the weighted mean of evidence components{weights}; components that "
        "could not be evaluated were left out and the weights renormalised."
    )
    evaluated = {name for name, part in best.components.items() if part.evaluated} if best else set()
    text += "".join(f" {spec.methods}" for spec in COMPONENTS if spec.methods and spec.name in evaluated)
    draws = log.settings["grounding"]["permutations"]
    return (
        f"{text} The composite was compared with nulls: unchanged cells, cells with shuffled labels, and the same "
        f"cells judged as the answer to other questions. Random draws behind the components: {draws}."
    )
