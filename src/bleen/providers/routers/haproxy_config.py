"""What HAProxy is told: the text of its configuration, and the words in which servers and ways are written there and on its socket. Pure.

The configuration has *berths*: backends that each hold the servers of one environment, whichever it is. An environment keeps its berth for as long as
it is known, so that blue-4 and blue-6 can be there at once and no request for the one reaches the other. Which berth production and preview lead to stands
in a map, as a *way*: ``berth3:100:none``, or ``berth3:90:berth1`` for 90 percent to the first and the rest to the second. A way is one entry of the map, so
that any change of traffic is one atomic change.

How a target is checked belongs to a release. The path of the checks of each berth stands in the same map, and a server has its own interval; but how long a
check may take is said of a backend, when HAProxy starts. So there are berths of many lengths, and an environment is given one that is long enough.

Beside each berth is its *backup*, which holds the same targets without checks: where requests go while every target of the berth fails its checks. It is a
backend of its own because HAProxy waits before it tries the only server that it can choose again, for up to a second each time ("retries" in the manual):
in the backup for less, and not at all where there are two.

An HTTP/2 request that says its length has a connection to its target to itself: a client that ends it early, once it has its answer, would leave one in the
pool on which the target still waits for the rest, and swallows the next request, whosever it is (HAProxy 2.6.12; RFC 9113, 8.1.1).

Sources: the configuration manual and the management guide of HAProxy 2.6.
"""

import re
import resource
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from bleen.errors import Refused
from bleen.model import Environment, Target
from bleen.plan import Listener, Probe

CONFIG, MAP, SOCKET = "haproxy.cfg", "routes.map", "haproxy.sock"
CERTIFICATE = "certificate.pem"
PATIENCE = {f"berth{n}": s for n, s in enumerate(8 * (1.0,) + 3 * (0.1, 0.2, 0.3, 0.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0), 1)}
"""Seconds that a check may take in each berth. The first eight are all that a proxy has which an earlier bleen started."""
BERTHS = tuple(PATIENCE)
LISTENERS = ("production", "preview")
NOBODY = "none"
NOWHERE = f"{NOBODY}:100:{NOBODY}"
BACKUP = ".backup"
_KEEP_ALIVE = 2.0
"""Seconds; where nobody says how long the application keeps idle connections, the shortest default that is in wide use: gunicorn's."""


class Settings(NamedTuple):
    """What a configuration is made for."""

    listener: Listener
    asked: Callable[[Environment], Probe]
    """How the targets of an environment are checked."""


class Server(NamedTuple):
    """A target of an environment, in the berth of that environment.

    HAProxy has it twice: checked, and once more without checks in the backup, so that an environment whose targets all fail their checks is still tried.
    """

    berth: str
    environment: Environment
    target: Target

    @property
    def name(self) -> str:
        """Says whose it is, and so carries the number of the release into the running proxy."""
        return f"{self.environment}:{self.target}"

    @property
    def ids(self) -> tuple[str, str]:
        """Backend and name of the two, as commands say it."""
        return f"{self.berth}/{self.name}", f"{self.berth}{BACKUP}/{self.name}"


class Way(NamedTuple):
    """Where a listener leads: ``share`` percent to one berth, the rest to another."""

    first: str = NOBODY
    share: int = 100
    rest: str = NOBODY

    def __str__(self) -> str:
        return f"{self.first}:{self.share}:{self.rest}"

    @classmethod
    def parse(cls, text: str) -> "Way":
        """The inverse of ``str()``. Raises ValueError for anything else."""
        first, share, rest = text.split(":")
        if not (share.isdecimal() and int(share) <= 100 and {first, rest} <= {NOBODY, *BERTHS}):
            raise ValueError(f"{text!r} is not a way")
        return cls(first, int(share), rest)

    @property
    def shares(self) -> dict[str, int]:
        """Percent for each berth that gets any."""
        found: dict[str, int] = {}
        for berth, share in ((self.first, self.share), (self.rest, 100 - self.share)):
            if share and berth != NOBODY:
                found[berth] = found.get(berth, 0) + share
        return found


def whose(name: str) -> Environment:
    """The environment that a server's name says. Raises ValueError for a name that is not ours."""
    environment, colon, _ = name.partition(":")
    if not colon:
        raise ValueError(f"{name!r} is not the name of a server of ours")
    return Environment.parse(environment)


