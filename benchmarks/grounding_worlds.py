"""Small simulated experiments that mislead as real ones do, with known truth.

Part of benchmarks/grounding.py. A world is an atlas of a few donors and immune cell types under one perturbation, and a
question about a type of a new donor. Genes, cell types and responses are those of haystack.demo; donors differ by gene
and along whole programmes. Each kind of world has one fault, or none. Even seeds choose constants, odd seeds are
reported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from haystack.demo import world as w
from haystack.demo.truth import perturbations

if TYPE_CHECKING:
    from haystack.contracts import ExpectedAccuracy
    from haystack.grounding.score import Evidence

TYPES = {
    "cd14": ("CL:0001054", "CD14+ monocytes"),
    "dc": ("CL:0000990", "conventional dendritic cells"),
    "cd4m": ("CL:0000897", "memory CD4 T cells"),
    "cd8m": ("CL:0000909", "memory CD8 T cells"),
    "b": ("CL:0000788", "naive B cells"),
    "nk": ("CL:0000623", "NK cells"),
}
"""kind of cell of the demo -> Cell Ontology id and the words of a question"""
NEAR = {"cd14": "dc", "dc": "cd14", "cd4m": "cd8m", "cd8m": "cd4m", "nk": "cd8m", "b": "cd4m"}
LINEAGE = {"cd14": "myeloid", "dc": "myeloid", "b": "B", "cd4m": "T", "cd8m": "T", "nk": "T"}
FIRST = {"tune": 0, "report": 13}
"""first seed of each half"""
SLOPE = 0.1
"""share of the identity in the calibration"""
DONOR_MODULES = 4
"""programmes along which donors differ, besides gene by gene"""
STRESS = 1.5
"""mean log2 fold change of dissociation genes in stressed cells"""


@dataclass(frozen=True)
class Fault:
    """How a world's experiment departs from a good one."""

    treated: int = 4
    """donors with treated cells"""
    matched: bool = True
    """controls of the same donors; else of as many others"""
    strength: float = 1.0
    """factor on the true response in the treated cells; 0: the drug is inactive, or the cells were not treated"""
    responders: float = 1.0
    cells: tuple[int, int] = (50, 120)
    mixed: float = 0.0
    """share of treated cells that are of another lineage"""
    stress: float = 0.0
    depth: float = 1.0
    """factor on the depth of treated cells"""
    batch: float = 0.0
    """sd of the log2 offset per gene of the treated cells' batch"""
    swapped: int = 0
    """donors whose arms are exchanged"""
    far: bool = False
    """measured in types of other lineages only"""
    real: bool = True
    """whether the answer is right to follow the measured cells: a true response is there to be found"""


KINDS = {
    "good": Fault(),
    "two donors": Fault(treated=2),
    "one donor": Fault(treated=1),
    "unmatched": Fault(matched=False),
    "two unmatched": Fault(treated=2, matched=False),
    "half strength": Fault(strength=0.5),
    "partial responders": Fault(responders=0.25),
    "few cells": Fault(cells=(25, 35)),
    "far types": Fault(far=True),
    "one swapped": Fault(swapped=1),
    "planted null": Fault(treated=1, matched=False, strength=0, real=False),
    "two planted nulls": Fault(treated=2, matched=False, strength=0, real=False),
    "inactive": Fault(strength=0, real=False),
    "split halves": Fault(treated=1, strength=0, real=False),
    "composition": Fault(treated=2, strength=0, mixed=0.25, real=False),
    "stress": Fault(treated=3, strength=0, stress=STRESS, real=False),
    "depth": Fault(treated=2, strength=0, depth=0.4, real=False),
    "batch": Fault(treated=3, strength=0, batch=0.2, real=False),
}


