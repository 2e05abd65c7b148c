"""A pipeline that costs nothing: Snakemake is replaced by this file, run as a script in a run's folder.

What it does stands in `behaviour.json` of the pipeline's folder, by run_id or `*`: seconds, fail, hang, and so on.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__)


def main() -> int:
    folder = Path.cwd()
    pipeline = (folder / "workflow").resolve().parent
    behaviour = json.loads((pipeline / "behaviour.json").read_text())
    if folder.name == "shared":
        _tell(pipeline / "prepared.log", "prepared")
        return int(behaviour.get("prepare_code", 0))
    run_id = folder.name
    does = {**behaviour.get("*", {}), **behaviour.get(run_id, {})}
    _tell(pipeline / "started.log", f"{run_id} start {time.monotonic()} {os.getpid()}")
    (folder / "environment.json").write_text(json.dumps(dict(os.environ)))
    _event(event="run_started", run_id=run_id)
    _event(event="stage_started", run_id=run_id, stage="stack_inference", iteration=1)
    if does.get("stubborn"):
        # A child in a process group of its own that does not listen to SIGTERM, as a job of Snakemake's might be.
        code = (
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, preexec_fn=lambda: os.setpgid(0, 0), text=True
        )
        child.stdout.readline()
        (folder / "child.pid").write_text(str(child.pid))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _wait(pipeline, run_id, does)
    if does.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    results = folder / "results" / "runs" / run_id
    (results / "iter_1").mkdir(parents=True, exist_ok=True)
    if does.get("fail"):
        print(does["fail"], flush=True)
        if does.get("failure"):
            (results / "failure.json").write_text(json.dumps({"run_id": run_id, **does["failure"]}))
        _event(event="run_failed", run_id=run_id, stage="stack_inference", iteration=1, message="no")
        return 1
    _event(event="iteration_scored", run_id=run_id, stage="decide", iteration=1, score=8.2, threshold=7)
    log = (pipeline / "run_log.json").read_text().replace("RUN_ID", run_id)
    (results / f"{run_id}_log.json").write_text(log)
    for name in ("report.html", "predictions.h5ad", "de.csv"):
        (results / f"{run_id}_{name}").write_text(name)
    header = (
        "prompt_id,iteration,is_best_prompt,method,library,term,direction,statistic,pval,padj,n_overlap,n_set,genes\n"
    )
    rows = "p1,1,True,ulm,r,STAT1,up,5.5,0.001,0.002,3,9,A\np1,1,True,ulm,r,MYC,down,-1,0.5,0.5,3,9,A\n"
    (results / f"{run_id}_enrichment.csv").write_text(header + rows)
    _event(event="run_finished", run_id=run_id, reason="threshold_reached", score=8.2)
    _tell(pipeline / "started.log", f"{run_id} end {time.monotonic()} {os.getpid()}")
    return 0


def _wait(pipeline: Path, run_id: str, does: dict) -> None:
    """Seconds, or until the test lets it go on (file `go`)."""
    time.sleep(does.get("seconds", 0))
    while does.get("hang") and not (pipeline / "go").exists():
        time.sleep(0.02)


def _event(**fields) -> None:
    _tell(Path(os.environ["HAYSTACK_EVENTS"]), json.dumps({"time": "2026-01-01T00:00:00+00:00", **fields}))


def _tell(path: Path, line: str) -> None:
    with path.open("ab", buffering=0) as handle:
        handle.write(line.encode() + b"\n")


def make_pipeline(folder: Path, **behaviour) -> Path:
    """A pipeline's folder for the stub."""
    (folder / "workflow").mkdir(parents=True)
    (folder / "workflow" / "Snakefile").write_text("# replaced by the stub\n")
    (folder / "config").mkdir()
    (folder / "config" / "atlases.yaml").write_text(
        "demo:\n  path: results/demo/a.h5ad\n  simulated: true\n  obs: {cell_type: cell_type}\n"
    )
    (folder / "config" / "config.yaml").write_text("max_iterations: 4\n")
    (folder / "run_log.json").write_text(run_log())
    behave(folder, **behaviour)
    return folder


def behave(folder: Path, **behaviour) -> None:
    """Say what the stub does from now on."""
    temporary = folder / ".behaviour.json"
    temporary.write_text(json.dumps(behaviour))
    temporary.replace(folder / "behaviour.json")


