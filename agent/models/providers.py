"""The models' door: what is installed under the entry point group `frontdesk.models`. The built-ins enter by it, too.

A package that brings presets or a backend of its own registers a `Provider`:

    [project.entry-points."frontdesk.models"]
    acme = "acme_frontdesk:provider"

    provider = Provider(presets={"acme": {"title": "Acme", "base_url": "https://llm.acme.example/v1", ...}})
    provider = Provider(backends={"acme": lambda model, surroundings: AcmeModel(model)})

Where making it takes work (a file to read), a function that returns it is registered instead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from agent.errors import SettingsError
from agent.models.base import ModelBackend
from agent.models.presets import Catalogue, Presets, built_in
from agent.models.quotes import NAME as QUOTES
from agent.models.quotes import Quotes

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from agent.models.openai_compatible import Deadlines
    from agent.models.pool import Pool

GROUP = "frontdesk.models"
"""The entry point group that models are registered under."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a backend may use: presets and keys, deadlines, the shared connections, and closeness of meaning."""

    catalogue: Catalogue
    deadlines: Deadlines
    pool: Pool
    similarity: Callable[[str, Sequence[str]], Awaitable[Sequence[float] | None]] | None = None


_BROKEN = (
    ImportError,
    SyntaxError,
    AttributeError,
    NameError,
    TypeError,
    ValueError,
    LookupError,
    OSError,
    RuntimeError,
)
"""What a stranger's module may fail with while it is imported."""
Open = Callable[[str, Surroundings], ModelBackend]
"""Makes a backend from what stands behind the colon of a choice ("" if there is nothing)."""


@dataclass(frozen=True, slots=True)
class Provider:
    """What one package brings: servers as data, in the form of `presets.json`, and backends of its own, by name."""

    presets: Presets = field(default_factory=dict)
    backends: Mapping[str, Open] = field(default_factory=dict)


def openai_compatible() -> Provider:
    """The servers of `presets.json`."""
    return Provider(presets=built_in())


def quotes() -> Provider:
    """The backend that needs no model."""
    return Provider(backends={QUOTES: lambda _, surroundings: Quotes(surroundings.similarity)})


@cache
def installed() -> Provider:
    """All that is installed, together. Raises `SettingsError` when a registration cannot be loaded or a name is taken."""
    from importlib.metadata import entry_points

    presets: dict[str, Mapping[str, Any]] = {}
    backends: dict[str, Open] = {}
    owners: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        provider = _load(entry)
        for name in (*provider.presets, *provider.backends):
            owner = owners.setdefault(name, entry)
            if owner.value != entry.value:
                raise SettingsError(
                    f"Two packages bring a model called {name!r}: {_named(owner)} and {_named(entry)}.",
                    "Uninstall one of them.",
                )
        presets |= provider.presets
        backends |= provider.backends
    return Provider(presets, backends)


def _load(entry: EntryPoint) -> Provider:
    from agent.models.preset_schema import checked

    try:
        loaded = entry.load()
        provider = loaded() if callable(loaded) else loaded
    except _BROKEN as error:
        raise SettingsError(
            f"The models of {_named(entry)} cannot be loaded: {error}.", "Mend or uninstall the package."
        ) from error
    if not isinstance(provider, Provider):
        raise SettingsError(
            f"{_named(entry)} is not an agent.models.providers.Provider.", "Mend or uninstall the package."
        )
    if provider.presets is not built_in():
        checked(provider.presets, _named(entry))
    return provider


def _named(entry: EntryPoint) -> str:
    package = f" of the package {entry.dist.name}" if entry.dist else ""
    return f"'{entry.name}' ({entry.value}{package})"
