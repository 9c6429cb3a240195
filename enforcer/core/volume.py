"""A Docker volume as it stands on the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from enforcer.core.inspection import Owner

LOCAL = "local"


@dataclass(frozen=True)
class StoredVolume:
    """``options`` as it was created with. ``path`` is where its data lies (a bind-backed volume's device), ``owner`` whose that is.

    ``owner`` is None where the directory is not; ``empty``: nothing is in it.
    """

    name: str
    driver: str = LOCAL
    options: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    owner: Owner | None = None
    empty: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