def run_log() -> str:
    """A run log that holds its contract."""
    from haystack.contracts.accuracy import ExpectedAccuracy
    from haystack.contracts.base import to_json
    from haystack.contracts.design import Finding
    from haystack.contracts.grounding import Decision, Grounding, IterationScore, PromptGrounding
    from haystack.contracts.query import StructuredQuery, TaskType
    from haystack.contracts.retrieval import Refinement
    from haystack.contracts.runlog import Answer, IterationLog, ModelLog, PathwayHit, RunLog, Timing

    refinement = Refinement(sentence="none")
    prompt = PromptGrounding(
        prompt_id="p1",
        components={},
        weights={},
        control_strategy="query_as_control",
        n_de=2,
        n_up=1,
        n_down=1,
        nulls={"no_change": 1.18, "permuted_labels": 2.345, "random_expectation": None},
    )
    accuracy = ExpectedAccuracy(r=0.62, low=0.45, high=0.74, n_contexts=7, n_donors=4, asked_is_measured=True)
    grounding = Grounding(
        run_id="RUN_ID",
        iteration=1,
        prompts=[prompt],
        best_prompt_id="p1",
        composite_value=8.2,
        refinement=refinement,
        accuracy=accuracy,
    )
    score = IterationScore(iteration=1, prompt_id="p1", composite_value=8.2)
    decision = Decision(
        run_id="RUN_ID",
        iteration=1,
        continue_=False,
        reason="threshold_reached",
        best_iteration=1,
        best_prompt_id="p1",
        scores=[score],
        refinement=None,
    )
    iteration = IterationLog(
        iteration=1,
        seed=0,
        n_candidates=0,
        candidate_counts={},
        refinement_applied=None,
        prompts=[],
        n_query_cells=0,
        query_cell_sets=[],
        query_cells_per_set={},
        grounding=grounding,
        decision=decision,
    )
    answer = Answer(
        best_iteration=1,
        best_prompt_id="p1",
        composite_value=8.2,
        confidence="medium",
        confidence_reasons=["expected r 0.62", "known response: supported"],
        capped_by="power",
        findings=[Finding(name="power", value=0.07, sentence="Power: 26 treated cells.", cap="medium")],
        percentile=99.5,
        n_tested=15012,
        effects={"GBP1": 2.5, "CCL4": -1.25},
        n_de=2,
        n_up=1,
        n_down=1,
        top_up=["GBP1"],
        top_down=["CCL4"],
        pathways=[PathwayHit(term="Interferon", library="h", direction="up", statistic=2.0, padj=0.01)],
    )
    log = RunLog(
        run_id="RUN_ID",
        simulated=True,
        query=StructuredQuery(raw_query="q", task_type=TaskType.PERTURBATION_NOVEL_CELL_TYPES),
        answer=answer,
        iterations=[iteration],
        settings={"seed": 5, "enrichment": {"padj": 0.05}, "de": {"log2fc": 0.5, "lfsr": 0.05}},
        seeds={},
        versions={},
        model=ModelLog(kind="stack", title="STACK"),
        atlases=[],
        inputs={},
        outputs={},
        licences=[],
        timing=Timing(written_at="2026-01-01T00:00:00Z", stages=[]),
    )
    return to_json(log)


def open_stub_service(settings):
    """The run service over local processes, with this file in Snakemake's place."""
    from haystack.runs.backends.local import LocalBackend
    from haystack.runs.service import RunService
    from haystack.runs.store import RunStore

    backend = LocalBackend(settings)
    backend.folders.command = lambda *arguments: [sys.executable, str(HERE), *arguments]
    return RunService(settings, RunStore.open(settings), backend)


def serve(count: int) -> None:
    """A service process of its own: submit from many threads at once, say what was recorded, look after runs."""
    from concurrent.futures import ThreadPoolExecutor

    from haystack.runs.models import RunRequest
    from haystack.runs.settings import load_service_settings

    service = open_stub_service(load_service_settings())
    service.start()

    def submit(number: int) -> None:
        run = service.submit("ada@example.org", RunRequest(query=f"How would B cells respond to drug {number}?"))
        print(run.run_id, flush=True)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(submit, range(count)))
    print("submitted", flush=True)
    sys.stdin.read()
    service.close()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        sys.exit(main())