def words(server: Server, settings: Settings) -> tuple[str, str]:
    """What is said of the two servers of a target, after their names, in a configuration and on the socket; default-server does not reach the latter.

    Raises Refused for what HAProxy cannot hold.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.]+", server.environment.name):
        raise Refused(f"HAProxy cannot hold an environment named {server.environment.name!r}")
    probe, pool = settings.asked(server.environment), _pool(settings.listener.keep_alive)
    to = address(server.target)
    check = f"check inter {_ms(probe.interval)} fall {probe.fall} rise 1"
    return f"{to} {check} {pool}", f"{to} {pool}"


def address(target: Target) -> str:
    """A target as HAProxy writes it. Raises Refused for a host name: servers that come and go are not resolved (management guide, 9.3, "add server")."""
    for family, form in ((socket.AF_INET, "{}:{}"), (socket.AF_INET6, "[{}]:{}")):
        try:
            socket.inet_pton(family, target.host)
        except OSError:
            continue
        return form.format(*target)
    raise Refused(f"HAProxy can send to IP addresses only, and {target} is not one")


def path(settings: Settings, environment: Environment) -> str:
    """Where the targets of an environment are asked whether they are well. Raises Refused for what cannot be one."""
    return plain(settings.asked(environment).path)


def render_map(settings: Settings, servers: Iterable[Server], entries: Mapping[str, str]) -> str:
    """The text of the map, with what is missing in ``entries``: a listener leads nowhere, a berth is checked as its environment is asked."""
    paths = {each.berth: path(settings, each.environment) for each in servers if each.berth not in entries}
    entries = {**dict.fromkeys(LISTENERS, NOWHERE), **dict.fromkeys(BERTHS, "/"), **paths, **entries}
    return "".join(f"{key} {entries[key]}\n" for key in (*LISTENERS, *BERTHS))


def read_map(text: str) -> dict[str, str]:
    """The inverse of ``render_map``. Raises ValueError for a line that is not an entry, or was cut short."""
    if not text.endswith("\n") or "\0" in text:  # as a host that crashed may leave a file
        raise ValueError("this is a part of a map")
    return dict(line.split(maxsplit=1) for line in text.splitlines())


def read_servers(text: str) -> list[Server]:
    """The servers that a configuration holds: the inverse of ``render`` as far as traffic is concerned.

    Raises ValueError or IndexError for one of which a part is missing, or that names a server as we do not.
    """
    found, held, berth = dict[str, list[Server]](), list[Server](), ""
    for line in text.splitlines():
        word = line.split()
        if word[:1] == ["backend"]:
            held = found.setdefault(word[1], [])
            berth = word[1].removesuffix(BACKUP)
        elif word[:1] == ["server"]:
            host, _, port = word[2].rpartition(":")
            server = Server(berth, whose(word[1]), Target(host.strip("[]"), int(port)))
            if server.name != word[1]:
                raise ValueError(f"the server {word[1]} is led to {server.target}")
            held.append(server)
    if any(found.get(berth, []) != found.get(berth + BACKUP, []) for berth in BERTHS):
        raise ValueError("a berth and its backup differ")
    return [server for berth in BERTHS for server in found.get(berth, [])]


def render(settings: Settings, servers: Collection[Server]) -> str:
    """The whole configuration. Every path in it is relative to the directory that HAProxy is started in: a socket's own path may have 107 bytes (unix(7))."""
    patience = dict(PATIENCE)
    for server in servers:  # longer where none that is long enough was free
        patience[server.berth] = max(patience[server.berth], settings.asked(server.environment).patience)
    held = {name: text for berth in BERTHS for name, text in _backends(berth, patience[berth])}
    for server in sorted(servers):
        for backend, text in zip((server.berth, server.berth + BACKUP), words(server, settings), strict=True):
            held[backend] += f"    server {server.name} {text}\n"
    tls = f"ssl crt {CERTIFICATE} alpn h2,http/1.1" if settings.listener.tls else ""
    return _CONFIGURATION.format(
        socket=SOCKET,
        maxconn=_most_connections(),
        extra="ssl-load-extra-files none" if settings.listener.tls else "",
        production=_frontend("production", f"{_quoted(settings.listener.listen)} {tls}", settings.listener.trusted),
        preview=_frontend("preview", _quoted(settings.listener.preview), settings.listener.trusted),
        nobody=NOBODY,
        backends="\n".join(held.values()),
    )


@cache
def _backends(berth: str, patience: float) -> list[tuple[str, str]]:
    """A berth and its backup, without servers."""
    checked = _BERTH.format(name=berth, patience=_ms(patience), map=MAP, well=_WELL)
    return [(berth, checked), (berth + BACKUP, _BACKUP_OF.format(name=berth + BACKUP))]


def _frontend(name: str, bind: str, trusted: Sequence[str]) -> str:
    acl = "".join(f"    acl trusted src {_in_ipv6(each)}\n" for each in trusted) or "    acl trusted always_false\n"  # a line each: one may have 64 words
    return f"""\
frontend {name}
    bind {bind}
{acl}\
    http-request del-header X-Forwarded-Proto unless trusted
    http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)] unless {{ req.fhdr(X-Forwarded-Proto) -m found }}
    http-request del-header Upgrade unless {{ req.hdr(Upgrade) -i websocket }}
    http-request set-header Connection close if {{ req.ver 2.0 }} {{ req.fhdr(content-length) -m found }}
    http-request set-uri %[pathq] if {{ url_beg -i http:// https:// }}
    http-request set-var(txn.way) str({name}),map({MAP})
    http-request set-var(txn.share) var(txn.way),field(2,:),add(0)
    http-request set-var(txn.berth) var(txn.way),field(1,:)
    http-request set-var(txn.berth) var(txn.way),field(3,:) unless {{ rand(100),sub(txn.share) lt 0 }}
    use_backend %[var(txn.berth)] if {{ var(txn.berth),nbsrv gt 0 }}
    use_backend %[var(txn.berth)]{BACKUP}
    default_backend {NOBODY}
"""


