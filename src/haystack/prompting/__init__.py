"""Choose prompt cells, their paired control cells and the query cells, and write them as one file for the model."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
