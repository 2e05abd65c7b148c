"""Cell Ontology, UBERON, MONDO and ChEBI: resolve labels, walk neighbours.

Everything here loads on first use; importing the package costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
