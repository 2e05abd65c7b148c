"""The loop: score an iteration and pick its best prompt, refine the next one, decide whether to continue."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
