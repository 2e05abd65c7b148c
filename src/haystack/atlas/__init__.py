"""Atlases: check them, harmonise their labels, index their cell sets, read their rows."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
