"""Start the router (503 until a first release), what should be running, and the resident engine. Returns when they run.

What runs already is adopted: no second copy is started, nothing is cut. An address that somebody else holds is refused, and named.
A change of the router's kind or addresses is made only with --apply, which says first what it cuts.
"""

import socket
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bleen import __version__, config, wiring
from bleen.cli import exits, show
from bleen.cli.access import Access, start_engine
from bleen.cli.stopping import stop_engine, stop_router
from bleen.engine.drive import alive
from bleen.errors import PortError, UserError
from bleen.host import processes, state
from bleen.host.state import Place


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--apply", action="store_true", help="make a change of the router's kind or addresses: the listener is closed and opened anew")


def run(args: Namespace) -> int:
    loaded = config.load(Path(args.file))
    wanted = config.router(loaded)
    place = Place(loaded.service)
    _other_services(place, wanted)
    if not place.journal.exists():
        _free(place, wanted)
    place.make()
    access = Access(place, wiring.journal(place))
    was = access.service.router
    if was and was != wanted:
        _apply(args, access, wanted)
    elif not _answers(access):
        _free(place, wanted)
    access.journal.register(access.name, wanted, True)
    place.remember(Path(args.file))
    _engine(access)
    return _wait(args, access)


def _engine(access: Access) -> None:
    """One resident engine, of this version."""
    held = access.service.holder
    if held is not None and held.resident and alive(held) and held.version != __version__:
        stop_engine(access)
    start_engine(access.place)


def _apply(args: Namespace, access: Access, wanted: Mapping[str, Any]) -> None:
    was = access.service.router
    changed = ", ".join(f"{name}: {was.get(name)} -> {wanted.get(name)}" for name in sorted({*was, *wanted}) if was.get(name) != wanted.get(name))
    if not args.apply:
        raise UserError(f"the router runs with other settings ({changed}); `bleen up --apply` closes the listener, which cuts every connection, and opens it anew")
    addresses = {name: wanted[name] for name in ("listen", "preview") if wanted[name] not in (was["listen"], was["preview"])}
    _free(access.place, addresses)
    if not args.json:
        print(f"{changed}: connections to {was['listen']} are cut now", flush=True)
    stop_engine(access)
    stop_router(access)


def _answers(access: Access) -> bool:
    if not access.service.router:
        return False
    try:
        access.providers(access.journal.latest(access.name)).router.routing()
    except PortError:
        return False
    return True


def _other_services(place: Place, wanted: Mapping[str, Any]) -> None:
    """Raises UserError if another service of this host listens, or would, where this one wants to."""
    for name in state.services():
        if name == place.service:
            continue
        theirs = wiring.journal(Place(name)).service(name).router
        for address in (wanted["listen"], wanted["preview"]):
            if address in (theirs.get("listen"), theirs.get("preview")):
                raise UserError(f"{address} is an address of the service {name}: choose another in bleen.yaml")


def _free(place: Place, wanted: Mapping[str, Any]) -> None:
    """Raises UserError if an address is held by a process that is not this service's router; names it."""
    for address in (wanted[name] for name in ("listen", "preview") if name in wanted):
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host.strip("[]"), int(port)))
            except OSError as error:
                pid = processes.owner(int(port))
                if pid is None:
                    raise UserError(f"{address} cannot be listened on: {error.strerror}") from None
                said = processes.command_line(pid)
                if str(place.router) in said and place.journal.exists():
                    return
                ours = " a router that bleen started, whose journal is gone;" if "/services/" in said and "/router" in said else ""
                raise UserError(f"{address} is held by pid {pid} ({said[:120]});{ours} end it, or choose another address in bleen.yaml") from None


def _wait(args: Namespace, access: Access) -> int:
    """Until the listener answers and what should serve is healthy."""
    newest = access.journal.latest(access.name)
    providers = access.providers(newest)
    active = access.service.active
    patience = newest.plan.probe.timeout if newest else 10.0
    deadline = time.monotonic() + patience + 20
    why = "the engine starts"
    while time.monotonic() < deadline:
        try:
            routing = providers.router.routing()
            health = providers.platform.health(active) if active else None
            if access.watched and (health is None or health.healthy):
                serves = f"{newest.plan.version if newest and newest.environment == active else active} serves" if active and routing.serves(active) else "503 until a first release"
                show.result(args, f"{access.name} is up on {access.service.router['listen']}: {serves}", engine=access.watched)
                return exits.DONE
            why = health.why if health and health.why else why
        except PortError as error:
            why = str(error)
        if not access.watched and time.monotonic() > deadline - patience - 15:
            break
        time.sleep(0.05)
    log = access.place.log.read_text(errors="replace").splitlines()[-5:] if access.place.log.exists() else []
    show.result(args, "\n".join([f"{access.name} is not up: {why}", *(f"  engine.log: {line}" for line in log)]), ok=False)
    return exits.SAID_NO
