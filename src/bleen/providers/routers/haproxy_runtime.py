"""HAProxy's runtime API, its stats socket (management guide, 9.3): what the running proxy says, read as routing, and how it is told something."""

import errno
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from bleen.errors import Refused, Unavailable
from bleen.model import Environment, Routing, Target, Traffic
from bleen.providers.routers import haproxy_config as config
from bleen.providers.routers.haproxy_config import BERTHS, Server, Way
from bleen.providers.routers.unanswering import Proxy

ANSWER = 2.0
"""Seconds that HAProxy may take to answer; it usually takes 0.1 ms."""
_COMMANDS = 40
"""In one breath on the socket; they must fit into one buffer (tune.bufsize)."""
_LONGEST_PEM = 60_000
"""Bytes; with the command they must fit into one buffer, too."""
_QUIET = {"", "1", "New server registered."}
_DONE = "by 'stats socket command'"
"""What HAProxy answers when all is well: 1 is the format of what follows, and a change of address is told at length."""


class Live(NamedTuple):
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


class Seen(NamedTuple):
    """What the running proxy says at one moment."""

    ways: Mapping[str, str]
    """The map: the way of each listener, and the path by which each berth is checked."""
    servers: tuple[Live, ...]
    closed: Mapping[str, bool] = {}
    """The listeners that somebody has closed; whether for good (management guide, 9.3, "disable frontend", "shutdown frontend")."""

    def entry(self, key: str, value: str) -> str:
        """The command that gives an entry of the map this value, whether or not somebody has deleted it."""
        return f"{'set' if key in self.ways else 'add'} map {config.MAP} {key} {config.escaped(value)}"

    def of(self, environment: Environment) -> list[Live]:
        return [s for s in self.servers if s.environment == environment]

    @property
    def berths(self) -> dict[Environment, str]:
        """Where each environment is, those included that are leaving."""
        return {s.environment: s.berth for s in self.servers if s.environment}

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

    def shares_of(self, listener: str) -> tuple[dict[Environment, int], list[str]]:
        """The shares of a listener, and what of them cannot be said in our words."""
        shares: dict[Environment, int] = {}
        trouble = []
        try:
            berths = Way.parse(self.ways[listener]).shares
        except (KeyError, ValueError):
            return {}, [f"{listener} is led to {self.ways.get(listener)!r}, which is not of our making"]
        known, berths_of = self.targets, self.berths
        for berth, share in berths.items():
            there = {e for e in known if berths_of[e] == berth}
            if len(there) == 1:
                shares[there.pop()] = share
            else:
                trouble.append(f"{listener} is led to {berth}, where {' and '.join(sorted(map(str, there))) or 'nobody'} is")
        if not trouble and shares and (given := sum(shares.values())) != 100:
            trouble.append(f"{100 - given} % of {listener} are led to nobody")
        return shares, trouble

    @property
    def routing(self) -> Routing:
        shares, unknown = self.shares_of("production")
        preview, beside = self.shares_of("preview")
        serve = self._led_berths("production")
        astray = [s for s in self.servers if s.strays and s.berth in serve and not (s.environment and s.admin)]
        unknown += [s.trouble for s in astray]
        ours = {s.berth for s in self.servers if s.environment} | self._led_berths("preview")
        odd = [s for s in self.servers if s.trouble and s.berth in ours and s not in astray]
        shut = {name: f"the {name} listener was {'shut down by hand, for good' if ever else 'closed by hand'}" for name, ever in self.closed.items()}
        amiss = [s.trouble for s in odd if s.berth in serve] + [said for name, said in shut.items() if name == "production"]
        beside += [s.trouble for s in odd if s.berth not in serve] + [said for name, said in shut.items() if name != "production"]
        if len(preview) > 1:
            beside.append("the preview is led to two environments")
        return Routing(shares, next(iter(preview), None), self.targets, *map("; ".join, (unknown, amiss, beside)))


def shares_in_words(shares: Mapping[Environment, int]) -> str:
    return " and ".join(f"{share} % to {e}" for e, share in sorted(shares.items())) or "nothing"


class Runtime:
    """The stats socket in ``place``, by which ``proxy`` is asked and told. All of it raises Unavailable if HAProxy does not run, or does not answer in time."""

    def __init__(self, place: Path, proxy: Proxy) -> None:
        self._place, self._proxy = place, proxy

    def look(self) -> Seen:
        """The ways and the servers of the running proxy."""
        return self.tell([])

    def tell(self, commands: Sequence[str]) -> Seen:
        """What the running proxy says after these commands. Raises Refused with what it finds wrong with them, Unavailable if it ended or hangs on the way."""
        at = 0
        while True:
            seen, complaints = _understood(self.ask([*commands[at : at + _COMMANDS], "show stat -1 1 -1", f"show map {config.MAP}", "show servers state"]))
            if complaints:
                raise Refused(f"HAProxy in {self._place} refuses: {' '.join(complaints)[:300]}")
            if seen is None:
                raise Unavailable(f"HAProxy in {self._place} ended before it had answered; what it took over is known when it runs again")
            at += _COMMANDS
            if at >= len(commands):
                return seen

    def delete(self, servers: Sequence[Live]) -> None:
        """Deletes these, or as many as one breath takes. HAProxy keeps what has requests in flight: its turn comes later."""
        self.ask([f"del server {s.id}" for s in servers[:_COMMANDS]])

    def counted(self, seen: Seen) -> dict[Environment, Traffic]:
        """The counters of every environment that has a server (management guide, 9.1). In flight is what its berth has: requests that wait are counted."""
        answer = self.ask(["show stat -1 6 -1"])
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

    def give_certificate(self, pem: str, chain: str) -> None:
        """In a transaction, which nobody sees before it is committed ("set ssl cert"); one that was left in the middle is ended. ``chain`` is where it is from.

        Raises Refused if HAProxy does not take it.
        """
        if len(pem) > _LONGEST_PEM:
            raise Refused(f"{chain} and its key are longer than the {_LONGEST_PEM} bytes that HAProxy takes up while it runs")
        self.ask([f"abort ssl cert {config.CERTIFICATE}", f"set ssl cert {config.CERTIFICATE} <<\n{pem}"])
        answer = self.ask([f"commit ssl cert {config.CERTIFICATE}"])
        if "Success!" not in answer:
            raise Refused(f"HAProxy refuses the certificate {chain}: {' '.join(answer.split())[:300]}")

    def ask(self, commands: Sequence[str]) -> str:
        """Sends a line of commands to the stats socket, and reads all that it answers. Raises Unavailable at once if it does not run, after 2 s if it hangs."""
        deadline = time.monotonic() + ANSWER
        try:
            with _opened(self._place) as place, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                s.settimeout(ANSWER)
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
        said = f"HAProxy (pid {process.pid}) runs but has not answered for {ANSWER:g} s" if process else f"HAProxy in {self._place} does not answer"
        return Unavailable(f"{said}: {self._proxy.way(process)}")


def _understood(answer: str) -> tuple[Seen | None, list[str]]:
    """What the commands of ``Runtime.tell`` say, None if they were not answered to the end; and the complaints of the commands before them."""
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
    return (Seen(ways, tuple(servers), closed) if complete else None), complaints


def _live(word: Sequence[str]) -> Live:
    """Reads one line of "show servers state"."""
    environment: Environment | None
    try:
        environment = config.whose(word[3])
    except ValueError:
        environment = None
    return Live(word[1], word[3], Target(word[4], int(word[18])), int(word[6]), int(word[7]), int(word[8]), environment)


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    """A directory by a number: by that, the path of a socket in it is short however long its own is (107 bytes at the most, unix(7))."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)
