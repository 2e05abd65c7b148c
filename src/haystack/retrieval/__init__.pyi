from .find import find_candidates as find_candidates
from .find import retrieve_cells as retrieve_cells
from .registry import strategies_for as strategies_for
