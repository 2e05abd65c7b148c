"""The runs: the table of questions, and the service that keeps, starts and watches them. Loads on first use."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
