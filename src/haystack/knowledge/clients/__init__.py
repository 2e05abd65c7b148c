"""Clients of public databases: KEGG DRUG, Reactome, UniProt. Used only with `offline: false`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
