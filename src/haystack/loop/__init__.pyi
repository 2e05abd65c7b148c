from .decision import MARKER as MARKER
from .decision import decide as decide
from .decision import write_decision as write_decision
from .iteration import ground_predictions as ground_predictions
from .refinement import refine as refine
