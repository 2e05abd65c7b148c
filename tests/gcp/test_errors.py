"""What Google's libraries raise becomes one message with the command that fixes it; the guide says what code says."""

import re
import shlex
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.auth import exceptions as auth
from requests import exceptions as requests_exceptions

from haystack.cli import build_parser
from haystack.gcp import errors
from haystack.gcp.errors import explain

GUIDE = Path(__file__).parents[2] / "docs/gcp.md"


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (auth.DefaultCredentialsError("none found"), errors.CredentialsError, "gcloud auth application-default login"),
        (auth.RefreshError("expired"), errors.CredentialsError, "gcloud auth application-default login"),
        (exceptions.Unauthenticated("bad token"), errors.CredentialsError, "gcloud auth application-default login"),
        (exceptions.Unauthorized("Anonymous caller"), errors.CredentialsError, "gcloud auth application-default login"),
        (exceptions.NotFound("The specified bucket does not exist."), errors.BucketError, "buckets create gs://b"),
        (exceptions.NotFound("No such object: b/project/bucket"), errors.MissingObjectError, "no such object"),
        (
            exceptions.NotFound("Resource 'projects/p/locations/r/jobs/j' not found"),
            errors.MissingObjectError,
            "jobs/j",
        ),
        (exceptions.NotFound("Project p was not found"), errors.ProjectError, "gcloud projects list"),
        (
            exceptions.PermissionDenied("Permission denied on resource project p."),
            errors.ProjectError,
            "gcloud projects list",
        ),
        (
            exceptions.Forbidden("The billing account for the owning project is disabled"),
            errors.ProjectError,
            "gcloud billing projects link p",
        ),
        (
            exceptions.Forbidden("Compute Engine API has not been used in project 1 (compute.googleapis.com)"),
            errors.ProjectError,
            "gcloud services enable compute.googleapis.com --project p",
        ),
        (
            exceptions.Forbidden("me@lab.org does not have storage.objects.create access to gs://b"),
            errors.NotPermittedError,
            "gs://b --member user:me@lab.org --role roles/storage.objectUser",
        ),
        (
            exceptions.PermissionDenied("Permission 'iam.serviceAccounts.signBlob' denied on x"),
            errors.NotPermittedError,
            "--role roles/iam.serviceAccountTokenCreator",
        ),
        (exceptions.ResourceExhausted("GPUS_ALL_REGIONS exceeded"), errors.QuotaError, "iam-admin/quotas?project=p"),
        (exceptions.Forbidden("Quota exceeded for quota metric"), errors.QuotaError, "--project p"),
        (
            exceptions.InvalidArgument("image uri is invalid"),
            errors.ImageError,
            "docker images list r-docker.pkg.dev/p/h",
        ),
        (exceptions.PreconditionFailed("conditionNotMet"), errors.ConflictError, "someone else"),
        (exceptions.AlreadyExists("job j"), errors.ConflictError, "already exists"),
        (exceptions.ServiceUnavailable("try later"), errors.UnavailableError, "try later"),
        (auth.TransportError("no route"), errors.UnavailableError, "Check the network"),
        (requests_exceptions.ConnectionError("refused"), errors.UnavailableError, "Check the network"),
        (exceptions.InvalidArgument("something else"), errors.GcpError, "something else"),
    ],
)
def test_every_refusal_says_what_mends_it(raised, kind, words):
    found = explain(raised, "Doing it", project="p", bucket="b", image="r-docker.pkg.dev/p/h/i:t", region="us-east1")
    assert type(found) is kind
    assert words in str(found)
    assert str(found).startswith("Doing it: ")
    assert "\n" not in str(found)


def test_what_is_explained_already_stays_as_it_is():
    known = errors.QuotaError("too many")
    assert explain(known, "Doing it") is known


# -- the guide -------------------------------------------------------------------------------------------------------


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("haystack ")]


def test_every_command_of_the_guide_is_one():
    assert len(commands()) >= 4
    parser = build_parser()
    for line in commands():
        parser.parse_args(shlex.split(line, comments=True)[1:])


def test_every_setting_of_the_guide_is_one():
    from haystack.gcp.settings import GcpSettings

    text = GUIDE.read_text()
    example = re.search(r"```yaml\nproject: .*?```", text, re.DOTALL).group(0)
    table = text.split("| setting | default |")[1].split("\n\n")[0]
    named = re.findall(r"^(\w+):", example, re.MULTILINE)
    named += [word for row in table.splitlines()[2:] for word in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert {"prefix", "network", "runs_per_coordinator", "inference_image"} <= set(named)
    assert set(named) <= set(GcpSettings.model_fields)


def test_messages_name_chapters_that_the_guide_has():
    source = (GUIDE.parents[1] / "src/haystack/gcp").glob("*.py")
    named = {title for path in source for title in re.findall(r"docs/gcp\.md, '([^']+)'", path.read_text())}
    headings = {
        re.sub(r"^\d+\. ", "", line.lstrip("# ")) for line in GUIDE.read_text().splitlines() if line[:2] == "##"
    }
    assert named
    assert named <= headings


def test_the_table_of_costs_is_that_of_the_model():
    import subprocess
    import sys

    output = subprocess.check_output([sys.executable, GUIDE.parents[1] / "benchmarks/gcp_cost.py"], text=True)
    rows = [line for line in output.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) == 16
    assert set(rows) <= set(GUIDE.read_text().splitlines())
