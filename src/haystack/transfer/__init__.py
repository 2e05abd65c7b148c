"""Estimate a response from all cells in which it was measured, and the accuracy of that estimate.

Public names load their modules on first use, so importing this package is cheap.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