@dataclass(frozen=True)
class World:
    """One experiment and one question about it."""

    kind: str
    seed: int
    perturbation: str
    asked: str
    """kind of cell asked for, of donor `query`"""
    cells: ad.AnnData
    """raw counts; obs: donor, cell_type (CL id), kind, arm (perturbed, control), batch"""
    query: ad.AnnData
    """untreated cells of the asked type of a new donor"""
    truth: pd.Series
    """true log2 fold change per gene in the asked cells; all 0 where the drug is inactive"""
    fault: Fault = field(default_factory=Fault)

    @property
    def text(self) -> str:
        """The question in words."""
        return f"How would {TYPES[self.asked][1]} respond to {self.perturbation}?"


def build(kind: str, seed: int) -> World:
    """Simulate a world; the same kind and seed give the same cells."""
    fault = KINDS[kind]
    rng = np.random.default_rng([seed, sum(map(ord, kind))])
    able = [
        (name, one)
        for name in sorted(perturbations())
        for one in TYPES
        if np.abs(w.perturbation_effect(name, one)).max() >= 1.0
    ]
    perturbation, asked = able[rng.integers(len(able))]
    measured = [one for one in TYPES if one != asked]
    kinds = [NEAR[asked], *rng.choice([one for one in measured if one != NEAR[asked]], 2, replace=False)]
    if fault.far:
        kinds = [one for one in TYPES if LINEAGE[one] != LINEAGE[asked]][:3]
    elif rng.random() < 0.5:
        kinds[2] = asked  # the same type of other donors
    names = [f"D{i}" for i in range(2 * fault.treated + 1)]
    spread = rng.uniform(0.15, 0.4)
    offsets = {name: _donor(rng, spread) for name in names}
    batch = rng.normal(0, fault.batch, len(w.load_world().genes)) if fault.batch else None
    parts = []
    for i in range(fault.treated):
        treated = names[i]
        control = treated if fault.matched else names[fault.treated + i]
        arms = ("control", "perturbed") if i < fault.swapped else ("perturbed", "control")
        for one in kinds:
            n = rng.integers(*fault.cells, 2)
            strength = fault.strength * rng.uniform(0.7, 1.3)
            mean = _log2(one, offsets[treated], rng)
            parts.append(_treated(mean, one, perturbation, strength, fault, batch, int(n[0]), rng, kinds))
            parts[-1].obs = _obs(parts[-1].n_obs, treated, one, arms[0], "b1" if fault.batch else "b0")
            parts.append(_sample(_log2(one, offsets[control], rng)[None], int(n[1]), 2000, rng))
            parts[-1].obs = _obs(parts[-1].n_obs, control, one, arms[1], "b0")
    cells = ad.concat(parts)
    cells.obs_names = [f"c{i}" for i in range(cells.n_obs)]
    steady = _log2(asked, offsets[names[-1]], rng)
    query = _sample(steady[None], 100, 2000, rng)
    query.obs = _obs(100, names[-1], asked, "query", "b0")
    query.obs_names = [f"q{i}" for i in range(100)]
    effect = w.perturbation_effect(perturbation, asked) * (1 if fault.real else 0) * rng.uniform(0.8, 1.2)
    truth = pd.Series(_cp10k(steady + effect) - _cp10k(steady), index=list(w.load_world().genes))
    return World(kind, seed, perturbation, str(asked), cells, query, truth, fault)


