"""Whether a router may listen where it is to listen: asked before anything is touched."""

import errno
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bleen import wiring
from bleen.errors import Refused, UserError
from bleen.host import launch, listening, processes, state
from bleen.host.state import Place
from bleen.plan import duration

_ANOTHER = "choose another address in bleen.yaml"


def of_nobody_else(place: Place, wanted: Mapping[str, Any]) -> None:
    """Raises UserError if another service of this host listens, or would, where this one wants to."""
    for name in state.services():
        if name == place.service:
            continue
        theirs = wiring.router_of(Place(name))
        for address in (wanted["listen"], wanted["preview"]):
            if address in (theirs.get("listen"), theirs.get("preview")):
                raise UserError(f"{address} is an address of the service {name}: {_instead_of(Place(name))}")


def _instead_of(other: Place) -> str:
    """What to do about an address that another service of the same state has."""
    return f"{_ANOTHER}; or, if {other.service} is to be gone for good, `bleen down --yes --service {other.service}`, then remove {other.path}"


def changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which settings of a router differ, and how, in words; empty if none do."""
    names = sorted(name for name in {*was, *now} if was.get(name) != now.get(name))
    return ", ".join(f"{name}: {_setting(was.get(name))} -> {_setting(now.get(name))}" for name in names)


def _setting(value: Any) -> str:
    if isinstance(value, Mapping):
        return " and ".join(f"{name} {each}" for name, each in value.items())
    if isinstance(value, list):
        return " and ".join(value)
    return "none" if value is None else duration(value) if isinstance(value, int | float) else str(value)


def usable(place: Place, wanted: Mapping[str, Any], was: Mapping[str, Any] | None = None, but: Sequence[str] = ()) -> None:
    """Raises UserError for what would keep the listener from being opened: a proxy that is not installed, a certificate, an address that is held.

    ``was`` is the router in whose place this one comes, with other settings. The addresses in ``but`` are not asked for: the router that is to be closed
    listens there.
    """
    if wanted["kind"] == "haproxy" and wiring.haproxy() is None:
        raise UserError("haproxy is not installed: apt-get install haproxy, or use envoy: in bleen.yaml; nothing was touched")
    if wanted["tls"]:
        certificate = wiring.certificate(place, wanted)
        try:
            certificate.check()
        except Refused as error:
            another = was is not None and any(was.get(name) != wanted[name] for name in ("kind", "tls"))
            if but or another or not certificate.lasts:  # else it starts with what it had
                raise UserError(f"{error}; nothing was touched") from None
    for address in (wanted["listen"], wanted["preview"]):
        if address not in but and (held := taken(place, address)) and not held.ours:
            raise UserError(f"{address} {held.why}; {held.way}")


class Taken(NamedTuple):
    """An address that cannot be listened on."""

    why: str
    """For people, after the address."""
    way: str
    """What to do about it."""
    ours: bool = False
    """Whether the router of the service itself listens there, and can be asked."""


def taken(place: Place, address: str) -> Taken | None:
    """What keeps a service from listening on an address, by trying to; None if nothing does."""
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as error:
            pid = processes.owner(address) if error.errno == errno.EADDRINUSE else None
            if pid is None:
                look = f"{listening.unseen(address)}, or " if error.errno == errno.EADDRINUSE else ""
                return Taken(f"cannot be listened on: {listening.reason(address, error)}", f"{look}{_ANOTHER}")
            return _held(place, pid)
    return None


def _held(place: Place, pid: int) -> Taken:
    why, record = f"is held by {processes.named(pid)}", processes.variable(pid, launch.MARK)
    owner = state.holding(record)
    if owner is None:
        return Taken(f"{why}{_orphan(Path(record))}", f"end it, or {_ANOTHER}")
    if os.path.realpath(owner.root) != os.path.realpath(place.root):
        way = f"`{state.chosen(owner.root, 'status', '--service', owner.service)}` shows it: go on with that state, or {_ANOTHER}"
        return Taken(f"{why}, which serves {owner.service} of another state, {owner.root}", way)
    if owner.service != place.service:  # with an address that holds this one, or is held by it, as 0.0.0.0 does
        return Taken(f"{why}, which serves the service {owner.service}", _instead_of(owner))
    if not Path(record).is_relative_to(owner.router):
        return Taken(f"{why}, which is a copy of {place.service}", _ANOTHER)
    if os.path.exists(record):
        return Taken(f"{why}, which is the router of {place.service}", "`bleen up` goes on with it", True)
    lost = "it serves, but its files are gone, and it cannot be asked any more"
    return Taken(f"{why}, which is the router of {place.service}; {lost}", f"`kill -9 {pid}` ends it, then `bleen up` starts it with the routing that it had")


def _orphan(record: Path) -> str:
    """What is said of a router that bleen started and whose journal is gone: its service, and what runs behind it."""
    if record.parent.name != "router":
        return ""
    service = record.parent.parent
    started = {pid: Path(value) for pid, value in processes.variables(launch.MARK).items()}
    behind = [processes.named(pid) for pid, other in started.items() if other.is_relative_to(service / "environments")]
    return f"; it is a router that bleen started for {service.name}, whose journal is gone; behind it: {', '.join(behind) or 'nothing that runs'}"
