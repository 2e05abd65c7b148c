"""Names that Batch accepts, from run ids."""

from __future__ import annotations

import hashlib
import re

RUN_LABEL = "haystack-run-id"
COMPONENT_LABEL = "haystack-component"
ORCHESTRATOR = "orchestrator"
JOB_PREFIX = "haystack-orchestrator-"
JOB_LENGTH = 63
"""Batch: lower-case letters, digits and hyphens, a letter first, no hyphen last, 63 at most"""


def job_id(run_id: str) -> str:
    """`haystack-orchestrator-` + the run id with `_` as `-`.

    A run id with capitals, with a hyphen at its end, or too long for Batch gets a hash instead of what Batch refuses.
    """
    return _fitting(JOB_PREFIX + run_id.replace("_", "-"), run_id, JOB_LENGTH)


def label_value(run_id: str) -> str:
    """The run id as value of a label: lower-case letters, digits, `_` and `-`, 63 at most."""
    return _fitting(run_id, run_id, 63)


def _fitting(name: str, source: str, length: int) -> str:
    plain = re.sub(r"[^a-z0-9_-]", "-", name.lower())
    if plain == name and len(name) <= length and not name.endswith("-"):
        return name
    digest = hashlib.sha256(source.encode()).hexdigest()[:8]
    return f"{plain[: length - 9].rstrip('-')}-{digest}"
