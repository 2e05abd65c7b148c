"""Snakemake's records in the bucket: saved as they change, taken up by a coordinator with an empty disk."""

import json

import pytest

from haystack.gcp import records as records_module
from haystack.gcp import storage
from haystack.gcp.records import Records, take_up_records
from haystack.internals import record_name, recorded_output

PREFIX = "gs://results/lab"
LONG = f"{PREFIX}/results/runs/{'a' * 300}/query.json"


@pytest.fixture(autouse=True)
def bucket(storage_emulator):
    storage.client().create_bucket("results")


def write(folder, kind, output, **values):
    path = folder / kind / record_name(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))
    return path


def saved():
    return storage.list_objects(f"{PREFIX}/.haystack/records/")


def test_an_empty_disk_gets_what_was_saved(tmp_path):
    first = Records(tmp_path / "first", PREFIX)
    write(first.folder, "metadata", f"{PREFIX}/results/a.json", params=["1"])
    write(first.folder, "metadata", LONG, params=["2"])
    assert first.save() == 2
    second = Records(tmp_path / "second", PREFIX)
    second.restore()
    for path in first.folder.rglob("*"):
        if path.is_file():
            assert (second.folder / path.relative_to(first.folder)).read_text() == path.read_text()
    assert second.save() == 0, "what was restored is not saved again"


def test_only_changes_are_saved_and_removals_too(tmp_path):
    records = Records(tmp_path / "first", PREFIX)
    under_way = write(
        records.folder,
        "incomplete",
        f"{PREFIX}/results/a.json",
        external_jobid="projects/x",
    )
    records.save()
    assert records.save() == 0
    under_way.unlink()
    write(records.folder, "metadata", f"{PREFIX}/results/a.json", params=["1"])
    assert records.save() == 2
    assert len(saved()) == 2
    known = Records(tmp_path / "second", PREFIX).restore()
    assert [path.split("/")[0] for path in known] == ["metadata"]


def test_half_written_records_wait(tmp_path):
    records = Records(tmp_path, PREFIX)
    path = write(records.folder, "metadata", f"{PREFIX}/results/a.json", params=["1"])
    whole = path.read_text()
    path.write_text(whole[:-3])
    assert records.save() == 0
    path.write_text(whole)
    assert records.save() == 1


def test_records_of_other_places_stay_here(tmp_path):
    records = Records(tmp_path, PREFIX)
    write(records.folder, "metadata", "results/local.json", params=["1"])
    assert records.save() == 0
    records.restore()
    assert len(list((records.folder / "metadata").iterdir())) == 1


def test_the_bucket_wins_over_an_older_disk(tmp_path):
    mine, other = (
        Records(tmp_path / "mine", PREFIX),
        Records(tmp_path / "other", PREFIX),
    )
    path = write(mine.folder, "metadata", f"{PREFIX}/results/a.json", params=["old"])
    mine.save()
    other.restore()
    write(other.folder, "metadata", f"{PREFIX}/results/a.json", params=["new"])
    other.save()
    mine.restore()
    assert json.loads(path.read_text()) == {"params": ["new"]}


def test_many_objects_become_one_without_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(records_module, "MANY", 3)
    records = Records(tmp_path / "first", PREFIX)
    for number in range(5):
        write(
            records.folder,
            "metadata",
            f"{PREFIX}/results/{number}.json",
            params=[str(number)],
        )
        records.save()
    late = Records(tmp_path / "late", PREFIX)
    known = late.restore()
    assert len(saved()) == 1
    write(records.folder, "metadata", f"{PREFIX}/results/0.json", params=["later"])
    records.save()
    again = Records(tmp_path / "again", PREFIX).restore()
    assert again.keys() == known.keys()
    assert sum("later" in text for text in again.values()) == 1


def test_results_without_a_record_are_made_again(tmp_path):
    storage.write_bytes(f"{PREFIX}/results/runs/r1/query.json", b"{}")
    storage.write_bytes(f"{PREFIX}/results/index/cell_sets.parquet", b"x")
    records = Records(tmp_path / "first", PREFIX)
    assert records.distrust_unrecorded(records.restore()) == [], "results that a person copied there are trusted"
    write(
        records.folder,
        "metadata",
        f"{PREFIX}/results/index/cell_sets.parquet",
        params=[],
    )
    records.save()
    fresh = Records(tmp_path / "second", PREFIX)
    assert fresh.distrust_unrecorded(fresh.restore()) == [f"{PREFIX}/results/runs/r1/query.json"]
    (marked,) = (path for path in (fresh.folder / "incomplete").rglob("*") if path.is_file())
    assert recorded_output(marked.relative_to(fresh.folder).as_posix()) == f"{PREFIX}/results/runs/r1/query.json"


def test_jobs_of_own_runs_that_were_left_behind_are_stopped(tmp_path, batch_service, monkeypatch):
    from google.cloud import batch_v1

    monkeypatch.setattr(batch_v1, "BatchServiceClient", batch_service.client)
    monkeypatch.setattr(Records, "keep", lambda self: None)
    batch_service.execute = False
    task = batch_v1.TaskSpec(runnables=[batch_v1.Runnable(script=batch_v1.Runnable.Script(text="true"))])
    names = {}
    for run_id in ("mine", "theirs"):
        job = batch_v1.Job(task_groups=[batch_v1.TaskGroup(task_spec=task)])
        parent = "projects/test-project/locations/us-central1"
        names[run_id] = batch_service.client().create_job(parent=parent, job_id=run_id, job=job).name
    records = Records(tmp_path / "first", PREFIX)
    for run_id, name in names.items():
        output = f"{PREFIX}/results/runs/{run_id}/iter_1/predictions.h5ad"
        write(records.folder, "incomplete", output, external_jobid=name)
    records.save()
    take_up_records(tmp_path / "second", PREFIX, ["mine"])
    assert batch_service.deleted == [names["mine"]]
    take_up_records(tmp_path / "third", PREFIX, ["mine"])  # gone already: no error
