"""HAProxy 2.6 and later as a router: a process of our own, moved by its stats socket, without a reload.

A switch is one ``set map``: HAProxy looks the way up for every request, so the next one already takes the new way, and no connection is cut. The targets of
an environment are servers that are added and deleted while it runs. What we know we ask of the running proxy each time (``show map``, ``show servers
state``); the files beside it are written after each effect from what it then answers, and are read only to start it again.

::

    PLACE/haproxy.cfg  routes.map      what it is started with
    PLACE/haproxy.sock                 where it is asked and told; for its owner only
    PLACE/haproxy.json  haproxy.log    its record and its output, see ``host.launch``
    PLACE/certificate.pem              what it shows; see ``certificate``
    PLACE/ending                       which process was asked to end, and since when
"""

import os
import re
import signal
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bleen.errors import Refused, Unavailable
from bleen.host import launch, logs
from bleen.host.clock import since_boot
from bleen.host.files import Fence, Reserve, in_words, text_of, write_durably
from bleen.host.launch import Program
from bleen.host.listening import require_free
from bleen.host.processes import Process
from bleen.model import Environment, NotYet, Routing, Target, Traffic
from bleen.plan import Listener, Probe
from bleen.providers.routers import haproxy_config as config
from bleen.providers.routers.certificate import Certificate
from bleen.providers.routers.haproxy_config import BERTHS, PATIENCE, Server, Settings, Way
from bleen.providers.routers.haproxy_runtime import ANSWER, Live, Runtime, Seen, shares_in_words
from bleen.providers.routers.unanswering import Proxy

OLDEST = (2, 6)
"""The version that this is written for."""

_GRACE = 3.0
"""Seconds that requests in flight get when HAProxy is to end."""
_LOG = 4 << 20
"""Bytes that its output may take, and as many of what was before it."""


class Found(NamedTuple):
    """A haproxy of this host."""

    path: str
    version: str
    """What it says that it is, such as 2.6.12-1; empty if it does not say."""
    to_do: str
    """What is to be done about that; empty for one that is new enough."""


