from .importing import import_checkpoint as import_checkpoint
from .predict import run_inference as run_inference
from .stack import generate as generate
from .store import Model as Model
from .store import load_model as load_model
from .store import model_genes as model_genes
from .store import save_model as save_model
from .training import train_model as train_model
