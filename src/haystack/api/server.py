"""Run the service: one process with one event loop, which is enough (benchmarks/service.py)."""

from __future__ import annotations

import gc
import socket

from haystack.errors import ConfigError
from haystack.runs.settings import ServiceSettings


def serve(settings: ServiceSettings) -> None:
    """Listen until told to stop (SIGTERM, SIGINT); runs under way go on, and are found again at the next start.

    Raises
    ------
    ConfigError
        when the address is taken, or `create_app` refuses.
    """
    import uvicorn

    from haystack.api.application import create_app
    from haystack.api.connections import Connection

    app = create_app(settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            raise ConfigError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from None
        # Taken at once: the service is restarted often enough for a queue of clients to be waiting.
        listener.listen(2048)
        host, port = listener.getsockname()[:2]
        app.state.address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        print(f"HAYSTACK: {app.state.address}", flush=True)
        config = uvicorn.Config(
            app,
            http=Connection,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # who holds the connection counts, not what it says of itself
            timeout_keep_alive=75,
            timeout_graceful_shutdown=10,  # seconds for downloads that are under way
            lifespan="on",
        )
        # What is there now stays: walking through it at every full collection would stop all requests for 0.1 s.
        gc.collect()
        gc.freeze()
        uvicorn.Server(config).run(sockets=[listener])
