"""Ports for servers that are told where to listen."""

import random
import socket
from pathlib import Path

TAKEN_BY_CLIENTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A free port of loopback that no outgoing connection is given before the server listens on it."""
    lowest = int(TAKEN_BY_CLIENTS.read_text().split()[0]) if TAKEN_BY_CLIENTS.exists() else 32768
    for port in random.SystemRandom().sample(range(10_000, max(lowest, 20_000)), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError("no free port")
