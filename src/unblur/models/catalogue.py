"""The models: which are here, and what is known of each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path

from unblur.models.card import Card
from unblur.models.registry import ALIASES, DEFAULT, SHIPPED
from unblur.models.weights import FILES, load_weights


@dataclass(frozen=True)
class Entry:
    """A model.

    Attributes
    ----------
    name : str
        What to pass as ``--model``.
    card : Card
    kind : str
        What its network is for; see `unblur.networks.kinds`.
    parameters : int
        Numbers in its weights.
    size : int
        Bytes of its file.
    """

    name: str
    card: Card
    kind: str
    parameters: int
    size: int

    @property
    def alias(self) -> str | None:
        """Another name that it goes by: best, fast."""
        return next((alias for alias, name in ALIASES.items() if name == self.name), None)

    def __str__(self) -> str:
        alias = f"{self.alias}; " if self.alias else ""
        details = f"{alias}{self.kind}, {self.parameters / 1e6:.1f} M parameters, {self.size / 2**20:.1f} MiB"
        return f"{self.card.summary} ({details})" if self.card.summary else details

    def as_dict(self) -> dict[str, object]:
        """All that is known, for a machine-readable report."""
        return {
            "name": self.name,
            "alias": self.alias,
            "kind": self.kind,
            "parameters": self.parameters,
            "bytes": self.size,
            "card": asdict(self.card),
        }

    def details(self) -> dict[str, str]:
        """All that is known, for people."""
        known = {**asdict(self.card), "name": self.name}
        known["score"] = ", ".join(f"{name} {value:g}" for name, value in self.card.score.items())
        known |= {"kind": self.kind, "parameters": f"{self.parameters:,}", "size": f"{self.size:,} bytes"}
        return {name: str(value) for name, value in known.items() if value not in ("", None)}


def list_models() -> list[Entry]:
    """The models that came with the package."""
    return [show_model(name) for name in SHIPPED]


def show_model(name: str | PathLike[str] = DEFAULT) -> Entry:
    """What is known of a model, by its name or file.

    Raises
    ------
    UnblurError
        No such model, or its file is damaged.
    """
    name = ALIASES.get(str(name), str(name))
    loaded = load_weights(name)
    file = FILES / SHIPPED[name].file if name in SHIPPED else Path(name)
    parameters = sum(parameter.numel() for parameter in loaded.network.parameters())
    return Entry(name, loaded.card, loaded.network.kind, parameters, file.stat().st_size)
