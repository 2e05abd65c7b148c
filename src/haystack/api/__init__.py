"""The web service: a thin layer over `haystack.runs`, and its page. It computes no science. Loads on first use.

`uvicorn haystack.api:app --no-proxy-headers` serves it as `haystack serve` does, but for the limits of connections.
"""

from typing import Any

import lazy_loader

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    """`app`: with the settings of the environment, opened when a server asks for it."""
    if name == "app":
        from haystack.api.application import create_app
        from haystack.runs.settings import load_service_settings

        return create_app(load_service_settings())
    return _load(name)
