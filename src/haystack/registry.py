"""Registries of models, score components and the like, from the package's own modules and installed plug-ins."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Protocol, TypeVar

from haystack.errors import ConfigError, suggest


class Spec(Protocol):
    """Fields common to all descriptors."""

    @property
    def name(self) -> str:
        """Name in settings and files."""

    @property
    def order(self) -> int:
        """Sort key, smaller first; equal ones by name."""


S = TypeVar("S", bound=Spec)


class Registry(Generic[S]):
    """All descriptors of one kind.

    Built-in ones are the `SPEC` of each module in `package`, under the module's name (modules whose name begins with
    an underscore hold none). Others are entry points of the group `haystack.{kind}`, under the entry point's name: in
    the plug-in's pyproject.toml `[project.entry-points."haystack.models"]`, `scgpt = "scgpt_haystack:SPEC"`. Names are
    known without importing anything.

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

    def __iter__(self) -> Iterator[S]:
        """Descriptors in order."""
        return iter(sorted(map(self.get, self.names()), key=lambda spec: (spec.order, spec.name)))

    def names(self) -> list[str]:
        """All names; imports nothing."""
        return list(self._places())

    def check(self, name: str, where: str) -> None:
        """Refuse an unknown name; imports nothing. `where` names the setting.

        Raises
        ------
        ConfigError
            that suggests the nearest known name.
        """
        if name not in self._places():
            raise ConfigError(f"{where}: unknown name '{name}'.{suggest(name, self._places())}")

    def get(self, name: str, where: str | None = None) -> S:
        """The descriptor of a name.

        Raises
        ------
        ConfigError
            for an unknown name, or a plug-in that cannot be loaded.
        """
        self.check(name, where or self.kind)
        spec: S = _load(self, self._places()[name])
        return spec

    def module(self, name: str) -> str:
        """Dotted name of the module that defines a descriptor."""
        self.check(name, self.kind)
        return self._places()[name].module

    def _places(self) -> dict[str, EntryPoint]:
        return _places(self.kind, self.package, _installations(tuple(sys.path)))


@lru_cache(maxsize=16)
def _installations(path: tuple[str, ...]) -> tuple[str, ...]:
    """The parts of a path in which a distribution may be installed, so not the folders that Snakemake adds.

    Each once: Snakemake's scripts name them again, and what is known of a path would not be found.
    """
    return tuple(part for part in dict.fromkeys(path) if os.path.isfile(part) or _has_distributions(part))


def _has_distributions(folder: str) -> bool:
    try:
        return any(name.endswith((".dist-info", ".egg-info")) for name in os.listdir(folder or "."))
    except OSError:
        return False


@lru_cache(maxsize=4)
def _entry_points(path: tuple[str, ...]) -> Any:
    """Those of all groups: reading them takes as long as reading one group."""
    return entry_points()


@lru_cache(maxsize=16)
def _places(kind: str, package: str, path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Location of descriptors by name; recomputed if another installation is added to `path`."""
    group = f"haystack.{kind}"
    folder = importlib.import_module(package).__path__
    own = [item.name for item in pkgutil.iter_modules(folder) if not item.name.startswith("_")]
    places = {name: EntryPoint(name, f"{package}.{name}:SPEC", group) for name in own}
    for point in _entry_points(path).select(group=group):
        other = places.setdefault(point.name, point)
        if other is not point:
            raise ConfigError(
                f"{kind}: '{point.name}' is defined by {other.module} and by {point.module}. Uninstall one of them"
            )
    return places


@lru_cache(maxsize=256)
def _load(registry: Registry[S], point: EntryPoint) -> S:
    origin = point.dist.name if point.dist else point.module
    where = f"plug-in {origin}, entry point {point.group}: {point.name} = {point.value}"
    try:
        spec = point.load()
    except Exception as error:
        raise ConfigError(
            f"{where}: cannot be loaded ({type(error).__name__}: {error}). Repair or uninstall it"
        ) from error
    if not isinstance(spec, registry.spec):
        raise ConfigError(f"{where}: is {type(spec).__name__}, expected {registry.spec.__name__}")
    if spec.name != point.name:
        raise ConfigError(f"{where}: the descriptor calls itself '{spec.name}'. Give both the same name")
    return spec
