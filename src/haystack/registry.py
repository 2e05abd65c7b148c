"""Kinds of models, score components, ...: found in the package's own modules and among installed plug-ins, by name."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, Protocol, TypeVar

from haystack.errors import ConfigError, suggest


class Spec(Protocol):
    """What every descriptor has."""

    @property
    def name(self) -> str:
        """Name in settings and files."""

    @property
    def order(self) -> int:
        """Place among the others, smaller first; equal ones by name."""


S = TypeVar("S", bound=Spec)


@dataclass(frozen=True)
class _Found(Generic[S]):
    spec: S
    module: str


class Registry(Generic[S]):
    """All descriptors of one kind.

    Built-in ones are the `SPEC` of each module in `package` (but for names that begin with an underscore). Others are
    entry points of the group `haystack.{kind}`, each a descriptor: in the plug-in's pyproject.toml
    `[project.entry-points."haystack.models"]`.

    Parameters
    ----------
    kind
        plural noun: models, components, strategies, storages, backends.
    spec
        class of the descriptors.
    package
        dotted name of the folder with the built-in modules.
    """

    def __init__(self, kind: str, spec: type[S], package: str) -> None:
        self.kind, self.spec, self.package = kind, spec, package
        self.group = f"haystack.{kind}"

    def __iter__(self) -> Iterator[S]:
        """Descriptors in order."""
        return (found.spec for found in self._all().values())

    def names(self) -> list[str]:
        """Names in order."""
        return list(self._all())

    def get(self, name: str, where: str | None = None) -> S:
        """The descriptor of a name; `where` says in an error which setting or file has it.

        Raises
        ------
        ConfigError
            for an unknown name (the nearest known one is suggested), or a plug-in that cannot be loaded.
        """
        return self._get(name, where).spec

    def module(self, name: str) -> str:
        """Dotted name of the module that defines a descriptor: its code decides what the results are."""
        return self._get(name, None).module

    def _get(self, name: str, where: str | None) -> _Found[S]:
        found = self._all().get(name)
        if found is None:
            raise ConfigError(f"{where or self.kind}: unknown name '{name}'.{suggest(name, self._all())}")
        return found

    def _all(self) -> dict[str, _Found[S]]:
        return _discover(self, tuple(sys.path))


@lru_cache(maxsize=16)
def _discover(registry: Registry[S], path: tuple[str, ...]) -> dict[str, _Found[S]]:
    """Descriptors by name; looked for again when `sys.path` changes."""
    package = importlib.import_module(registry.package)
    modules = [
        f"{registry.package}.{item.name}" for item in pkgutil.iter_modules(package.__path__) if item.name[0] != "_"
    ]
    found = [_Found(importlib.import_module(module).SPEC, module) for module in modules]
    found += [_load(registry, point) for point in entry_points(group=registry.group)]
    by_name: dict[str, _Found[S]] = {}
    for item in sorted(found, key=lambda item: (item.spec.order, item.spec.name)):
        other = by_name.setdefault(item.spec.name, item)
        if other.spec is not item.spec:
            raise ConfigError(
                f"{registry.kind}: '{item.spec.name}' is defined by {other.module} and by {item.module}. "
                "Uninstall one of them"
            )
    return by_name


def _load(registry: Registry[S], point: EntryPoint) -> _Found[S]:
    where = f"plug-in {point.dist.name if point.dist else point.value}, entry point {point.group}: {point.name}"
    try:
        spec = point.load()
    except Exception as error:
        raise ConfigError(
            f"{where}: cannot be loaded ({type(error).__name__}: {error}). Repair or uninstall it"
        ) from error
    if not isinstance(spec, registry.spec):
        raise ConfigError(f"{where}: {point.value} is {type(spec).__name__}, expected {registry.spec.__name__}")
    return _Found(spec, point.module)