def _in_ipv6(network: str) -> str:
    """A network in the form that IPv4 has in IPv6: written as IPv4, HAProxy takes it for the IPv6 addresses of 6to4 too, which are not the same hosts."""
    address, _, length = network.partition("/")
    return network if ":" in address else f"::ffff:{address}/{96 + int(length)}"


# 24 days is the longest time that HAProxy can count: no limit. A dead peer is found by TCP's own keep-alive instead. What may wait is only what no
# application sees: the head of a request, and a client between two requests.
# A request is sent again, to another target, only if no connection was made (``retry-on`` is conn-failure by default).
# ``bufsize``: what a request's head may have, as Envoy takes 60 KiB; memory is used only while a request is on its way.
# ``noreuseport``: two HAProxys would share a port without a word, each with half of the connections.
_CONFIGURATION = """\
# Written by bleen, and again after every change: what is changed here by hand is lost.
global
    stats socket unix@{socket} mode 600 level admin expose-fd listeners
    stats timeout 10s
    maxconn {maxconn}
    noreuseport
    tune.bufsize 65536
    {extra}

defaults
    mode http
    timeout client 24d
    timeout server 24d
    timeout tunnel 24d
    timeout connect 5s
    timeout queue 60s
    timeout http-request 5m
    timeout http-keep-alive 1h
    option clitcpka
    option srvtcpka
    clitcpka-idle 60s
    clitcpka-intvl 15s
    clitcpka-cnt 4
    srvtcpka-idle 60s
    srvtcpka-intvl 15s
    srvtcpka-cnt 4
    option forwardfor
    option http-ignore-probes
    option idle-close-on-response
    option redispatch 1
    retries 3
    balance roundrobin
    http-reuse always

{production}
{preview}
backend {nobody}
    http-request return status 503 content-type text/plain string "no release is being previewed\\n" if {{ fe_name preview }}
    http-request return status 503 content-type text/plain string "no version is active\\n"

{backends}"""

# What a check reads begins with a status from 200 to 399; informational answers (1xx, RFC 9110 section 15.2) are passed over.
_WELL = r"^(HTTP/1[.][01] 1[0-9][0-9][^\n]*\n([^\r\n]+\r\n)*\r\n)*HTTP/1[.][01] [23][0-9][0-9][ \r]"

# A check reads until the application closes, as it is asked to ("close", RFC 9112 section 9.6), or until a buffer is full: ``min-recv`` is more than one
# holds. "option httpchk" is done with the head and resets the connection: an application that still writes the body logs an error for every check. It can
# be told to wait for a body ("http-check expect ! string"), but then an answer without one is a failure. A check that is given up ends without a reset
# too, because of ``linger``.
_BERTH = r"""backend {name}
    timeout check {patience}
    option tcp-check
    tcp-check connect linger
    tcp-check send-lf "GET %[str({name}),map({map})] HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bleen\r\nConnection: close\r\n\r\n"
    tcp-check expect min-recv 1048576 error-status L7STS on-error "answered %[res.payload(0,12)]" rstring "{well}"
"""


# Four attempts to connect to a single target that refuses take three such pauses.
_BACKUP_OF = """\
backend {name}
    timeout connect 200ms
"""


def _pool(keep_alive: float | None) -> str:
    """How idle connections are kept: as many as there are, none for as long as the application would keep it.

    Every ``pool-purge-delay`` HAProxy closes half of what it did not need lately, and "lately" fades by half each time: ten thousand are gone after about
    twenty-five rounds. Forty rounds go into the time that the application allows.
    """
    allowed = _KEEP_ALIVE if keep_alive is None else keep_alive
    return f"pool-max-conn -1 pool-purge-delay {_ms(allowed / 40)}" if allowed > 0 else "pool-max-conn 0"


def _most_connections() -> int:
    """Two descriptors for each connection, and a fifth of all for idle ones, checks and the rest; HAProxy raises the soft limit by itself."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 20_000 if hard == resource.RLIM_INFINITY else max(100, min(20_000, hard * 2 // 5))


def _ms(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


def plain(text: str) -> str:
    """The text, if it can stand in a line of its own. Raises Refused for what no address or path of a URL can hold."""
    if not text or not all("!" <= c <= "~" for c in text):
        raise Refused(f"HAProxy cannot be given {text!r}: an address or a path has no spaces, control characters or letters beyond ASCII")
    return text


def escaped(text: str) -> str:
    """One word of a command on the stats socket (management guide, 9.3). A line that ends in ``<<`` would have it wait for more."""
    return re.sub(r"([\\; <])", r"\\\1", text)


def _quoted(text: str) -> str:
    """One word of a configuration, taken literally (configuration manual, 2.2)."""
    return "'" + plain(text).replace("'", "'\\''") + "'"