class HAProxy:
    """One HAProxy for one service. ``place`` is a directory of its own; ``asked`` is how the targets of an environment are."""

    def __init__(self, place: Path, fence: Fence, reserve: Reserve, listener: Listener, asked: Callable[[Environment], Probe]) -> None:
        self._place, self._fence, self._reserve = place, fence, reserve
        self._certificate = Certificate(place, listener.tls) if listener.tls else None
        self._settings = Settings(listener, asked)
        self._record, self._log, self._ending = place / "haproxy.json", place / "haproxy.log", place / "ending"
        self._runtime = Runtime(place, Proxy(self._record, listener.listen, listener.preview))

    def routing(self) -> Routing:
        return self._runtime.look().routing

    def prepare(self, wanted: Routing, epoch: int) -> NotYet | None:
        """As the port says. An environment without traffic then has the targets named and no others; one that serves keeps those that it has."""
        with self._fence.passing(epoch):
            seen = self._runtime.look()
            berths = _allotted(seen, wanted.targets, self._settings.asked)
            preview = _way({wanted.preview: 100} if wanted.preview else {}, {**seen.targets, **wanted.targets}, berths)
            commands = [c for e, targets in wanted.targets.items() for c in self._completion(seen, e, berths[e], targets)]
            self._remember(self._runtime.tell([*commands, seen.entry("preview", str(preview))]))
        return None

    def route(self, wanted: Routing, epoch: int) -> None:
        """As the port says. First in the running proxy, then in the file: what users see must not wait for a full disk."""
        with self._fence.passing(epoch):
            seen = self._runtime.look()
            for environment in (e for e, share in wanted.shares.items() if share):
                if missing := set(wanted.targets.get(environment, ())) - set(seen.targets.get(environment, ())):
                    raise Refused(f"HAProxy does not know {' and '.join(sorted(map(str, missing)))} of {environment}: prepare it first")
            way = _way(wanted.shares, {**seen.targets, **{e: t for e, t in wanted.targets.items() if not t}}, seen.berths)
            strangers = [s for s in seen.servers if s.environment is None and not s.leaving]
            opening = [f"enable frontend {name}" for name, for_good in seen.closed.items() if not for_good]
            now = self._runtime.tell([*opening, *_taking_out(strangers), seen.entry("production", str(way))])
            self._write_map(now.remembered, now.ways)  # the servers are as they were

    def served(self, wanted: Routing, elapsed: float) -> NotYet | None:
        """The map in the running proxy is what every thread of it looks the next request up in: what it says is served."""
        seen = self._runtime.look()
        shares, trouble = seen.shares_of("production")
        if seen.closed.get("production"):
            raise Refused("HAProxy's production listener was shut down by hand, for good: `bleen up --apply` starts it anew")
        if "production" in seen.closed:
            return NotYet("HAProxy to listen again: its production listener was closed by hand")
        if trouble or shares != wanted.led:
            return NotYet(f"HAProxy, which still serves {shares_in_words(shares)}{''.join(f', and {t}' for t in trouble)}")
        for environment in shares:
            if not set(wanted.targets.get(environment, ())) <= set(seen.targets[environment]):
                return NotYet(f"HAProxy to know every target of {environment}")
        return None

    def drained(self, environment: Environment, elapsed: float) -> NotYet | None:
        """Two looks, so that a request between the map and its berth is not overlooked."""
        for _ in range(2):
            seen = self._runtime.look()
            if environment in seen.shares_of("production")[0]:
                return NotYet(f"{environment} to lose its share of the traffic")
            if open := self._runtime.counted(seen).get(environment, Traffic(0, 0, 0)).open:
                return NotYet(f"requests in flight to {environment} to end: {open} left")
            time.sleep(0.002)
        return None

    def settle(self, wanted: Routing, epoch: int) -> None:
        """As the port says. A server that still has requests in flight takes no new ones, and is deleted by a later effect."""
        with self._fence.passing(epoch):
            seen = self._runtime.look()
            if (unknown := seen.routing.unknown) and not seen.targets.keys() <= wanted.targets.keys():
                raise Refused(f"nothing is forgotten while HAProxy does what is not ours: {unknown}")
            serving = seen.shares_of("production")[0]
            kept = {e: set(t) for e, t in seen.targets.items() if e in serving or e in wanted.targets}
            for environment in kept:
                if named := kept[environment] & set(wanted.targets.get(environment, ())):
                    kept[environment] = named
            preview = _way({wanted.preview: 100} if wanted.preview else {}, kept, seen.berths)
            stays = {(e, target) for known in (kept, wanted.targets) for e in known for target in known[e]}  # those included that are out of service by hand
            going = [s for s in seen.servers if s.environment and not s.leaving and (s.environment, s.target) not in stays]
            self._remember(self._runtime.tell([seen.entry("preview", str(preview)), *_taking_out(going)]))

    def traffic(self) -> Mapping[Environment, Traffic]:
        """Environments that are leaving are told of as long as requests are in flight to them."""
        seen = self._runtime.look()
        return {e: t for e, t in self._runtime.counted(seen).items() if e in seen.targets or t.open}

    def up(self, routing: Routing, epoch: int) -> NotYet | None:
        with self._fence.passing(epoch):
            process = launch.recorded(self._record)
            if process and process.alive and self._asked_to_end(process) is not None:
                return self._end(process) or NotYet("HAProxy to start, as the one before has ended")
            running = process if process and process.alive else None
            seen = self._answering(running or self._start(routing))
            waiting = seen if isinstance(seen, NotYet) else None
            if running is None:
                waiting = waiting or NotYet("HAProxy, which was not running and has been started", 0.0)
            elif isinstance(seen, Seen):
                self._keep_in_step(seen, routing.led)
            self._bound_log()
            if waiting is None and self._certificate:
                self._certificate.renew(self._settings.listener.listen, self._give_certificate, self._keep)
            return waiting

    def down(self, epoch: int) -> NotYet | None:
        """As the port says. Requests in flight get three seconds."""
        with self._fence.passing(epoch):
            process = launch.recorded(self._record)
            waiting = self._end(process) if process and process.alive else None
            if waiting is None:
                self._forget_its_ending()
            return waiting

    def _completion(self, seen: Seen, environment: Environment, berth: str, targets: Sequence[Target]) -> list[str]:
        """What makes these the targets of an environment, all of them in service."""
        there = {s.id: s for s in seen.of(environment)}
        commands = [] if there and berth in seen.ways else [seen.entry(berth, config.path(self._settings, environment))]
        for target in targets:
            server = Server(berth, environment, target)
            for id, text in zip(server.ids, config.words(server, self._settings), strict=True):
                found = there.get(id)
                if found is None:
                    commands.append(f"add server {id} {text}")
                elif found.target != target:
                    commands.append(f"set server {id} addr {target.host} port {target.port}")
                elif not (found.admin or found.weight != found.normal):
                    continue
                commands.append(f"set server {id} weight 100%")
                if id == server.ids[0]:
                    commands.append(f"enable health {id}")
                commands.append(f"set server {id} state ready")
        shares, trouble = seen.shares_of("production")
        if environment not in shares and not trouble:
            commands += _taking_out(s for s in there.values() if not s.leaving and s.target not in targets)
        return commands

    def _remember(self, seen: Seen) -> None:
        """Deletes what has left, and writes down what the running proxy does, for one that starts again. Raises Unavailable if the disk is full."""
        if leaving := [s for s in seen.servers if s.leaving]:
            self._runtime.delete(leaving)
        self._write(seen.remembered, seen.ways)

    def _write(self, servers: Collection[Server], ways: Mapping[str, str]) -> None:
        self._keep_changed(self._place / config.CONFIG, config.render(self._settings, servers))
        self._write_map(servers, ways)

    def _write_map(self, servers: Collection[Server], ways: Mapping[str, str]) -> None:
        self._keep_changed(self._place / config.MAP, config.render_map(self._settings, servers, ways))

    def _keep_changed(self, path: Path, text: str) -> None:
        if text_of(path) != text:
            self._keep(path, text)

    def _keep(self, path: Path, text: str) -> None:
        try:
            self._reserve.within(partial(write_durably, path, text))
        except OSError as error:
            raise Unavailable(f"{path} cannot be written: {in_words(error)}; what HAProxy does would not survive a restart of it") from error

    def _give_certificate(self, pem: str) -> None:
        assert self._certificate
        self._runtime.give_certificate(pem, self._certificate.chain)

    # Its life

    def _memory(self) -> tuple[list[Server], dict[str, str]] | None:
        """What it would start with; None if its files are not there, or are not ours any more: a way that leads to nobody answers 503 to everybody."""
        try:
            servers = config.read_servers(text_of(self._place / config.CONFIG) or "")
            ways = config.read_map(text_of(self._place / config.MAP) or "")
        except (ValueError, LookupError):
            return None
        return None if _started_with(servers, ways).strange else (servers, ways)

    def _start(self, routing: Routing) -> Process:
        """Starts it from its memory, or from ``routing`` if it has none. Raises Refused if it could not listen."""
        binary = installed()
        if binary is None:
            raise Refused("there is no haproxy on PATH: install it (Debian: apt-get install haproxy), or choose another router")
        for address in (self._settings.listener.listen, self._settings.listener.preview):
            require_free(address)
        servers, ways = self._memory() or _from_nothing(routing, self._settings.asked)
        targets = _started_with(servers, ways).moved(routing.targets).targets
        servers = [Server(berth, e, target) for e, berth in {s.environment: s.berth for s in servers}.items() for target in targets[e]]
        if self._certificate:
            self._certificate.begin(self._keep)
        self._write(servers, ways)
        self._forget_its_ending()
        program = Program([binary, "-q", "-db", "-f", config.CONFIG], str(self._place), {"PATH": os.environ.get("PATH", os.defpath)}, str(self._log))
        try:
            return self._reserve.within(lambda: launch.launch(program, self._record))
        except OSError as error:
            raise Unavailable(f"HAProxy cannot be started: {error}") from None

    def _keep_in_step(self, seen: Seen, confirmed: Mapping[Environment, int]) -> None:
        """Writes down where production goes, if somebody else has led it there and that is confirmed by now: a start would lead it back."""
        if f"production {seen.ways.get('production')}\n" in (text_of(self._place / config.MAP) or "") or seen.shares_of("production") != (confirmed, []):
            return
        if memory := self._memory():
            self._write_map(memory[0], {**memory[1], "production": seen.ways["production"]})

    def _answering(self, process: Process) -> NotYet | Seen:
        """What it says. Waits a moment for one that was just started: its socket answers once all listeners are bound. Raises Refused if that has found fault
        with its configuration: whoever waits to be served waits for no check before the start.
        """
        deadline = time.monotonic() + ANSWER
        while True:
            try:
                return self._runtime.look()
            except Unavailable:
                if not process.alive:
                    _must_be_sound(installed() or "haproxy", self._place)
                    shown = f"`cd {self._place} && haproxy -db -f {config.CONFIG}` shows why"
                    raise Unavailable(f"HAProxy ended as soon as it was started: {shown}") from None
                if process.stopped:
                    raise
                if time.monotonic() >= deadline:
                    return NotYet(f"HAProxy (pid {process.pid}) to start")
            time.sleep(0.005)

    def _bound_log(self) -> None:
        try:
            logs.rotate(self._log, _LOG)
        except OSError as error:
            raise Unavailable(f"{self._log} cannot be cut: {error.strerror}") from None

    def _end(self, process: Process) -> NotYet | None:
        """Listens no more at once; three seconds for requests in flight; then TERM, and KILL for one that hangs."""
        since = self._asked_to_end(process)
        if since is None:
            since = since_boot()
            self._keep(self._ending, f"{process.pid} {process.start} {since}")
        waited = since_boot() - since
        number = signal.SIGUSR1 if waited < _GRACE else signal.SIGTERM if waited < _GRACE + 2 else signal.SIGKILL
        if launch.end(self._record, number):
            return None
        return NotYet(f"HAProxy (pid {process.pid}) to end; requests in flight get {_GRACE:g} s", 0.05)

    def _forget_its_ending(self) -> None:
        with suppress(IsADirectoryError):  # which says nothing of any ending
            self._ending.unlink(missing_ok=True)

    def _asked_to_end(self, process: Process) -> float | None:
        """When this process was asked to end, since boot."""
        try:
            pid, start, at = (text_of(self._ending) or "").split()
            return float(at) if (int(pid), int(start)) == (process.pid, process.start) else None
        except ValueError:  # nobody was, or it is not as we wrote it
            return None


