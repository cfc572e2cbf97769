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

import errno
import os
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bleen.errors import Refused, Unavailable
from bleen.host import launch, logs
from bleen.host.clock import since_boot
from bleen.host.files import Fence, Reserve, in_words, text_of, write_durably
from bleen.host.launch import Program
from bleen.host.processes import Process
from bleen.model import Environment, NotYet, Routing, Target, Traffic
from bleen.plan import Listener, Probe
from bleen.providers.routers import haproxy_config as config
from bleen.providers.routers import unanswering
from bleen.providers.routers.certificate import Certificate
from bleen.providers.routers.haproxy_config import BERTHS, PATIENCE, Server, Settings, Way
from bleen.providers.routers.listening import require_free

OLDEST = (2, 6)
"""The version that this is written for."""

_ANSWER = 2.0
"""Seconds that HAProxy may take to answer; it usually takes 0.1 ms."""
_GRACE = 3.0
"""Seconds that requests in flight get when HAProxy is to end."""
_LOG = 4 << 20
"""Bytes that its output may take, and as many of what was before it."""
_COMMANDS = 40
"""In one breath on the socket; they must fit into one buffer (tune.bufsize)."""
_LONGEST_PEM = 60_000
"""Bytes; with the command they must fit into one buffer, too."""
_QUIET = {"", "1", "New server registered."}
_DONE = "by 'stats socket command'"
"""What HAProxy answers when all is well: 1 is the format of what follows, and a change of address is told at length."""


class _Live(NamedTuple):
    """A server as the running proxy has it (management guide, 9.3, "show servers state")."""

    backend: str
    name: str
    target: Target
    admin: int
    """0 in service; 0x01 maintenance, 0x08 draining, and so on."""
    weight: int
    normal: int
    """The weight that it was configured with."""
    environment: Environment | None
    """None if its name is not of our making."""

    @property
    def id(self) -> str:
        return f"{self.backend}/{self.name}"

    @property
    def berth(self) -> str:
        return self.backend.removesuffix(config.BACKUP)

    @property
    def backup(self) -> bool:
        return self.backend.endswith(config.BACKUP)

    @property
    def leaving(self) -> bool:
        """Taken out by us: in maintenance, and of no weight. One that somebody else put in maintenance has its weight."""
        return bool(self.admin & 1) and self.weight == 0

    @property
    def strays(self) -> str:
        """Where it leads users that is not ours, in words; empty if it does not."""
        if self.leaving:
            return ""
        if self.environment is None:
            return f"the server {self.id} is not ours"
        ours = Server(self.berth, self.environment, self.target)
        return "" if self.id in ours.ids else f"{self.id} was led to {self.target} by hand"

    @property
    def trouble(self) -> str:
        """What somebody else did to it; empty for all that we do."""
        if self.environment and not self.leaving and (self.admin or self.weight != self.normal):
            return f"{self.id} was taken out of service or given another weight by hand"
        return self.strays


