"""The simulated biology: expression of every kind of cell, and effects of perturbations, diseases and donors.

It is determined by the tracked files `genes.tsv`, `programmes.yaml` and `layouts.yaml` and by names, never by a seed;
seeds only affect sampling of cells. Profiles are log2 of counts per 10,000, before scaling to a sum of 10,000.
"""

from __future__ import annotations

import functools
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haystack.config import read_yaml
from haystack.errors import AtlasError, suggest

if TYPE_CHECKING:
    import numpy as np

HERE = Path(__file__).parent
CEILING = 7.5
"""upper limit of log2 CP10k, approached smoothly, so that one gene does not dominate the counts"""
RECEPTOR_SPAN = 4.0
"""log2 difference between cells without and with the full level of a receptor"""
CORE_SHARE = 1 / 3
"""share of a module's genes, in order, that respond in every responsive kind of cell"""
CLOSED = (0.3, 0.2)
"""probability that another gene cannot respond in a branch (myeloid, lymphoid, ...), and in a sub-branch (mono, t, b,
...)"""
BRANCHES = ("myeloid", "lymphoid", "mesenchymal", "endothelial", "epithelial")
OPEN_SPREAD = 0.3
"""sd of ln of the response factor per gene of a branch, and again of a sub-branch"""
KIND_SPREAD = 0.2
"""sd of ln of the response factor per gene and perturbation between kinds of cells"""
DONOR_SPREAD = 0.22
"""sd of a donor's log2 offset per gene, shared by all cells of the donor"""
DONOR_KIND_SPREAD = 0.08
ATLAS_SPREAD = 0.25
"""sd of the log2 offset per gene between laboratories and protocols"""
FEMALE_GENES = ("XIST", "TSIX")
MALE_GENES = ("RPS4Y1", "DDX3Y", "KDM5D", "EIF1AY", "UTY", "USP9Y")


@dataclass(frozen=True)
class World:
    """Genes (order of every vector), their basal level, and the parsed programmes and layouts."""

    genes: tuple[str, ...]
    base: np.ndarray
    programmes: dict[str, Any]
    layouts: dict[str, Any]

    @functools.cached_property
    def position(self) -> dict[str, int]:
        """Gene to its position."""
        return {gene: i for i, gene in enumerate(self.genes)}

    def tags(self, kind: str) -> list[str]:
        """Lineage tags of a kind of cell, general to specific."""
        return list(self.layouts["kinds"][kind])

    def module(self, section: str, name: str) -> np.ndarray:
        """Log2 fold changes of a full response of one module, over all genes."""
        import numpy as np

        entry = self.programmes[section][name]
        effect = np.zeros(len(self.genes))
        places = [self.position[gene] for gene in entry["genes"]]
        effect[places] = entry["strength"] * np.linspace(1.3, 0.7, len(places))
        return effect

    def core(self, name: str) -> np.ndarray:
        """Which genes are the core of a response module."""
        import numpy as np

        genes = self.programmes["modules"][name]["genes"]
        return np.isin(self.genes, genes[: round(len(genes) * CORE_SHARE)])


@functools.cache
def load_world() -> World:
    """Read the tracked files of the simulator."""
    import numpy as np

    rows = [
        line.split("\t") for line in (HERE / "genes.tsv").read_text(encoding="utf-8").splitlines() if line[0] != "#"
    ]
    genes, _, levels = zip(*rows[1:], strict=True)
    return World(
        genes=tuple(genes),
        base=np.array([float(level) for level in levels]),
        programmes=read_yaml(HERE / "programmes.yaml"),
        layouts=read_yaml(HERE / "layouts.yaml"),
    )


def named_rng(*names: str) -> np.random.Generator:
    """A random generator seeded by names alone, for fixed properties of the simulation."""
    import numpy as np

    return np.random.default_rng(zlib.crc32("\x1f".join(names).encode()))


def by_tag(values: float | dict[str, float], tags: list[str]) -> float:
    """Value of the most specific listed tag; 0 if none is listed."""
    if not isinstance(values, dict):
        return float(values)
    for tag in reversed(tags):
        if tag in values:
            return float(values[tag])
    return 0.0


