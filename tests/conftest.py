"""A copy of the pipeline's folder in which the real Snakemake runs, on small simulated atlases."""

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import pytest
import yaml

# No example is timed (machines are shared), and the same examples run every time: a red run can be repeated.
hypothesis.settings.register_profile("haystack", deadline=None, derandomize=True)
hypothesis.settings.load_profile("haystack")

REPOSITORY = Path(__file__).parents[1]


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Libraries and collected tests stay to the end: no garbage collection walks through their million objects."""
    gc.disable()
    result = yield
    gc.freeze()
    gc.enable()
    return result


def pytest_collection_modifyitems(config, items):
    """Nightly suites run where `-m` or a test's own name asks for them.

    Modules marked `in_order` tell one story (a coordinator is killed, then continued): they are not shuffled within.
    """
    if "nightly" not in config.option.markexpr and not any("::" in argument for argument in config.args):
        nightly = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=nightly)
        items[:] = [item for item in items if item not in nightly]
    modules: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        if item.get_closest_marker("in_order"):
            modules.setdefault(str(item.path), []).append(place)
    for places in modules.values():
        told = sorted((items[place] for place in places), key=lambda item: item.function.__code__.co_firstlineno)
        for place, item in zip(places, told, strict=True):
            items[place] = item


QUESTIONS = {
    "monocytes_ifng": "Predict the effect of IFN-gamma on CD14+ monocytes",
    "nk_ibrutinib": "What genes would be differentially expressed if I treated NK cells with ibrutinib?",
}
SMALL = {
    "max_iterations": 2,
    "prompts_per_iteration": 2,
    "score_threshold": 10,
    "prompting": {"prompt_cells": 40, "query_cells": 60},
    "grounding": {"permutations": 50},
    "demo": {"cells_per_set": 20},
}
ADDITIVE = {"model": {"kind": "additive", "name": "additive", "path": None}}
"""the cheapest model that moves genes: what these tests are about is the workflow"""


class Pipeline:
    """The folder, its settings, and Snakemake in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("workflow", "config", "profiles", "resources"):
            shutil.copytree(REPOSITORY / name, folder / name)
        self.configfile = "test.yaml"
        self.settings: dict = {}
        self.set(**SMALL, **ADDITIVE)
        self.ask(monocytes_ifng=QUESTIONS["monocytes_ifng"])

    def set(self, **settings) -> None:
        """Lay settings over those of the test so far."""
        self.settings.update(settings)
        (self.folder / "test.yaml").write_text(yaml.safe_dump(self.settings))

    def ask(self, **questions: str) -> None:
        """Replace the table of runs."""
        lines = ["run_id\tquery", *(f"{run_id}\t{question}" for run_id, question in questions.items())]
        (self.folder / "config/runs.tsv").write_text("\n".join(lines) + "\n")

    def command(self, *arguments: str) -> list[str]:
        return [
            *(sys.executable, "-m", "snakemake"),
            *arguments,  # before --configfile, which would take targets for further files
            *("--profile", "profiles/local", "--configfile", self.configfile),
        ]

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start Snakemake in a process group of its own."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, ok: bool = True) -> str:
        """Run Snakemake to its end; what it printed."""
        with self.start(*arguments) as process:
            output, _ = process.communicate(timeout=1800)
        assert (process.returncode == 0) is ok, output
        return output

    def path(self, name: str) -> Path:
        return self.folder / name


def environment() -> dict[str, str]:
    """Two threads at most, whatever runs beside; no colours."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "PYTHONHASHSEED": "random"}


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real cells; tests that need them are skipped where they are absent."""
    folder = Path(os.environ.get("HAYSTACK_DATA", REPOSITORY / "../shared/data")).resolve()
    if not (folder / "kang_ifnb.h5ad").exists():
        pytest.skip(f"no real cells in {folder} (set HAYSTACK_DATA)")
    return folder


@pytest.fixture(scope="session")
def make_pipeline() -> Callable[[Path], Pipeline]:
    """For fixtures that keep a folder over several tests."""
    return lambda folder: Pipeline(folder / "pipeline")


@pytest.fixture
def pipeline(tmp_path) -> Pipeline:
    """A fresh folder."""
    return Pipeline(tmp_path / "pipeline")


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Pipeline:
    """A folder whose one run has finished. Tests copy it before they change anything."""
    pipeline = Pipeline(tmp_path_factory.mktemp("finished") / "pipeline")
    pipeline.first_output = pipeline.run()
    return pipeline


@pytest.fixture
def copy(finished, tmp_path) -> Pipeline:
    """A copy of the finished folder, with Snakemake's records and all times."""
    folder = tmp_path / "pipeline"
    shutil.copytree(finished.folder, folder, symlinks=True)
    pipeline = Pipeline.__new__(Pipeline)
    pipeline.folder = folder
    pipeline.configfile = finished.configfile
    pipeline.settings = dict(finished.settings)
    return pipeline


TOY_MODEL = """
from haystack.specs import ModelSpec, Work

def predict(request):
    from haystack.inference.prediction import predict_each, predicted

    def twice(query, prompt, control, rng):
        counts = 2 * query.toarray()
        return predicted(counts, counts)

    return predict_each(twice, request)

SPEC = ModelSpec(
    name="doubling",
    title="the doubling model",
    description="twice the counts",
    predict=predict,
    licences=("The doubling model: for use on Sundays only.",),
    citation=Work("Two B. On doubling. Journal of Twos (2022).", "10.1234/two"),
)
"""
TOY_COMPONENT = """
from haystack.contracts import Component
from haystack.specs import ComponentSpec

def evaluate(case):
    return Component(evaluated=True, score=9.0 if case.null is None else 1.0, value=float(case.perturbed.n_obs))

SPEC = ComponentSpec(
    name="head_count",
    title="Head count",
    question="are there many cells?",
    tasks=("perturbation", "observation"),
    weight=1.0,
    evaluate=evaluate,
    needs="cells",
    value="number of cells",
    chance="none",
    p_value="none",
)
"""


TOY_STRATEGY = """
from haystack.specs import StrategySpec

def propose(question):
    import numpy as np

    from haystack.retrieval.question import Proposals

    largest = question.index.n_cells / question.index.n_cells.max()
    return Proposals.where(largest, question.pool, lambda row: "has many cells")

SPEC = StrategySpec(
    name="largest",
    title="the largest sets",
    description="sets with many cells, whatever they are",
    propose=propose,
    tasks=("perturbation",),
)
"""


def install_plug_in(folder: Path, kind: str, name: str, module: str, source: str) -> Path:
    """Install a distribution with one module as pip would (its file, its entry point); the folder for the path."""
    place = folder / module
    information = place / f"{module}-1.0.dist-info"
    information.mkdir(parents=True)
    (place / f"{module}.py").write_text(source)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[haystack.{kind}]\n{name} = {module}:SPEC\n")
    return place


@pytest.fixture(scope="session")
def toys() -> SimpleNamespace:
    """Plug-ins of one file each, and what installs them."""
    return SimpleNamespace(model=TOY_MODEL, component=TOY_COMPONENT, strategy=TOY_STRATEGY, install=install_plug_in)
