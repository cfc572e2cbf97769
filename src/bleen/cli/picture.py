"""The state of a service as the world tells it: what the router serves, what runs, what the journal intends. Read only."""

import os
import socket
from collections.abc import Collection, Mapping
from typing import Any

from bleen import wiring
from bleen.cli import show
from bleen.cli.access import Access
from bleen.errors import PortError
from bleen.host import clock
from bleen.host.files import READ_ONLY, read_only
from bleen.lifecycle import BEYOND, REVERSIBLE, TABLE, UNMOVED, Phase, Release, Service, drifted, way_back
from bleen.model import Environment, Health, Routing, Running, unseen
from bleen.ports import Providers

_FEW = 3
"""Obstacles of a contract that are told in a line."""
DOES = "`bleen migrate contract` does it"
"""Of a contract whose gate is open."""


def of(access: Access) -> dict[str, Any]:
    """The whole picture, as ``status --json`` prints it."""
    service, newest = access.service, access.journal.latest(access.name)
    providers = access.providers(newest)
    routing, trouble = _routing(providers)
    seen = routing or service.confirmed
    running = _running(providers, seen)
    active = max((e for e in seen.shares if seen.shares[e]), key=lambda e: (seen.shares[e], e.release), default=None)
    back = newest.plan.old if newest and newest.phase in REVERSIBLE else None
    listens = routing is not None or _listens(service)
    looks = {e: _look(providers, e) for e in running if service.up and (seen.serves(e) or e == back)}
    return {
        "service": access.name,
        "up": service.up,
        "active": _environment(access, active, running) if active else None,
        "idle": _idle(access, active, running),
        "release": show.of_release(access.as_it_is(newest), access.journal.now()) if newest else None,
        "rollback": _rollback(access, newest, providers, looks, answers=routing is not None, mute=routing is None and listens),
        "drift": _drift(service, newest, routing, trouble),
        "pending": [{**each, "window": window(access, newest) or None} for each in service.pending if each["since"] is not None],
        "lacking": _lacking(access, {*running, *filter(None, [active])}),
        "engine": _engine(access, service),
        "router": {
            "kind": service.router.get("kind"),
            "listen": service.router.get("listen"),
            "answers": routing is not None,
            "listens": listens,
            "shares": _shares(routing),
            "unknown": (routing.strange if routing else "") or None,
            "certificate": untaken(access, service) or None,
        },
        "environments": _environments(access, running, providers, routing, looks),
    }


def _routing(providers: Providers) -> tuple[Routing | None, str]:
    try:
        return providers.router.routing(), ""
    except PortError as error:
        return None, str(error)


def _running(providers: Providers, seen: Routing) -> Mapping[Environment, Running]:
    """What runs; or else what serves is told all the same."""
    try:
        return providers.platform.running()
    except PortError as error:
        return unseen(seen, str(error))


def _look(providers: Providers, environment: Environment) -> Health | PortError:
    """How an environment is, or why that cannot be told."""
    try:
        return providers.platform.health(environment)
    except PortError as error:
        return error


def _unwell(look: Health | PortError) -> str:
    """What is not well, in words; empty if all is."""
    if isinstance(look, PortError):
        return str(look)
    return "" if look.healthy else look.why or ("it keeps crashing" if look.crashing else f"{look.ready} of {look.wanted} are ready")


def _listens(service: Service) -> bool:
    """Whether somebody takes connections where users come: a router that does not answer us may well go on serving them."""
    host, _, port = service.router.get("listen", "").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), 1).close()
    except (OSError, ValueError):
        return False
    return True


def unserved(access: Access, release: Release) -> str:
    """Why nobody can say that users are served: the router does not answer, does something else, or nothing behind it is ready. Empty if they are."""
    providers, service = access.providers(release), access.service
    routing, trouble = _routing(providers)
    if routing is not None:
        if drifted(service, release, routing):
            return f"the router does something else ({apart(routing, service.confirmed)}): `bleen up --apply` undoes it"
        look = _look(providers, service.active) if service.active else None
        if look is None or (isinstance(look, Health) and look.ready):
            return ""
        return f"it is NOT WELL: {_unwell(look)}{'' if access.watched else '; nobody watches: `bleen up` starts an engine'}"
    nobody = "" if _listens(service) else f"nobody answers on {service.router.get('listen')}: "
    return f"{nobody}the router does not answer: {trouble}" if service.up else f"{access.name} is down: `bleen up` starts it"


