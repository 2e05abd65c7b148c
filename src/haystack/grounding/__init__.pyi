from .de import differential_expression as differential_expression
from .ground import enrich_predictions as enrich_predictions
from .ground import ground_cells as ground_cells
from .ground import ground_predictions as ground_predictions
from .ground import load_evidence as load_evidence
from .refine import refine as refine
from .truth import validate_prediction as validate_prediction
