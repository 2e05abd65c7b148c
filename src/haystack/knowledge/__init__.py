"""Prior knowledge of perturbations, cell types and gene programmes: tracked tables, clients of public databases."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
