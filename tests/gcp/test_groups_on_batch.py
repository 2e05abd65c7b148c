"""Inference of several runs in one Batch job: one start of a GPU machine for all of them."""

import pytest
from cloud import Coordinator, whole_cloud

pytestmark = pytest.mark.slow

QUESTIONS = {
    "one": "Predict the effect of IFN-gamma on CD14+ monocytes",
    "two": "How would B cells respond to IL-4?",
}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory, storage_host):
    with whole_cloud(tmp_path_factory.mktemp("groups"), storage_host) as cloud:
        yield cloud


def test_two_runs_share_a_gpu_machine(cloud):
    coordinator = Coordinator(cloud, "grouped", **QUESTIONS)
    profile = coordinator.folder / "profiles/gcp/config.yaml"
    text = profile.read_text()
    for line in (
        "    grouped: 1",
        "groups: [stack_inference=inference]",
        "group-components: [inference=8]",
        "resources: [grouped=1]",
        "set-resource-scopes: [grouped=local]",
    ):
        commented = f"{line[: len(line) - len(line.lstrip())]}# {line.lstrip()}"
        assert commented in text
        text = text.replace(commented, line)
    profile.write_text(text)
    output = coordinator.run()
    jobs = cloud.jobs()
    assert len(jobs) == 1, output
    policy = jobs[0].job.allocation_policy.instances[0].policy
    assert policy.machine_type == "a2-highgpu-1g"
    assert [(item.type_, item.count) for item in policy.accelerators] == [("nvidia-tesla-a100", 1)]
    task = jobs[0].job.task_groups[0].task_spec
    assert (task.compute_resource.cpu_milli, task.compute_resource.memory_mib) == (11000, 80000)
    assert (task.max_retry_count, policy.boot_disk.size_gb) == (3, 100)
    reports = [name for name in cloud.objects() if name.endswith("_report.html")]
    assert len(reports) == 2
