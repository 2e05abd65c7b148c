"""The simulated atlases of the demo and their truth.

Only the demo rule, benchmarks and tests may import this package: whatever judges predictions must not know the
truth (`tests/unit/demo/test_secrecy.py` holds the others to it). Every number made here is a simulation.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