def _environment(access: Access, environment: Environment, running: Any) -> dict[str, Any]:
    runs: Running | None = running.get(environment)
    return {
        "environment": environment.name,
        "version": runs.version if runs and runs.version else _version(access, environment),
        "release": environment.release,
        "running": bool(runs and runs.alive),
    }


def _version(access: Access, environment: Environment) -> str | None:
    release = access.release_of(environment)
    return release.plan.version if release else None


def _idle(access: Access, active: Environment | None, running: Any) -> dict[str, Any] | None:
    idle = [e for e in running if active is None or e.name != active.name]
    if idle:
        return _environment(access, max(idle, key=lambda e: e.release), running)
    return {"environment": "green" if active and active.name == "blue" else "blue", "version": None, "release": None, "running": False}


def _rollback(
    access: Access, newest: Release | None, providers: Providers, looks: Mapping[Environment, Health | PortError], answers: bool, mute: bool
) -> dict[str, Any]:
    """``answers``: the router can be asked; ``mute``: it runs and cannot. One that does not run is no hindrance, if nobody holds it: a rollback starts it."""
    if not access.service.up and newest is not None and newest.phase in REVERSIBLE and newest.plan.old:
        return {"ready": False, "to": newest.plan.old_version, "reason": f"{access.name} is down; `bleen up` starts {newest.plan.old_words} too"}
    if newest is not None and newest.phase is Phase.ROLLING_BACK:
        reason = newest.halted or f"going back to {newest.plan.old_version}"
        if answers and newest.halted and newest.plan.old and not _unwell(looks.get(newest.plan.old) or _look(providers, newest.plan.old)):
            reason = f"{newest.plan.old_version} is well by now, and `bleen resume` goes back to it; release {newest.id.number} halted: {newest.halted}"
        return {"ready": False, "to": newest.plan.old_version, "reason": reason}
    if newest is None or newest.phase not in REVERSIBLE:
        reason = "no release has been promoted" if newest is None else f"no rollback window is open: release {newest.id.number} is in {newest.phase}"
        if newest is not None and newest.phase in BEYOND and newest.plan.old:
            reason = f"the rollback window is closed; {way_back(newest)}"
        return {"ready": False, "to": None, "reason": reason}
    old, version = newest.plan.old, newest.plan.old_version
    if old is None:
        return {"ready": False, "to": None, "reason": "a first release has nothing to return to"}
    if mute:
        return {"ready": False, "to": version, "reason": "the router does not answer"}
    if not os.access(access.place.journal, os.W_OK):
        return {"ready": False, "to": version, "reason": f"{access.place.journal} cannot be written"}
    if read_only(access.place.path):
        return {"ready": False, "to": version, "reason": f"the disk of {access.place.path} has become read-only: {READ_ONLY}"}
    if access.full and access.unreserved:
        reason = f"the disk of {access.place.path} is full, and nothing is left of the reserve that a rollback has: make room"
        return {"ready": False, "to": version, "reason": reason}
    if unwell := _unwell(looks.get(old) or _look(providers, old)):
        return {"ready": False, "to": version, "reason": unwell}
    if pruned := _pruned(access, old):
        return {"ready": False, "to": version, "reason": f"{pruned} is gone: {version} lives only as long as its processes do"}
    was = access.release_of(old)
    shared = newest.plan.shared(was.plan.platform) if was else ""
    but = f"a copy of it that starts again runs what is in {shared} now, as {newest.plan.new_words} does" if shared else None
    return {"ready": True, "to": version, "reason": but}


def window(access: Access, newest: Release | None) -> str:
    """Why the way back is still open, which keeps every contract waiting; empty if it is not."""
    if newest is None or newest.ended:
        return ""
    name = f"release {newest.id.number} ({newest.plan.version})"
    if newest.phase in UNMOVED:
        return f"{name} is under way, in {newest.phase}"
    if newest.phase in REVERSIBLE and newest.plan.old:
        left = "" if newest.until is None else f", for {show.span(newest.until - access.journal.now())} more"
        return f"the rollback window of {name} is open{left}"
    return f"{name} {TABLE[newest.phase].does}"


