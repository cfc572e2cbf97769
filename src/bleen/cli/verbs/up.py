"""Start the router (503 until a first release), what should be running, and the resident engine. Returns when they run.

What runs already is adopted: no second copy is started, nothing is cut. An address that somebody else holds is refused, and named.
A change of the router's kind or addresses that cuts something is made only with --apply, which says first what; of a service that is down it cuts nothing.
So is drift undone: what somebody else did to the router goes back to what bleen last saw it do, which cuts nothing; or, with --to, to who is well now.
"""

import os
import shutil
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bleen import __version__, config, wiring
from bleen.cli import addresses, exits, picture, show
from bleen.cli.access import Access, described, moved, open_service, outdated, start_engine, stop_engine
from bleen.engine import righting
from bleen.engine.drive import holder
from bleen.errors import PortError, UserError
from bleen.host.state import Place, Unknown, must_be_nobody_elses
from bleen.lifecycle import Phase, Release, Service, drifted, ways_on
from bleen.model import Routing

_READS = 3.0
"""Seconds in which a proxy that has just begun reads its files, once it answers; drift stays."""


def arguments(parser: ArgumentParser) -> None:
    change = "make a change of the router's kind or addresses: the listener is closed and opened anew"
    parser.add_argument("--apply", action="store_true", help=f"{change}; undo drift")
    to = "end drift in favour of this one, blue or green, which is well; where what bleen last saw is not, or a release is halted over it"
    parser.add_argument("--to", metavar="ENVIRONMENT", help=to)
    parser.add_argument("--force", action="store_true", help="with --apply, lead the traffic there however ill it is: a bad version may be better than what is")


def run(args: Namespace) -> int:
    if (args.to or args.force) and not args.apply:
        raise UserError("--to and --force say how `bleen up --apply` ends drift: they go with --apply")
    place, wanted, read = _wanted(args)
    place.must_be_ours()
    if read and (note := moved(place, Path(args.file))):
        print(f"note: {note}", file=sys.stderr)
    addresses.of_nobody_else(place, wanted)
    if not place.known:
        must_be_nobody_elses(Path(args.file))
        addresses.usable(place, wanted)
    place.make()
    access = Access(place, wiring.journal(place))
    was = access.service.router
    if was and was != wanted:
        wanted = _changed(args, access, wanted)
    elif not _answers(access):
        addresses.usable(place, wanted)
    if args.to and not _answers(access):
        raise UserError(f"the router of {access.name} does not answer: `bleen up` starts it, as it was led last; nothing was changed")
    access.journal.register(access.name, wanted, True)
    if read:
        place.remember(Path(args.file))
        place.comes_from(Path(args.file))
    if args.to or (args.apply and _answers(access) and _drift(access)):
        _put_back(args, access)
    _engine(access)
    return _wait(args, access)


def _wanted(args: Namespace) -> tuple[Place, Mapping[str, Any], bool]:
    """The service and its router's settings, from bleen.yaml; where that has faults, as they were. And whether it could be read: else nobody knows whose it is.

    A host that comes up again needs its service, whatever has become of the file.
    """
    try:
        loaded = config.load(Path(args.file), None)
        return Place(described(args, loaded.service)), config.router(loaded), True
    except config.Faults as faults:
        try:
            access = open_service(args)
        except Unknown as unknown:
            if args.service and not os.path.exists(args.file) and not unknown.elsewhere:  # the slip may be in either
                raise UserError(f"{unknown}\n{faults}") from None
            raise (unknown if unknown.elsewhere else faults) from None
        if not access.service.router or (args.apply and os.path.exists(args.file)):  # what is to be applied cannot be told
            raise
        found = f"{faults}\n" if os.path.exists(args.file) else ""
        print(f"{found}bleen: {access.name} comes up with the settings that it had", file=sys.stderr)
        return access.place, access.service.router, False


def _engine(access: Access) -> None:
    """One resident engine, of this installation, that answers."""
    if access.hung or outdated(access.service.holder):
        stop_engine(access.place)
    started, service = start_engine(access.place), access.service
    if service.holder == holder(__version__):  # it was us who closed the old listener
        engine = service.holder._replace(pid=started.pid, start=started.start, resident=True)
        access.journal.claim(access.name, engine, seize=service.epoch)


