"""The loop: ground an iteration and pick its best prompt, refine the next one, decide whether to go on."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
