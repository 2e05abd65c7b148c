"""What people take home: report, AnnData, log, tables, and the summary of many runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from haystack.report.collect import collect_outputs
    from haystack.report.page import render_report, report_failures
    from haystack.report.reproduce import compare_logs
    from haystack.report.summary import summarize_runs

__all__ = ["collect_outputs", "compare_logs", "render_report", "report_failures", "summarize_runs"]

_MODULES = {
    "collect_outputs": "collect",
    "compare_logs": "reproduce",
    "render_report": "page",
    "report_failures": "page",
    "summarize_runs": "summary",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
