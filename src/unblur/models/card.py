"""What is known of weights: where they come from, how good they are, who may use them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Card:
    """The description that travels inside a file of weights.

    Attributes
    ----------
    name : str
        What a user types.
    network : str
        In `unblur.models.registry.NETWORKS`.
    summary : str
        One line: what it does, and how well, honestly.
    data : str
        What it was trained on.
    steps : int
        Of training.
    protocol : str
        What `score` was measured with.
    score : dict of str to float
        Such as ``{"psnr t=0.5, medium": 30.1}``.
    licence : str
        Of the weights.
    date : str
        Year-month-day.
    kind : str
        What the network is for, see `unblur.networks.kinds`; cards from before there were kinds get it when they are
        loaded.
    sha256 : str, optional
        Of the file; not in the file, but known once it is read.
    """

    name: str
    network: str
    summary: str = ""
    data: str = ""
    steps: int = 0
    protocol: str = ""
    score: dict[str, float] = field(default_factory=dict)
    licence: str = ""
    date: str = ""
    kind: str = ""
    sha256: str | None = None

    def to_json(self) -> str:
        """All but the sum, which a file cannot hold of itself."""
        known = asdict(self)
        del known["sha256"]
        return json.dumps(known, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Card:
        """The inverse of `to_json`.

        Raises
        ------
        ValueError
            If `text` is not JSON, a field is unknown, missing or of the wrong type.

        Examples
        --------
        >>> Card.from_json(Card("film", "film", steps=3).to_json()).steps
        3
        """
        known = json.loads(text)
        if not isinstance(known, dict):
            raise ValueError("not a card")
        types: dict[str, Any] = {f.name: f.type for f in fields(cls)}
        for name, value in known.items():
            if name not in types or name == "sha256":
                raise ValueError(f"unknown field {name}")
            wanted = {"int": int, "str": str}.get(types[name], dict)
            if not isinstance(value, wanted):
                raise ValueError(f"{name} is {value!r}")
        if missing := {"name", "network"} - known.keys():
            raise ValueError(f"no {', '.join(sorted(missing))}")
        return cls(**known)
