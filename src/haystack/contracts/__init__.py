"""Every file that crosses a rule has one definition here, checked when written and when read. Loads on first use."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
