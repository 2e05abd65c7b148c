"""Cell Ontology, UBERON, MONDO and ChEBI: resolve labels, walk neighbours.

Everything loads on first use, so importing this package is cheap.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
