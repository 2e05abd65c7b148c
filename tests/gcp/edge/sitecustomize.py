"""Leads Google's clients of a child process to the stand-ins; on the PYTHONPATH of tests only.

Only the connection is replaced: clients are given a channel to the stand-in where they would open one to
*.googleapis.com. Everything above it is the real code. Storage needs nothing here: it reads STORAGE_EMULATOR_HOST.
"""

import importlib.abc
import importlib.machinery
import os
import sys

ADDRESS = os.environ.get("STAND_IN_BATCH")
HTTP = os.environ.get("STAND_IN_HTTP")
CLIENTS = {
    "google.cloud.batch_v1.services.batch_service.client": ("BatchServiceClient", "BatchServiceGrpcTransport"),
    "google.cloud.logging_v2.services.logging_service_v2.client": (
        "LoggingServiceV2Client",
        "LoggingServiceV2GrpcTransport",
    ),
}


class _Redirect(importlib.abc.MetaPathFinder):
    """Finds nothing itself; changes how two modules are executed."""

    def find_spec(self, name, path, target=None):
        if name in CLIENTS:
            change = lambda module: _connect(module, *CLIENTS[name])  # noqa: E731
        elif name == "google.auth.transport.requests" and HTTP:
            change = _send_plainly
        else:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        execute = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (execute(module), change(module))
        return spec


def _connect(module, client_name, transport_name):
    client = getattr(module, client_name)
    transport = getattr(module, transport_name)
    original = client.__init__

    def connected(self, *, credentials=None, transport=None, client_options=None, client_info=None):
        import grpc

        own = transport or transport_class(channel=grpc.insecure_channel(ADDRESS))
        original(self, transport=own)

    transport_class = transport
    client.__init__ = connected


def _send_plainly(module):
    """Requests with a login go to the stand-in without one: https://HOST/PATH becomes {HTTP}/HOST/PATH."""

    def request(self, method, url, **options):
        import requests

        return requests.request(method, url.replace("https://", f"{HTTP}/"), **options)

    module.AuthorizedSession.request = request


if ADDRESS:
    sys.meta_path.insert(0, _Redirect())