def contexts_of(world: World) -> ad.AnnData:
    """`contexts.h5ad` of a world: each type and treated donor, both arms, and the query cells, in random halves."""
    from haystack.contracts.contexts import QUERY_CONTEXT
    from haystack.transfer.pseudobulk import pseudobulk

    obs = world.cells.obs
    rng = np.random.default_rng(world.seed)
    rows, masks = [], []
    donors = sorted(set(obs["donor"]))
    for kind in dict.fromkeys(obs["kind"]):
        for i, donor in enumerate(donors[: world.fault.treated]):
            control = donor if world.fault.matched else donors[world.fault.treated + i]
            for arm, person in (("perturbed", donor), ("control", control)):
                own = np.flatnonzero((obs["kind"] == kind) & (obs["arm"] == arm) & (obs["donor"] == person))
                for half, part in enumerate(np.array_split(rng.permutation(own), 2)):
                    match = "same donor" if world.fault.matched else "other donors"
                    rows.append((f"{kind}/{donor}", arm, half, TYPES[kind][0], donor, match, control, len(part)))
                    masks.append(part)
    n_measured = len(rows)
    for half, part in enumerate(np.array_split(rng.permutation(world.query.n_obs), 2)):
        rows.append((QUERY_CONTEXT, "query", half, TYPES[world.asked][0], None, "donors not recorded", "", len(part)))
        masks.append(part + world.cells.n_obs)
    counts = sparse.vstack([world.cells.X, world.query.X], format="csr")
    group = np.full(counts.shape[0], -1)
    for at, part in enumerate(masks):
        group[part] = at
    bulk = pseudobulk(counts, group, len(rows))
    names = ("context_id", "arm", "half", "cell_type", "donor_id", "control_match", "control_donors", "n_cells")
    table = pd.DataFrame(rows, columns=names)
    table["atlas"] = "world"
    table["perturbation_name"] = np.where(np.arange(len(rows)) < n_measured, world.perturbation, None)
    table["cell_type_name"], table["mean_total_counts"] = table["cell_type"], bulk.depth
    table.index = table.index.astype(str)
    return ad.AnnData(
        bulk.mean.astype(np.float32),
        table,
        world.cells.var.copy(),
        layers={"variance": bulk.variance.astype(np.float32)},
    )


def accuracy_of(contexts: ad.AnnData, asked_type: str, pseudocount: float) -> ExpectedAccuracy:
    """What rule measure_contexts says of the answer."""
    from haystack.transfer.accuracy import expected_accuracy
    from haystack.transfer.design import design_of, lineage_matrix
    from haystack.transfer.panel import Panel
    from haystack.transfer.run import answer

    panel, query = Panel.read(contexts, pseudocount)
    design = design_of(panel, lineage_matrix(panel.cell_type), asked_type, asked_is_measured=True)
    return expected_accuracy(panel, query, answer(panel, query, asked_type, design)[0], design)


def _donor(rng: np.random.Generator, spread: float) -> np.ndarray:
    """A person's log2 offset per gene: gene by gene (heavy-tailed), along a few programmes, and the sex genes."""
    world = w.load_world()
    offset = spread * rng.standard_t(4, len(world.genes)) / np.sqrt(2)
    for name in rng.choice(sorted(world.programmes["modules"]), DONOR_MODULES, replace=False):
        offset += rng.normal(0, 0.25) * world.module("modules", str(name))
    for gene in w.FEMALE_GENES if rng.random() < 0.5 else w.MALE_GENES:
        offset[world.position[gene]] += 7.0
    return offset