class _Seen(NamedTuple):
    """What the running proxy says at one moment."""

    ways: Mapping[str, str]
    """The map: the way of each listener, and the path by which each berth is checked."""
    servers: tuple[_Live, ...]
    closed: Mapping[str, bool] = {}
    """The listeners that somebody has closed; whether for good (management guide, 9.3, "disable frontend", "shutdown frontend")."""

    def entry(self, key: str, value: str) -> str:
        """The command that gives an entry of the map this value, whether or not somebody has deleted it."""
        return f"{'set' if key in self.ways else 'add'} map {config.MAP} {key} {config.escaped(value)}"

    def of(self, environment: Environment) -> list[_Live]:
        return [s for s in self.servers if s.environment == environment]

    def berth(self, environment: Environment) -> str | None:
        """Where an environment is, those included that are leaving."""
        return next((s.berth for s in self.of(environment)), None)

    @property
    def free(self) -> list[str]:
        """The berths that hold nobody. Each is in the map; the first eight are there in any case."""
        taken = {s.berth for s in self.servers}
        return [b for b in BERTHS if b not in taken and (b in self.ways or b in BERTHS[:8])]

    @property
    def remembered(self) -> list[Server]:
        """The servers that one that starts again is to have."""
        return [Server(s.berth, s.environment, s.target) for s in self.servers if s.environment and not s.backup and not s.admin]

    @property
    def targets(self) -> dict[Environment, tuple[Target, ...]]:
        """The environments that requests can be sent to."""
        found: dict[Environment, tuple[Target, ...]] = {}
        for s in self.servers:
            if s.environment and not s.backup and not s.admin:
                found[s.environment] = (*found.get(s.environment, ()), s.target)
        return found

    def _led_berths(self, listener: str) -> set[str]:
        with suppress(KeyError, ValueError):
            return {*Way.parse(self.ways[listener]).shares}
        return set()

    def led(self, listener: str) -> tuple[dict[Environment, int], list[str]]:
        """The shares of a listener, and what of them cannot be said in our words."""
        shares: dict[Environment, int] = {}
        trouble = []
        try:
            berths = Way.parse(self.ways[listener]).shares
        except (KeyError, ValueError):
            return {}, [f"{listener} is led to {self.ways.get(listener)!r}, which is not of our making"]
        known = self.targets
        for berth, share in berths.items():
            there = {e for e in known if self.berth(e) == berth}
            if len(there) == 1:
                shares[there.pop()] = share
            else:
                trouble.append(f"{listener} is led to {berth}, where {' and '.join(sorted(map(str, there))) or 'nobody'} is")
        return shares, trouble

    @property
    def routing(self) -> Routing:
        shares, unknown = self.led("production")
        preview, amiss = self.led("preview")
        serve = self._led_berths("production")
        astray = [s for s in self.servers if s.strays and s.berth in serve and not (s.environment and s.admin)]
        unknown += [s.trouble for s in astray]
        ours = {s.berth for s in self.servers if s.environment} | self._led_berths("preview")
        amiss += [s.trouble for s in self.servers if s.trouble and s.berth in ours and s not in astray]
        amiss += [f"the {name} listener was {'shut down by hand, for good' if for_good else 'closed by hand'}" for name, for_good in self.closed.items()]
        if len(preview) > 1:
            amiss.append("the preview is led to two environments")
        return Routing(shares, next(iter(preview), None), self.targets, "; ".join(unknown), "; ".join(amiss))


