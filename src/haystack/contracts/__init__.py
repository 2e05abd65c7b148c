"""Definitions of all files that pass between rules, checked on writing and reading. Loads on first use."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
