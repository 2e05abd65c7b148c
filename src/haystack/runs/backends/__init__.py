"""What starts runs: child processes of this machine, or coordinator jobs on Google Batch."""

from haystack.runs.backends.base import Backend, BackendError, Observation

__all__ = ["Backend", "BackendError", "Observation"]