class HAProxy:
    """One HAProxy for one service. ``place`` is a directory of its own; ``asked`` is how the targets of an environment are."""

    def __init__(self, place: Path, fence: Fence, reserve: Reserve, listener: Listener, asked: Callable[[Environment], Probe]) -> None:
        self._place, self._fence, self._reserve = place, fence, reserve
        self._certificate = Certificate(place, listener.tls) if listener.tls else None
        self._settings = Settings(listener, asked)
        self._record, self._log, self._ending = place / "haproxy.json", place / "haproxy.log", place / "ending"
        self._proxy = unanswering.Proxy(self._record, listener.listen, listener.preview)

    def routing(self) -> Routing:
        return self._look().routing

    def prepare(self, wanted: Routing, epoch: int) -> NotYet | None:
        """As the port says. An environment without traffic then has the targets named and no others; one that serves keeps those that it has."""
        with self._fence.passing(epoch):
            seen = self._look()
            berths = _allotted(seen, wanted.targets, self._settings.asked)
            preview = _way({wanted.preview: 100} if wanted.preview else {}, {**seen.targets, **wanted.targets}, berths)
            commands = [c for e, targets in wanted.targets.items() for c in self._completion(seen, e, berths[e], targets)]
            self._remember(self._tell([*commands, seen.entry("preview", str(preview))]))
        return None

    def route(self, wanted: Routing, epoch: int) -> None:
        """As the port says. First in the running proxy, then in the file: what users see must not wait for a full disk."""
        with self._fence.passing(epoch):
            seen = self._look()
            for environment in (e for e, share in wanted.shares.items() if share):
                if missing := set(wanted.targets.get(environment, ())) - set(seen.targets.get(environment, ())):
                    raise Refused(f"HAProxy does not know {' and '.join(sorted(map(str, missing)))} of {environment}: prepare it first")
            way = _way(wanted.shares, {**seen.targets, **{e: t for e, t in wanted.targets.items() if not t}}, _berths(seen))
            strangers = [s for s in seen.servers if s.environment is None and not s.leaving]
            opening = [f"enable frontend {name}" for name, for_good in seen.closed.items() if not for_good]
            now = self._tell([*opening, *_taking_out(strangers), seen.entry("production", str(way))])
            self._write_map(now.remembered, now.ways)  # the servers are as they were

    def served(self, wanted: Routing, elapsed: float) -> NotYet | None:
        """The map in the running proxy is what every thread of it looks the next request up in: what it says is served."""
        seen = self._look()
        shares, trouble = seen.led("production")
        if seen.closed.get("production"):
            raise Refused("HAProxy's production listener was shut down by hand, for good: `bleen down` and `bleen up` open it again")
        if "production" in seen.closed:
            return NotYet("HAProxy to listen again: its production listener was closed by hand")
        if trouble or shares != wanted.led:
            return NotYet(f"HAProxy, which still serves {_in_words(shares)}{''.join(f', and {t}' for t in trouble)}")
        for environment in shares:
            if not set(wanted.targets.get(environment, ())) <= set(seen.targets[environment]):
                return NotYet(f"HAProxy to know every target of {environment}")
        return None

    def drained(self, environment: Environment, elapsed: float) -> NotYet | None:
        """Two looks, so that a request between the map and its berth is not overlooked."""
        for _ in range(2):
            seen = self._look()
            if environment in seen.led("production")[0]:
                return NotYet(f"{environment} to lose its share of the traffic")
            if open := self._counted(seen).get(environment, Traffic(0, 0, 0)).open:
                return NotYet(f"requests in flight to {environment} to end: {open} left")
            time.sleep(0.002)
        return None

    def settle(self, wanted: Routing, epoch: int) -> None:
        """As the port says. A server that still has requests in flight takes no new ones, and is deleted by a later effect."""
        with self._fence.passing(epoch):
            seen = self._look()
            serving = seen.led("production")[0]
            kept = {e: set(t) for e, t in seen.targets.items() if e in serving or e in wanted.targets}
            for environment in kept:
                if named := kept[environment] & set(wanted.targets.get(environment, ())):
                    kept[environment] = named
            preview = _way({wanted.preview: 100} if wanted.preview else {}, kept, _berths(seen))
            stays = {(e, target) for known in (kept, wanted.targets) for e in known for target in known[e]}  # those included that are out of service by hand
            going = [s for s in seen.servers if s.environment and not s.leaving and (s.environment, s.target) not in stays]
            self._remember(self._tell([seen.entry("preview", str(preview)), *_taking_out(going)]))

    def traffic(self) -> Mapping[Environment, Traffic]:
        """Environments that are leaving are told of as long as requests are in flight to them."""
        seen = self._look()
        return {e: t for e, t in self._counted(seen).items() if e in seen.targets or t.open}

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
            elif isinstance(seen, _Seen):
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

    # What it says

    def _look(self) -> _Seen:
        """The ways and the servers of the running proxy. Raises Unavailable if it does not answer, or not with these."""
        return self._tell([])

    def _counted(self, seen: _Seen) -> dict[Environment, Traffic]:
        """The counters of every environment that has a server (management guide, 9.1). In flight is what its berth has: requests that wait are counted."""
        answer = self._ask(["show stat -1 6 -1"])
        if not answer.endswith("\n\n"):
            raise Unavailable(f"HAProxy in {self._place} ended before it had answered")
        lines = answer.splitlines()
        names = lines[0].removeprefix("# ").split(",")
        held = tuple(f"{s.backend}," for s in seen.servers)
        rows = [dict(zip(names, line.split(","), strict=False)) for line in lines if line.startswith(held)]
        open = {row["pxname"]: int(row["scur"]) + int(row["qcur"]) for row in rows if row["svname"] == "BACKEND"}
        whose = {(s.backend, s.name): s.environment for s in seen.servers if s.environment}
        found = {s.environment: Traffic(0, 0, open.get(s.berth, 0) + open.get(s.berth + config.BACKUP, 0)) for s in seen.servers if s.environment}
        for row in rows:
            if environment := whose.get((row["pxname"], row["svname"])):
                was = found[environment]
                errors = sum(int(row[column] or 0) for column in ("hrsp_5xx", "econ", "eresp"))
                found[environment] = was._replace(requests=was.requests + int(row["stot"]), errors=was.errors + errors)
        return found

    # What it is told

    def _completion(self, seen: _Seen, environment: Environment, berth: str, targets: Sequence[Target]) -> list[str]:
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
        if environment not in seen.led("production")[0]:
            commands += _taking_out(s for s in there.values() if not s.leaving and s.target not in targets)
        return commands

    def _tell(self, commands: Sequence[str]) -> _Seen:
        """What the running proxy says after these commands. Raises Refused with what it finds wrong with them, Unavailable if it ended or hangs on the way."""
        at = 0
        while True:
            seen, complaints = _understood(self._ask([*commands[at : at + _COMMANDS], "show stat -1 1 -1", f"show map {config.MAP}", "show servers state"]))
            if complaints:
                raise Refused(f"HAProxy in {self._place} refuses: {' '.join(complaints)[:300]}")
            if seen is None:
                raise Unavailable(f"HAProxy in {self._place} ended before it had answered; what it took over is known when it runs again")
            at += _COMMANDS
            if at >= len(commands):
                return seen

    def _remember(self, seen: _Seen) -> None:
        """Deletes what has left, and writes down what the running proxy does, for one that starts again. Raises Unavailable if the disk is full."""
        if leaving := [s for s in seen.servers if s.leaving]:
            self._ask([f"del server {s.id}" for s in leaving[:_COMMANDS]])  # refused for those with requests in flight: their turn comes later
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

    def _ask(self, commands: Sequence[str]) -> str:
        """Sends a line of commands to the stats socket, and reads all that it answers. Raises Unavailable at once if it does not run, after 2 s if it hangs."""
        deadline = time.monotonic() + _ANSWER
        try:
            with _opened(self._place) as place, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                s.settimeout(_ANSWER)
                s.connect(f"/proc/self/fd/{place}/{config.SOCKET}")
                s.sendall(";".join(commands).encode() + b"\n")
                parts = []
                while part := s.recv(1 << 18):
                    parts.append(part)
                    s.settimeout(max(0.001, deadline - time.monotonic()))
                return b"".join(parts).decode(errors="replace")
        except TimeoutError:
            raise self._silent() from None
        except BlockingIOError:  # nobody takes what is sent to its socket: too many wait there already
            raise self._silent() from None
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise Unavailable(f"HAProxy in {self._place} cannot be asked: {error.strerror}") from None
            process = self._proxy.running()
            said = f"HAProxy (pid {process.pid}) runs but cannot be asked by {config.SOCKET}" if process else "HAProxy is not running"
            raise Unavailable(f"{said} in {self._place} ({error.strerror}): {self._proxy.way(process)}") from None

    def _silent(self) -> Unavailable:
        process = self._proxy.running()
        said = f"HAProxy (pid {process.pid}) runs but has not answered for {_ANSWER:g} s" if process else f"HAProxy in {self._place} does not answer"
        return Unavailable(f"{said}: {self._proxy.way(process)}")

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

    def _keep_in_step(self, seen: _Seen, confirmed: Mapping[Environment, int]) -> None:
        """Writes down where production goes, if somebody else has led it there and that is confirmed by now: a start would lead it back."""
        if f"production {seen.ways.get('production')}\n" in (text_of(self._place / config.MAP) or "") or seen.led("production") != (confirmed, []):
            return
        if memory := self._memory():
            self._write_map(memory[0], {**memory[1], "production": seen.ways["production"]})

    def _answering(self, process: Process) -> NotYet | _Seen:
        """What it says. Waits a moment for one that was just started: its socket answers once all listeners are bound. Raises Refused if that has found fault
        with its configuration: whoever waits to be served waits for no check before the start.
        """
        deadline = time.monotonic() + _ANSWER
        while True:
            try:
                return self._look()
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

    def _give_certificate(self, pem: str) -> None:
        """In a transaction, which nobody sees before it is committed (management guide, 9.3, "set ssl cert"); one that was left in the middle is ended."""
        assert self._certificate
        if len(pem) > _LONGEST_PEM:
            raise Refused(f"{self._certificate.chain} and its key are longer than the {_LONGEST_PEM} bytes that HAProxy takes up while it runs")
        self._ask([f"abort ssl cert {config.CERTIFICATE}", f"set ssl cert {config.CERTIFICATE} <<\n{pem}"])
        answer = self._ask([f"commit ssl cert {config.CERTIFICATE}"])
        if "Success!" not in answer:
            raise Refused(f"HAProxy refuses the certificate {self._certificate.chain}: {' '.join(answer.split())[:300]}")