def _changed(args: Namespace, access: Access, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the router is to be, once the old one is gone if that is another. Raises UserError for a change that would cut connections and was not asked for."""
    was = access.service.router
    changed = addresses.changes(was, wanted)
    both = (was["listen"], was["preview"])
    listens = _answers(access) or any((held := addresses.taken(access.place, address)) and held.ours for address in both)  # one that hangs has connections, too
    if not args.apply and listens:
        raise UserError(
            f"the router runs with other settings ({changed}); `bleen up --apply` closes the listener, which cuts every connection, and opens it anew"
        )
    if not args.apply and access.service.up:  # after a reboot, say: it is needed, and not where nobody expects it
        print(f"bleen: {access.name} comes up with the settings that it had ({changed}); `bleen up --apply` makes that change", file=sys.stderr)
        addresses.usable(access.place, was)
        return was
    addresses.usable(access.place, wanted, was, both if listens else ())
    me = holder(__version__)
    righting.take_over(access.journal, access.name, me)  # from a deploy that drives, too: it goes on once we have ended
    if not args.json:
        cut = f"connections to {was['listen']} are cut now" if listens else "nothing listens yet, and nothing is cut"
        print(f"{changed}: {cut}", flush=True)
    stop_engine(access.place)
    righting.close_listener(access.engine(), access.name, me)
    if was["kind"] != wanted["kind"]:
        _forget(access.place)
    return wanted


def _forget(place: Place) -> None:
    """Removes what the proxies remember: one that served here some releases ago would come back with the routing of then."""
    for path in place.router.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix != ".log":
            path.unlink()


def _answers(access: Access) -> bool:
    if not access.service.router:
        return False
    try:
        access.providers(access.journal.latest(access.name)).router.routing()
    except PortError:
        return False
    return True


def _drift(access: Access) -> str:
    """What the router does that we neither did nor intend, in words; empty if there is none. Raises Unavailable if it does not answer."""
    newest, service = access.journal.latest(access.name), access.service
    routing = access.providers(newest).router.routing()
    return picture.apart(routing, service.confirmed) if drifted(service, newest, routing) else ""


def _put_back(args: Namespace, access: Access) -> None:
    def told(now: Routing, wanted: Routing) -> None:
        if not args.json:
            way = "is led" if args.to else "goes back"
            print(f"the router does what bleen neither did nor intends ({picture.apart(now, wanted)}): it {way} to {picture.apart(wanted, now)}", flush=True)

    if args.to:
        righting.lead_to(access.engine(), access.name, holder(__version__), args.to, told, args.force)
    else:
        righting.put_back(access.engine(), access.name, holder(__version__), told, args.force)


def _wait(args: Namespace, access: Access) -> int:
    """Until the listener answers and what should serve is healthy: whatever that is by then, as an engine that starts may have to go back first."""
    began = time.monotonic()
    drifted: float | None = None
    why = "the engine starts"
    while access.watched or time.monotonic() < began + 2:
        newest, service = access.journal.latest(access.name), access.service
        if time.monotonic() >= began + 10 + (newest.plan.probe.timeout if newest else 0):
            break
        try:
            drift = _drift(access)
            drifted = (drifted or time.monotonic()) if drift else None
            if drifted and time.monotonic() > drifted + _READS:
                raise UserError(
                    f"{access.name} is up on {service.router['listen']}, but its router does what bleen neither did nor intends ({drift});"
                    f" `bleen up --apply` has it do again what it was last seen to do: {picture.words(service.confirmed)}"
                )
            health = access.providers(newest).platform.health(service.active) if service.active else None
            back = _going_back(newest)
            if access.watched and not drift and not back and (health is None or health.healthy):
                if not args.json:
                    untaken = picture.untaken(access, service)
                    stays = untaken and f"the router goes on with the certificate that it had: {untaken}"
                    halted = f"release {newest.id.number} is halted in {newest.phase}: {ways_on(newest)}" if newest and newest.halted else ""
                    for note in filter(None, (access.unreserved, stays, halted)):
                        print(f"note: {note}")
                show.result(args, f"{access.name} is up on {service.router['listen']}: {_serving(access, service)}", listen=service.router["listen"])
                return exits.DONE
            why = back or (f"its router does not do what it should yet ({drift})" if drift else "") or (health.why if health else "") or why
        except PortError as error:
            drifted, why = None, str(error)
        time.sleep(0.05)
    if not access.watched:
        why = f"its resident engine has ended; {why}"
    log = access.place.log.read_text(errors="replace").splitlines()[-5:] if access.place.log.exists() else []
    show.result(args, "\n".join([f"{access.name} is not up: {why}", *(f"  engine.log: {line}" for line in log)]), ok=False)
    return exits.SAID_NO


def _going_back(newest: Release | None) -> str:
    """That what serves is about to be another version, in words; empty if it is not."""
    if newest is None or newest.phase is not Phase.ROLLING_BACK or newest.halted:
        return ""
    waits = f", and waits for {newest.why}" if newest.why else ""
    return f"release {newest.id.number} goes back to {newest.plan.old_version}{waits}"


def _serving(access: Access, service: Service) -> str:
    active = service.active
    if active is None:
        return "503 until a first release"
    release = access.release_of(active)
    return f"{release.plan.version if release else active} serves"
