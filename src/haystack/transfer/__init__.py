"""Estimate a response from all cells that measured it, and how accurate that estimate will be.

Public names load their modules on first use, so importing this package costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