def installed() -> str | None:
    """Where haproxy is installed; None if it is not. A user's PATH often leaves out where Debian puts it."""
    import shutil  # only here: nothing of it on the way of a rollback

    return shutil.which("haproxy", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin")))


def version(binary: str) -> str:
    """What a haproxy says that it is, such as 2.6.12-1; empty if it does not say."""
    import subprocess  # as above

    try:
        said = subprocess.run([binary, "-v"], capture_output=True, text=True, errors="replace", timeout=5, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return "".join(said.partition("version ")[2].split()[:1])


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    """A directory by a number: by that, the path of a socket in it is short however long its own is (107 bytes at the most, unix(7))."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


def _understood(answer: str) -> tuple[_Seen | None, list[str]]:
    """What the commands of ``_look`` say, None if they were not answered to the end; and the complaints of the commands before them."""
    ways, servers, complaints, columns, frontend, closed = {}, [], [], False, [""], dict[str, bool]()
    for line in answer.splitlines():
        if line.startswith("0x"):
            _, key, value = line.split(maxsplit=2)
            ways[key] = value
        elif columns and len(word := line.split()) > 18:
            servers.append(_live(word))
        elif line.startswith("# pxname,"):
            frontend = line.removeprefix("# ").split(",")
        elif ",FRONTEND," in line:
            row = dict(zip(frontend, line.split(","), strict=False))
            closed |= {row["pxname"]: row["status"] == "STOP"} if row["pxname"] in config.LISTENERS and row["status"] not in ("OPEN", "FULL") else {}
        elif line.startswith("# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight"):
            columns = True
        elif line not in _QUIET and not line.endswith(_DONE):
            complaints.append(line)
    complete = columns and answer.endswith("\n\n")
    return (_Seen(ways, tuple(servers), closed) if complete else None), complaints


def _live(word: Sequence[str]) -> _Live:
    """Reads one line of "show servers state"."""
    environment: Environment | None
    try:
        environment = config.whose(word[3])
    except ValueError:
        environment = None
    return _Live(word[1], word[3], Target(word[4], int(word[18])), int(word[6]), int(word[7]), int(word[8]), environment)


def _berths(seen: _Seen) -> dict[Environment, str]:
    return {s.environment: s.berth for s in seen.servers if s.environment}


def _allotted(seen: _Seen, environments: Iterable[Environment], asked: Callable[[Environment], Probe]) -> dict[Environment, str]:
    """A berth for each: its own, or the free one where checks may take as long as they are to, or else longer, or else the longest.

    Raises Unavailable if there is none, which a request that ends may change.
    """
    berths, free = _berths(seen), seen.free
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
        raise Refused(f"HAProxy cannot serve {_in_words(given)}: at most two shares that add up to 100")
    ordered = sorted(given)
    if not ordered:
        return Way()
    return Way(berths[ordered[0]], given[ordered[0]], berths[ordered[1]] if len(ordered) > 1 else config.NOBODY)


def _taking_out(servers: Iterable[_Live]) -> list[str]:
    return [c for s in servers for c in (f"set server {s.id} weight 0", f"set server {s.id} state maint")]


def _from_nothing(routing: Routing, asked: Callable[[Environment], Probe]) -> tuple[list[Server], dict[str, str]]:
    """The servers and the ways for a proxy that has no memory."""
    berths = _allotted(_Seen(dict.fromkeys(BERTHS, ""), ()), routing.targets, asked)
    servers = [Server(berths[e], e, target) for e, targets in routing.targets.items() for target in targets]
    preview = {routing.preview: 100} if routing.preview else {}
    return servers, {at: str(_way(shares, routing.targets, berths)) for at, shares in (("production", routing.shares), ("preview", preview))}


def _started_with(servers: Iterable[Server], ways: Mapping[str, str]) -> Routing:
    """What a proxy does that is started with these."""
    return _Seen(ways, tuple(_Live(s.berth, s.name, s.target, 0, 1, 1, s.environment) for s in servers)).routing


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


def _in_words(shares: Mapping[Environment, int]) -> str:
    return " and ".join(f"{share} % to {e}" for e, share in sorted(shares.items())) or "nothing"
