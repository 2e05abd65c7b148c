from .simulate import simulate_atlas as simulate_atlas
from .truth import departing as departing
from .truth import perturbations as perturbations
from .truth import simulate_truth as simulate_truth
from .truth import true_difference as true_difference
from .truth import true_response as true_response
