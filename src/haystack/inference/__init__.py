"""Load STACK, generate cells from prompts, train small models.

Nothing heavy is imported until a function is called.
"""

import os

import lazy_loader

# Read when torch is first loaded. Threads that spin while they wait for each other lose minutes on a machine that is
# shared (seen: 100 training steps in 9 minutes instead of 20 seconds); threads that sleep lose nothing else.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
