"""The parts of pyroute2 that speak nftables, without the rest: its package imports all that it has, 8 MB and 0.1 s more.

So the package stands in ``sys.modules`` unopened, and is opened when somebody asks it for a name of its own.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType

from enforcer.errors import HostError


class _Unopened(ModuleType):
    """Hands out its parts, and runs the package's own code when it is asked for what only that makes."""

    def __getattr__(self, name: str) -> object:
        spec = self.__spec__
        if not name.startswith("__") and find_spec(part := f"{self.__name__}.{name}"):
            return import_module(part)
        if type(self) is not _Unopened or spec is None or spec.loader is None or name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self.__class__ = ModuleType  # type: ignore[assignment]  # from now on it is as any other
        spec.loader.exec_module(self)
        return getattr(self, name)


def unopened(name: str) -> ModuleType:
    """The package, in ``sys.modules``; as it is if somebody has imported it. Raises ``HostError`` if it is not installed."""
    if name in sys.modules:
        return sys.modules[name]
    spec = find_spec(name)
    if spec is None:
        raise HostError(f"{name} is missing: install what the enforcer depends on")
    made = module_from_spec(spec)
    made.__class__ = _Unopened
    sys.modules[name] = made
    return made


unopened("pyroute2")

from pyroute2.netlink import (  # noqa: E402 -- only now
    NETLINK_NETFILTER,
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    nlmsg_atoms,
)
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES, nfgen_msg  # noqa: E402
from pyroute2.netlink.nfnetlink import nftsocket as nf  # noqa: E402
from pyroute2.nftables.expressions import genex, verdict  # noqa: E402

__all__ = (
    "NETLINK_NETFILTER",
    "NFNL_SUBSYS_NFTABLES",
    "NLM_F_ACK",
    "NLM_F_APPEND",
    "NLM_F_CREATE",
    "NLM_F_DUMP",
    "NLM_F_REQUEST",
    "genex",
    "nf",
    "nfgen_msg",
    "nlmsg_atoms",
    "unopened",
    "verdict",
)