@functools.cache
def basal_profile(kind: str) -> np.ndarray:
    """Log2 CP10k of an unperturbed cell of a kind, without donor, disease or atlas."""
    import numpy as np

    world = load_world()
    tags = world.tags(kind)
    lift = np.zeros(len(world.genes))
    for tag in tags:
        if tag in world.programmes["lineages"]:
            lift = np.maximum(lift, world.module("lineages", tag))
    profile = world.base + lift
    for receptor, levels in world.programmes["receptors"].items():
        profile[world.position[receptor]] += RECEPTOR_SPAN * by_tag(levels, tags)
    return _frozen(profile + named_rng("kind", kind).normal(0, 0.25, len(world.genes)))


def activity(perturbation: str, kind: str) -> float:
    """Response capacity of a kind of cell, 0 to 1: the scarcest receptor of the best alternative set."""
    world = load_world()
    tags = world.tags(kind)
    receptors = world.programmes["receptors"]
    ways = find(perturbation, world.programmes["perturbations"], "perturbation")["via"]
    return max(min(by_tag(receptors[receptor], tags) for receptor in way) for way in ways)


@functools.cache
def perturbation_effect(perturbation: str, kind: str) -> np.ndarray:
    """Log2 fold change of every gene in a cell of a kind with average responsiveness."""
    entry = find(perturbation, load_world().programmes["perturbations"], "perturbation")
    return _frozen(activity(perturbation, kind) * _effect(entry["modules"], kind, perturbation))


@functools.cache
def disease_effect(disease: str, kind: str) -> np.ndarray:
    """Log2 fold change of every gene in a cell of a kind under a disease of severity 1."""
    return _frozen(_effect(find(disease, load_world().programmes["diseases"], "disease"), kind, disease))


def donor_effect(donor: str, kind: str, sex: str) -> np.ndarray:
    """Log2 offset of every gene for a donor: mostly shared by all kinds of cells, and the genes of the sex."""
    world = load_world()
    n = len(world.genes)
    shared = named_rng("donor", donor).normal(0, DONOR_SPREAD, n)
    own = named_rng("donor", donor, kind).normal(0, DONOR_KIND_SPREAD, n)
    effect = shared + own
    for gene in FEMALE_GENES if sex == "female" else MALE_GENES:
        effect[world.position[gene]] += 7.0
    return effect


def donor_response(donor: str, perturbation: str) -> float:
    """Response factor of a donor."""
    return float(named_rng("responds", donor, perturbation).uniform(0.85, 1.15))


def atlas_effect(atlas: str) -> np.ndarray:
    """Log2 offset of every gene due to the laboratory of an atlas."""
    return named_rng("atlas", atlas).normal(0, ATLAS_SPREAD, len(load_world().genes))


@functools.cache
def accessibility(kind: str) -> np.ndarray:
    """Response factor of every gene in a kind of cell, for any cause; 0 if it cannot respond.

    Kinds of one branch of the lineage tree share most of it, so related cells respond alike.
    """
    import numpy as np

    n = len(load_world().genes)
    openness = np.ones(n)
    tags = load_world().tags(kind)
    branch = next(tag for tag in tags if tag in BRANCHES)
    twig = [*tags, tags[-1]][tags.index(branch) + 1]
    for tag, closed in zip((branch, twig), CLOSED, strict=True):
        rng = named_rng("open", tag)
        openness *= rng.lognormal(0, OPEN_SPREAD, n) * (rng.random(n) >= closed)
    return _frozen(openness)


def _effect(modules: dict[str, Any], kind: str, name: str) -> np.ndarray:
    import numpy as np

    world = load_world()
    tags = world.tags(kind)
    total = np.zeros(len(world.genes))
    openness = accessibility(kind)
    for module, factors in modules.items():
        factor = by_tag(factors, tags)
        if factor:
            core = world.core(module)
            total += factor * world.module("modules", module) * np.where(core, np.maximum(openness, 0.7), openness)
    return total * np.exp(named_rng("response", name, kind).normal(0, KIND_SPREAD, len(world.genes)))


def _frozen(values: np.ndarray) -> np.ndarray:
    """The array made read-only, because caches return the same object."""
    values.flags.writeable = False
    return values


def find(name: str, known: dict[str, Any], what: str) -> Any:
    """`known[name]`, or an error that suggests the nearest."""
    if name not in known:
        raise AtlasError(f"the simulation has no {what} '{name}'.{suggest(name, known)}")
    return known[name]
