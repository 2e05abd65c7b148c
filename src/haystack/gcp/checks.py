"""What can be known to be wrong with Google Cloud before the first job is submitted."""

from __future__ import annotations

from typing import Any


def check_cloud(prefix: str, arguments: Any) -> None:
    """Placeholder."""
