from .collect import collect_outputs as collect_outputs
from .page import render_report as render_report
from .page import report_failures as report_failures
from .reproduce import compare_logs as compare_logs
from .summary import summarize_runs as summarize_runs