def _pruned(access: Access, environment: Environment) -> str:
    """The directory that an environment was started in, if it is not there any more: a copy of it that crashes cannot come back."""
    release = access.release_of(environment)
    directory = release.plan.platform.get("directory", "") if release else ""
    return directory if directory and not os.path.isdir(directory) else ""


def _drift(service: Service, newest: Release | None, routing: Routing | None, trouble: str) -> str | None:
    if routing is None:
        return None if not service.up else f"the router does not answer: {trouble}"
    if drifted(service, newest, routing):
        return f"the router says {apart(routing, service.confirmed)}, we last confirmed {apart(service.confirmed, routing)}"
    return None


def untaken(access: Access, service: Service) -> str:
    """Why the router does not take up what has become of its certificate, empty if it does: users see it only when the one that it has runs out."""
    return wiring.certificate(access.place, service.router).untaken() if service.up and service.router.get("tls") else ""


def words(routing: Routing) -> str:
    """What a router does with production traffic, for people."""
    preview = [f"the preview to {routing.preview}, which serves"] if routing.preview in routing.serving else []
    return routing.strange or ", ".join(preview + [f"{share} % to {e}" for e, share in routing.shares.items() if share]) or "nothing is served"


def apart(routing: Routing, other: Routing) -> str:
    """The same, with the addresses where another routing has the same words for it."""
    if words(routing) != words(other):
        return words(routing)
    where = [f"{share} % to {e} at {', '.join(map(str, sorted(routing.targets.get(e, ())))) or 'no address'}" for e, share in routing.led.items()]
    return " and ".join(where) or words(routing)


def _shares(routing: Routing | None) -> dict[str, int]:
    return {str(e): s for e, s in routing.shares.items()} if routing else {}


def _engine(access: Access, service: Service) -> dict[str, Any]:
    held = service.holder
    driving = held if held is not None and held.alive else None
    return {
        "watches": access.watched,
        "hung": access.hung,
        "pid": driving.pid if driving else None,
        "host": driving.host if driving else None,
        "version": driving.version if driving else None,
    }


def _environments(
    access: Access, running: Any, providers: Providers, routing: Routing | None, looks: Mapping[Environment, Health | PortError]
) -> dict[str, Any]:
    traffic = providers.router.traffic() if routing is not None else {}
    told: dict[str, Any] = {}
    for environment, runs in sorted(running.items()):
        counted, look = traffic.get(environment), looks.get(environment)
        told[str(environment)] = {
            "version": runs.version or _version(access, environment),
            "alive": runs.alive,
            "wanted": runs.replicas,
            "stopping": runs.stopping,
            "ready": look.ready if isinstance(look, Health) else None,
            "unwell": runs.damaged or (None if look is None else _unwell(look) or None),
            "targets": [str(t) for t in runs.targets],
            "requests": counted.requests if counted else None,
            "errors": counted.errors if counted else None,
            "open": counted.open if counted else None,
        }
    return told


def serving(picture: dict[str, Any]) -> str:
    """What serves, behind the name of the service."""
    active = picture["active"]
    if not picture["up"]:
        return f" is down{', ' + active['version'] + ' would serve' if active else ''}; `bleen up` starts it"
    if not picture["router"]["listens"]:
        return f": NOBODY ANSWERS on {picture['router']['listen']}{', ' + active['version'] + ' should' if active else ''}; {picture['drift']}"
    if not picture["router"]["answers"]:
        return f": the router does not answer, so what serves is not known{'; last seen: ' + active['version'] if active else ''}"
    if not active and picture["router"]["unknown"]:
        return f": what is served cannot be told: {picture['router']['unknown']}"
    if not active:
        return f": nothing is {'served' if picture['release'] else 'released'}; the listener answers 503"
    each = picture["environments"].get(f"{active['environment']}-{active['release']}")
    unwell = f", and is NOT WELL: {each['ready']} of {each['wanted']} are ready" if each and each["unwell"] else ""
    if each and each["unwell"] and each["ready"] is None:
        unwell = ", and how it is cannot be told"
    if each is None:
        unwell = f", and is NOT WELL: nothing of it is there any more; `bleen deploy {active['version']} --again` starts it again"
    share = picture["router"]["shares"].get(f"{active['environment']}-{active['release']}", 100)
    return f": {active['version']} serves from {active['environment']}{'' if share == 100 else f' with {share} % of the traffic'}{unwell}"


