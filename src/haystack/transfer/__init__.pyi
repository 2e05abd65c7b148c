from .contexts import Context as Context
from .contexts import find_contexts as find_contexts
from .measure import measure_cells as measure_cells
from .measure import measure_contexts as measure_contexts
from .measure import perturbations_of as perturbations_of
from .pseudobulk import Pseudobulk as Pseudobulk
from .pseudobulk import pseudobulk as pseudobulk