def installed() -> str | None:
    """Where haproxy is installed; None if it is not. A user's PATH often leaves out where Debian puts it."""
    import shutil  # only here: nothing of it on the way of a rollback

    return shutil.which("haproxy", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin")))


def found() -> Found | None:
    """The one that is installed; None if there is none."""
    binary = installed()
    if binary is None:
        return None
    version = _version(binary)
    number = re.match(r"(\d+)\.(\d+)", version)
    good = number is not None and (int(number[1]), int(number[2])) >= OLDEST
    return Found(binary, version, "" if good else f"install HAProxy {OLDEST[0]}.{OLDEST[1]} or later, or remove it: envoy: in bleen.yaml needs none")


def _version(binary: str) -> str:
    import subprocess  # as above

    try:
        said = subprocess.run([binary, "-v"], capture_output=True, text=True, errors="replace", timeout=5, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return "".join(said.partition("version ")[2].split()[:1])


def _allotted(seen: Seen, environments: Iterable[Environment], asked: Callable[[Environment], Probe]) -> dict[Environment, str]:
    """A berth for each: its own, or the free one where checks may take as long as they are to, or else longer, or else the longest.

    Raises Unavailable if there is none, which a request that ends may change.
    """
    berths, free = seen.berths, seen.free
    for environment in environments:
        if environment not in berths:
            if not free:
                raise Unavailable(f"HAProxy has no room for {environment}: requests are still in flight to {', '.join(map(str, berths))}")
            patience = asked(environment).patience
            berths[environment] = min(free, key=lambda berth: (PATIENCE[berth] < patience, abs(PATIENCE[berth] - patience)))
            free.remove(berths[environment])
    return berths


def _way(shares: Mapping[Environment, int], known: Mapping[Environment, Collection[Target]], berths: Mapping[Environment, str]) -> Way:
    """Raises Refused for shares that cannot be given: HAProxy would answer 503 without a word."""
    given = {e: s for e, s in shares.items() if s}
    for environment in given:
        if not known.get(environment):
            raise Refused(f"HAProxy has no targets for {environment}; it knows {', '.join(sorted(str(e) for e in known if known[e])) or 'none'}")
    if given and (sum(given.values()) != 100 or min(given.values()) < 0 or len(given) > 2):
        raise Refused(f"HAProxy cannot serve {shares_in_words(given)}: at most two shares that add up to 100")
    ordered = sorted(given)
    if not ordered:
        return Way()
    return Way(berths[ordered[0]], given[ordered[0]], berths[ordered[1]] if len(ordered) > 1 else config.NOBODY)


def _taking_out(servers: Iterable[Live]) -> list[str]:
    return [c for s in servers for c in (f"set server {s.id} weight 0", f"set server {s.id} state maint")]


def _from_nothing(routing: Routing, asked: Callable[[Environment], Probe]) -> tuple[list[Server], dict[str, str]]:
    """The servers and the ways for a proxy that has no memory."""
    berths = _allotted(Seen(dict.fromkeys(BERTHS, ""), ()), routing.targets, asked)
    servers = [Server(berths[e], e, target) for e, targets in routing.targets.items() for target in targets]
    preview = {routing.preview: 100} if routing.preview else {}
    return servers, {at: str(_way(shares, routing.targets, berths)) for at, shares in (("production", routing.shares), ("preview", preview))}


def _started_with(servers: Iterable[Server], ways: Mapping[str, str]) -> Routing:
    """What a proxy does that is started with these."""
    return Seen(ways, tuple(Live(s.berth, s.name, s.target, 0, 1, 1, s.environment) for s in servers)).routing


def _must_be_sound(binary: str, place: Path) -> None:
    """Raises Refused with the first things that HAProxy finds wrong with its configuration."""
    import subprocess  # only here: nothing of it on the way of a rollback

    try:
        found = subprocess.run([binary, "-c", "-f", config.CONFIG], cwd=place, capture_output=True, text=True, errors="replace", timeout=5, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{binary} takes more than 5 s to check its configuration") from None
    if found.returncode != 0:
        alerts = [line.split(" : ", 1)[-1] for line in found.stderr.splitlines() if line.startswith("[ALERT]")]
        raise Refused(f"{binary} refuses {place / config.CONFIG}: {' '.join(alerts[:2]) or found.stderr.strip()[-300:]}")
