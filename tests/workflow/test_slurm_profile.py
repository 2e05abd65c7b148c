"""profiles/slurm: a dry run of the whole pipeline, and what the executor plugin makes of the profile's resources."""

from types import SimpleNamespace

import pytest
import yaml

submit_string = pytest.importorskip(
    "snakemake_executor_plugin_slurm.submit_string",
    reason="needs the extra slurm: pip install -e '.[slurm]'",
)


@pytest.fixture(scope="module")
def pipeline(make_pipeline, tmp_path_factory):
    return make_pipeline(tmp_path_factory.mktemp("slurm"))


@pytest.fixture(scope="module")
def profile(pipeline) -> dict:
    return yaml.safe_load(pipeline.path("profiles/slurm/config.yaml").read_text())


@pytest.mark.slow
def test_a_dry_run_plans_every_stage(pipeline):
    command = [part if part != "profiles/local" else "profiles/slurm" for part in pipeline.command("-n")]
    assert "profiles/slurm" in command
    pipeline.command = lambda *arguments: command
    output = pipeline.run()
    assert "This was a dry-run" in output
    for rule in (
        "harmonize_atlas",
        "stack_inference",
        "ground_predictions",
        "render_report",
        "summarize_runs",
    ):
        assert f"{rule} " in output


def sbatch(profile: dict, rule: str, attempt: int = 1, size_mb: float = 0.4) -> str:
    """The plugin's own command for a try of a job of the rule with inputs of this size."""
    from snakemake_executor_plugin_slurm.utils import set_gres_string

    class Resources(SimpleNamespace):
        def get(self, name, default=None):
            return getattr(self, name, default)

    given = {**profile["default-resources"], **profile["set-resources"].get(rule, {})}
    names = {"attempt": attempt, "input": SimpleNamespace(size_mb=size_mb)}  # as Snakemake evaluates them
    given |= {name: eval(given[name], names) for name in ("mem_mb", "runtime")}
    job = SimpleNamespace(
        resources=Resources(**given),
        threads=2,
        is_group=lambda: False,
        rule=SimpleNamespace(name=rule),
    )
    partition = f"-p {given['slurm_partition']}" if "slurm_partition" in given else ""
    params = {
        "run_uuid": "u",
        "slurm_logfile": "log",
        "comment_str": "c",
        "account": "",
        "partition": partition,
    }
    return submit_string.get_submit_command(job, {**params, "workdir": "."}) + set_gres_string(job)


def test_a_model_runs_on_one_gpu_of_the_gpu_partition(profile):
    command = sbatch(profile, "stack_inference")
    for part in ("-p gpu", "--gres=gpu:1", "--mem 4000", "-t 60"):
        assert part in command
    large = sbatch(profile, "stack_inference", size_mb=900)
    assert "--mem 6700" in large
    assert "-t 150" in large
    assert "--mem 8000" in sbatch(profile, "stack_inference", attempt=2)


@pytest.mark.parametrize(("size_mb", "memory", "minutes"), [(0, 2000, 30), (500, 4000, 35), (60_000, 8000, 630)])
def test_memory_and_time_grow_with_the_inputs(profile, size_mb, memory, minutes):
    command = sbatch(profile, "harmonize_atlas", size_mb=size_mb)
    assert f"--mem {memory} " in f"{command} "
    assert f"-t {minutes} " in f"{command} "


@pytest.mark.parametrize(
    "rule",
    ["harmonize_atlas", "train_model", "enrich_predictions", "ground_predictions", "render_report"],
)
def test_no_other_stage_takes_a_gpu(profile, rule):
    command = sbatch(profile, rule)
    assert "gpu" not in command
    assert "--mem" in command