def _waits(pending: dict[str, Any], service: str) -> str:
    """What a contract waits for: what the journal tells now, and what the database told when it was asked; or whose it is."""
    if (owner := pending.get("service", "")) not in ("", service):
        return f"for {owner} to contract"
    asked = f"waited {_asked(pending['asked'])} for" if "asked" in pending else "waits for"
    few, more = pending["waits"][:_FEW], len(pending["waits"]) - _FEW
    then = f"{asked}: {'; '.join(few)}{f'; and {more} more, `bleen migrate status` tells them' if more > 0 else ''}" if few else ""
    now = f"waits for: {pending['window']}" if pending["window"] else ""
    opened = "" if now or then else DOES
    failed = f"the last time it failed: {pending['failed']}" if pending.get("failed") else ""
    return "; ".join(filter(None, [now, then, opened, failed]))


def _lacking(access: Access, there: Collection[Environment]) -> list[str]:
    """What the database lacked of what is still there when it was last asked; a line for each version."""
    lacking = [each for each in access.service.pending if each["since"] is None]
    ships = {name for environment in there if lacking and (release := access.release_of(environment)) for name in release.plan.ships}
    return [*dict.fromkeys(f"{each['waits'][0]} (asked {_asked(each['asked'])})" for each in lacking if each["migration"] in ships)]


def _asked(at: float) -> str:
    """When the database was asked."""
    return f"{show.span(clock.wall() - at)} ago"


def lines(picture: dict[str, Any]) -> list[str]:
    """The picture in words."""
    release, back, engine = picture["release"], picture["rollback"], picture["engine"]
    said = [f"{picture['service']}{serving(picture)}"]
    for name, each in picture["environments"].items():
        counted = f", {each['requests']} requests, {each['errors']} errors, {each['open']} open" if each["requests"] is not None else ""
        share = f", {picture['router']['shares'].get(name, 0)} %" if picture["router"]["answers"] else ""
        runs = f"stopping, {each['alive']} left" if each["stopping"] else f"{each['alive']} of {each['wanted']} run"
        said.append(f"  {name:10} {each['version'] or '?':12} {runs}{share}{counted}")
        if each["unwell"]:
            said.append(f"    not well: {each['unwell']}")
    if release:
        said.append(f"release {release['number']} ({release['version']}): {release['phase']}{', HALTED' if release['halted'] else ''}")
        if release["halted"]:
            said.append(f"  {release['halted']}")
        elif release["waiting"]["why"]:
            left = release["waiting"]["seconds"]
            said.append(f"  waits for {release['waiting']['why']}" + (f", {show.span(left)} at the most" if left is not None else ""))
            if release["approved"] and release["phase"] == Phase.AWAITING_PROMOTION:
                said.append("  is approved: it moves users as soon as that is there; `bleen abort` ends it")
    but = f"; {back['reason']}" if back["reason"] else ""
    said.append(f"rollback: ready, to {back['to']}{but}" if back["ready"] else f"rollback: not ready: {back['reason']}")
    if picture["drift"] and picture["router"]["listens"]:  # else it has been said first
        said.append(f"DRIFT: {picture['drift']}; `bleen up --apply` undoes it" if picture["router"]["answers"] else picture["drift"])
    if picture["router"]["certificate"]:
        goes_on = "the router goes on with the one that it has: " if picture["router"]["answers"] else ""
        said.append(f"CERTIFICATE: {goes_on}{picture['router']['certificate']}")
    said += [f"DATABASE: {each}" for each in picture["lacking"]]
    if picture["pending"]:
        said.append("pending contracts:")
        for each in picture["pending"]:
            said.append(f"  {each['migration']}, expanded {show.span(clock.wall() - each['since'])} ago, {_waits(each, picture['service'])}")
    if engine["hung"]:
        pid = f" (pid {engine['pid']})" if engine["pid"] else ""
        said.append(f"nobody watches: the engine{pid} is alive and does not answer; `bleen up` starts another")
    elif not engine["watches"] and picture["up"]:
        said.append("nobody watches: no resident engine runs; `bleen up` starts one")
    return said
