from .de import differential_expression as differential_expression
from .ground import enrich_predictions as enrich_predictions
from .ground import ground_cells as ground_cells
from .ground import ground_prompts as ground_prompts
from .ground import load_evidence as load_evidence
from .truth import validate_prediction as validate_prediction