def _log2(kind: str, donor: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return w.basal_profile(kind) + donor + rng.normal(0, 0.08, donor.size)


def _treated(
    mean: np.ndarray,
    kind: str,
    perturbation: str,
    strength: float,
    fault: Fault,
    batch: np.ndarray | None,
    n: int,
    rng: np.random.Generator,
    kinds: list[str],
) -> ad.AnnData:
    """Cells under the perturbation, with the fault of the world."""
    from haystack.grounding.arms import programmes

    response = w.perturbation_effect(perturbation, kind) * strength
    share = (rng.random(n) < fault.responders) * rng.lognormal(-0.03, 0.25, n)
    log2 = mean + share[:, None] * response
    if fault.mixed:
        lineage = "cd14" if kind not in ("cd14", "dc") else "cd4m"
        strange = rng.random(n) < fault.mixed
        log2[strange] = w.basal_profile(lineage) + (mean - w.basal_profile(kind))
    if fault.stress:
        genes = np.isin(w.load_world().genes, list(programmes()["dissociation"]))
        log2 = log2 + genes * rng.normal(fault.stress, 0.3, genes.size)
    if batch is not None:
        log2 = log2 + batch
    return _sample(log2, n, 2000 * fault.depth, rng)


def _sample(log2: np.ndarray, n: int, depth: float, rng: np.random.Generator) -> ad.AnnData:
    """Negative-binomial counts; one row of `log2`, or one per cell."""
    level = 1 / (np.exp2(-log2) + 2.0**-w.CEILING)
    level = (level / level.sum(axis=1, keepdims=True)).astype(np.float32)
    mean = level * (depth * rng.lognormal(0, 0.35, n)).astype(np.float32)[:, None]
    mean *= rng.standard_gamma(5.0, mean.shape, dtype=np.float32) / np.float32(5.0)
    genes = list(w.load_world().genes)
    return ad.AnnData(sparse.csr_matrix(rng.poisson(mean).astype(np.float32)), var=pd.DataFrame(index=genes))


def _obs(n: int, donor: str, kind: str, arm: str, batch: str) -> pd.DataFrame:
    values = {"donor": donor, "cell_type": TYPES[kind][0], "kind": kind, "arm": arm, "batch": batch}
    return pd.DataFrame(values, index=[f"{donor}{kind}{arm}{i}" for i in range(n)])


def _cp10k(log2: np.ndarray) -> np.ndarray:
    level = 1 / (np.exp2(-log2) + 2.0**-w.CEILING)
    return np.asarray(np.log2(1e4 * level / level.sum() + 1))


@dataclass(frozen=True)
class Shown:
    """A prompt of a world: the contexts (kind of cell, treated donor) that it shows."""

    name: str
    contexts: tuple[tuple[str, str], ...]


def prompts_of(world: World) -> list[Shown]:
    """Single contexts of the nearest and of the farthest type, and all contexts as one pool."""
    obs = world.cells.obs
    kinds = list(dict.fromkeys(obs["kind"]))
    donors = sorted(set(obs["donor"]))[: world.fault.treated]
    near = [world.asked, NEAR[world.asked], *kinds]
    order = sorted(kinds, key=near.index)
    every = tuple((kind, donor) for kind in kinds for donor in donors)
    found = [
        Shown("nearest, first donor", ((order[0], donors[0]),)),
        Shown("farthest, last donor", ((order[-1], donors[-1]),)),
        Shown("pool", every),
    ]
    if len(donors) > 2:
        found.append(Shown("nearest type, two donors", tuple((order[0], donor) for donor in donors[1:3])))
    return found


def arms_of(world: World, shown: Shown) -> tuple[ad.AnnData, ad.AnnData]:
    """Treated and control cells of a prompt."""
    obs, donors = world.cells.obs, sorted(set(world.cells.obs["donor"]))
    treated, control = (np.zeros(world.cells.n_obs, dtype=bool) for _ in range(2))
    for kind, donor in shown.contexts:
        person = donor if world.fault.matched else donors[world.fault.treated + donors.index(donor)]
        treated |= ((obs["kind"] == kind) & (obs["donor"] == donor) & (obs["arm"] == "perturbed")).to_numpy()
        control |= ((obs["kind"] == kind) & (obs["donor"] == person) & (obs["arm"] == "control")).to_numpy()
    return world.cells[treated], world.cells[control]


def answers(world: World, evidence: Evidence) -> list[dict[str, Any]]:
    """One row per prompt of a world: the additive prediction, its accuracy, and what the score says of it."""
    from haystack.grounding import ground_cells
    from haystack.grounding.arms import RANK, prompt_findings
    from haystack.grounding.de import differential_expression
    from haystack.grounding.design import context_findings
    from haystack.grounding.measured import Shown
    from haystack.grounding.support import measurements_of
    from haystack.inference.baselines import additive
    from haystack.query import parse_question
    from haystack.retrieval.celltypes import relate

    query = parse_question(world.text)
    types = [cl_id for cl_id, _ in TYPES.values()]
    near = {name: found.closeness for name, found in relate(TYPES[world.asked][0], types).items()}
    contexts = contexts_of(world)
    measured = measurements_of(contexts, near)
    accuracy = accuracy_of(contexts, TYPES[world.asked][0], evidence.de.pseudocount)
    scaled = world.query.X.multiply(1e4 / world.query.X.sum(axis=1))
    findings = context_findings(measured, np.log2(np.asarray(scaled.mean(axis=0)).ravel() + 1))
    donors, rng = sorted(set(world.cells.obs["donor"])), np.random.default_rng(world.seed)
    rows = []
    for prompt in prompts_of(world):
        treated, control = arms_of(world, prompt)
        made = additive(world.query.X, treated.X, control.X, rng)
        cells = ad.AnnData(sparse.csr_matrix(made.counts), var=world.query.var)
        genes = list(world.query.var_names)
        table = differential_expression(cells.X, world.query.X, genes, evidence.de, None, (made.mean, world.query.X))
        people = {donor for _, donor in prompt.contexts}
        if not world.fault.matched:
            people |= {donors[world.fault.treated + donors.index(donor)] for donor in people}
        own = prompt_findings(treated, control, other_donors=not world.fault.matched)
        context_rows = tuple(measured.names.index(f"{kind}/{donor}") for kind, donor in prompt.contexts)
        shown = Shown(measured, frozenset(people), (*findings, *own), accuracy, context_rows)
        found = ground_cells(query, cells, world.query, evidence, de=table, shown=shown)
        change = table.set_index("gene")["log2fc"].reindex(world.truth.index).fillna(0.0)
        flat = world.truth.std() == 0 or change.std() == 0
        rows.append(
            {
                "kind": world.kind,
                "asked_measured": bool(world.asked in set(world.cells.obs["kind"])),
                "seed": world.seed,
                "prompt": prompt.name,
                "accuracy": 0.0 if flat else float(np.corrcoef(change, world.truth)[0, 1]),
                "value": found.composite_value,
                "evidence": found.evidence_value,
                "expected_r": found.expected_r,
                "agreement": found.components["measured_support"].details.get("agreement"),
                "knowledge": found.components["target_activation"].score,
                "run_r": accuracy.r,
                "kept": accuracy.kept,
                "half": accuracy.half_of_real_cells,
                "confidence": found.confidence,
                "cap": min((item.cap for item in found.findings), key=RANK.__getitem__, default="high"),
                "capped_by": found.capped_by,
                "findings": ";".join(item.name for item in found.findings if item.cap == "low"),
                "verdict": found.verdict,
                "agreeing": found.n_agreeing,
                "real": world.fault.real,
            }
        )
    return rows


def simulate(split: str, seeds: int, work: Path) -> pd.DataFrame:
    """All answers of the worlds with even (tune) or odd (report) seeds; kept in `work` as they are made.

    Odd seeds up to 11 were read during development: reported are those from 13 on. Values and classes are made anew
    from the evidence that was kept.
    """
    from haystack.config import Settings
    from haystack.grounding import ground, load_evidence
    from haystack.grounding.confidence import calibrate as calibration_of

    ground.null_composites = lambda *_: ({}, [])  # nulls take most of the time and change no value
    evidence = load_evidence(Settings())
    tables = []
    work.mkdir(parents=True, exist_ok=True)
    for seed in range(FIRST[split], FIRST[split] + 2 * seeds, 2):
        path = work / f"worlds_{seed}.csv"
        if not path.exists():
            rows = [row for kind in KINDS for row in answers(build(kind, seed), evidence)]
            pd.DataFrame(rows).to_csv(path, index=False)
        tables.append(pd.read_csv(path))
    table = pd.concat(tables, ignore_index=True)
    table["value"] = table["evidence"].map(calibration_of)
    table["confidence"] = [_class_of(row) for row in table.to_dict("records")]
    return table


def _class_of(row: dict[str, Any]) -> str:
    from haystack.contracts.design import Finding, Verdict
    from haystack.grounding.confidence import Basis, confidence_of

    finding = Finding(name="", value=None, sentence="", cap=row["cap"])
    expected = None if np.isnan(row["expected_r"]) else row["expected_r"]
    return confidence_of(row["value"], Basis([finding], Verdict(row["verdict"]), expected, row["agreeing"])).confidence


def report(table: pd.DataFrame) -> dict[str, Any]:
    """What the score and the class promise, and what they keep, over questions and over prompts."""
    from scipy.stats import spearmanr

    from haystack.grounding.confidence import REACHED

    table = table.assign(question=table["kind"] + table["seed"].astype(str), right=table["accuracy"] >= REACHED)
    best = table.loc[table.groupby("question")["value"].idxmax()]
    nulls, real = best[~best["real"]], best[best["real"]]
    supported = real[(real["agreeing"] >= 2) & (real["accuracy"] >= REACHED) & (real["kind"] != "one swapped")]
    matched = supported[~supported["kind"].str.contains("unmatched|far types")]
    bins = pd.cut(table["value"], [0, 2, 4, 6, 7, 10])
    return {
        "questions": len(best),
        "predictions": len(table),
        "right_by_class": {
            name: [len(part), round(float(part["right"].mean()), 3)] for name, part in best.groupby("confidence")
        },
        "well_supported_right_high": f"{int((matched['confidence'] == 'high').sum())} of {len(matched)}",
        "nulls_at_7": int((nulls["value"] >= 7).sum()),
        "nulls_above_low": sorted(nulls.loc[nulls["confidence"] != "low", "kind"]),
        "nulls": len(nulls),
        "nulls_named": round(float((nulls["capped_by"].notna()).mean()), 3),
        "unmatched_agreeing_at_least_medium": [
            int((supported["kind"].str.contains("unmatched") & (supported["confidence"] != "low")).sum()),
            int(supported["kind"].str.contains("unmatched").sum()),
        ],
        "auroc_real_null": _auroc(table["real"], table["value"]),
        "spearman_questions": round(float(spearmanr(best["value"], best["accuracy"]).statistic), 3),
        "spearman_predictions": round(float(spearmanr(table["value"], table["accuracy"]).statistic), 3),
        "concordance": _concordance(table),
        "reliability": [
            [str(name), len(part), round(float(part["value"].mean()), 2), round(10 * float(part["right"].mean()), 2)]
            for name, part in table.groupby(bins, observed=True)
        ],
    }


def calibrate(table: pd.DataFrame, out: Path) -> np.ndarray:
    """Write the calibration table: isotonic, one knot per block, with a slope of SLOPE so that no two values tie."""
    from sklearn.isotonic import IsotonicRegression

    from haystack.grounding.confidence import REACHED

    kept = table.dropna(subset=["evidence"])
    evidence, right = kept["evidence"].to_numpy(), (kept["accuracy"] >= REACHED).to_numpy(float)
    fitted = IsotonicRegression(y_min=0, y_max=1).fit(evidence, right).predict(evidence)
    knots = [(float(evidence[fitted == p].mean()), float(p)) for p in np.unique(fitted)]
    knots = np.array([(0.0, 0.0), *[k for k in knots if 0 < k[0] < 1], (1.0, max(knots[-1][1], 0.95))])
    grid = np.linspace(0, 1, 21)
    level = (1 - SLOPE) * np.interp(grid, knots[:, 0], knots[:, 1]) + SLOPE * grid
    lines = [f"{x:.2f}\t{p:.4f}" for x, p in zip(grid, level, strict=True)]
    head = [
        "# Probability that a prediction reaches r >= 0.5, by evidence. Isotonic regression on simulated experiments,",
        "# even seeds only (benchmarks/grounding.py calibrate); docs/grounding.md reports on odd seeds.",
        "evidence\tprobability",
    ]
    out.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    return np.column_stack([grid, level])


def _auroc(real: pd.Series, value: pd.Series) -> float:
    from sklearn.metrics import roc_auc_score

    return round(float(roc_auc_score(real, value.fillna(1.0))), 3)


def _concordance(table: pd.DataFrame, least: float = 0.02) -> list[float]:
    """Share of pairs of prompts of one question that the value orders as their accuracy, and the number of pairs."""
    right, pairs = 0.0, 0
    for _, part in table.groupby("question"):
        points = part[["value", "accuracy"]].to_numpy(float)
        for i in range(len(points)):
            for j in range(i):
                gap = points[i] - points[j]
                if abs(gap[1]) >= least:
                    right += 0.5 if gap[0] == 0 else float(gap[0] * gap[1] > 0)
                    pairs += 1
    return [round(right / pairs, 3), pairs]
