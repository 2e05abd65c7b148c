from .enrich import Databases as Databases
from .enrich import enrich_perturbation as enrich_perturbation
