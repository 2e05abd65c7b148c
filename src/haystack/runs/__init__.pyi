from .table import Run as Run
from .table import read_runs as read_runs
from .table import run_identifier as run_identifier
