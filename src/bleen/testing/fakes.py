"""Fakes of the router, the platform, a check and the clock: to the letter of ``ports``, without a proxy, a process or a second of waiting.

The world of a fake lies in a directory, as small files that are replaced whole. So any number of processes see one world, and one that was SIGKILLed
between two calls leaves a world that the next one reads. A test makes things happen through methods that no port has (``kill``, ``drift``, ``break_down`` ...)
and reads afterwards what was done: ``effects()`` in order, and ``violations()``, which must be empty.

A router and a platform of one service share a directory::

    PLACE/router.json  platform.json    the worlds
    PLACE/effects.log                   every effect that passed the fence, a line of JSON each
"""

import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from bleen.errors import PortError, Refused, Unavailable
from bleen.host.files import Fence, locked
from bleen.model import Environment, Health, Memo, NotYet, Result, Routing, Running, Target, Traffic, Verdict
from bleen.plan import Probe
from bleen.ports import Shipping

Row = dict[str, Any]


class Effect(NamedTuple):
    """Something that was done to a world; written down before it took place, so that a kill in between may leave one that did not."""

    of: str
    """router or platform."""
    name: str
    epoch: int
    arguments: Mapping[str, Any]
    violation: str = ""
    """What promise it breaks; empty for all that a correct engine does."""


class FakeClock:
    """Time that passes only when a test says so. With a path, all processes that name it share it."""

    def __init__(self, path: Path | None = None, start: float = 1000.0) -> None:
        self._path, self._now = path, start
        if path is not None and not path.exists():
            self._write(start)

    def now(self) -> float:
        """Seconds; fits wherever a ``Callable[[], float]`` is wanted."""
        if self._path is None:
            return self._now
        return float(struct.unpack("d", self._path.read_bytes())[0])

    def advance(self, seconds: float) -> float:
        """Lets time pass; negative lets it jump back. Returns the new time."""
        now = self.now() + seconds
        if self._path is None:
            self._now = now
        else:
            self._write(now)
        return now

    def _write(self, now: float) -> None:
        assert self._path is not None
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        beside.write_bytes(struct.pack("d", now))
        os.rename(beside, self._path)


class FakeCheck:
    """A check that answers what it was given, in order; the memo says how far it has come, so that any process can go on with it.

    A run ends with the first Verdict, and the last answer is given for ever. An exception among the answers is raised in its turn.
    """

    def __init__(self, *answers: Verdict | NotYet | PortError) -> None:
        self._answers = answers or (Verdict(Result.PASS, "as the test wished"),)
        self.begun = 0
        self.cancelled = 0

    def run(self, environment: Environment, memo: Memo) -> Verdict | NotYet:
        look = int(memo.get("look", 0))
        self.begun += look == 0
        answer = self._answers[min(look, len(self._answers) - 1)]
        if isinstance(answer, PortError):
            raise answer
        if isinstance(answer, NotYet):
            return answer._replace(memo={**(answer.memo or {}), "look": look + 1})
        return answer

    def cancel(self) -> None:
        self.cancelled += 1


class FakeMigrator:
    """A migrator of migrations that are names alone, over a database that is a dictionary. Its work takes two looks, and is there for any number of objects."""

    def __init__(self, database: Row, migrations: Sequence[str] = ("0007_full_name",), contract: str = "manual") -> None:
        """``database`` is shared by all who are to see the same one; ``contract`` is manual or auto."""
        self._database, self._migrations, self._auto = database, migrations, contract == "auto"
        database.setdefault("schema", {})
        self.cancelled = 0

    # What a test does to it

    def hold(self) -> None:
        """Nothing that was begun ends before ``let_go``."""
        self._database["held"] = True

    def let_go(self) -> None:
        self._database["held"] = False

    def break_down(self, why: str = "the database does not answer") -> None:
        """From now on it is INCONCLUSIVE."""
        self._database["broken"] = why

    def refuse(self, why: str = "the database says: as the test wished") -> None:
        """From now on the database takes no statement: an expand fails, and a contract, which takes nothing away then, stays pending."""
        self._database["refusing"] = why

    def break_off(self, why: str = "the database says: as the test wished") -> None:
        """From now on a contract fails when a part of the old shape is gone already."""
        self._database["breaking_off"] = why

    def mend(self) -> None:
        self._database.update(broken="", refusing="", breaking_off="")

    def write(self, rows: int = 1) -> None:
        """The version that is released writes rows in the new shape."""
        self._database["written"] = self._database.get("written", 0) + rows

    @property
    def schema(self) -> Mapping[str, str]:
        """Migration to expanded or contracted."""
        return dict(self._database["schema"])

    # The port

    def expand(self, environments: Sequence[Shipping], memo: Memo) -> Verdict | NotYet:
        def work() -> Row:
            new = [name for name in self._migrations if name not in self._database["schema"]]
            self._database["schema"].update(dict.fromkeys(new, "expanded"))
            return {"expanded": new}

        return self._go("expand", memo, work)

    def contract(self, environments: Sequence[Shipping], memo: Memo) -> Verdict | NotYet:
        def work() -> Row:
            pending: list[Row] = []
            contracted: list[str] = []
            for name in [name for name, state in self._database["schema"].items() if state == "expanded"]:
                waits = [f"{e.environment} does not ship {name}" for e in environments if name not in e.migrations]
                due = self._auto and not waits and not pending
                failed = self._database.get("refusing", "") if due else ""
                if due and not failed:
                    self._database["schema"][name] = "contracted"
                    contracted.append(name)
                else:
                    pending.append({"migration": name, "description": "", "since": 0.0, "waits": [failed] if failed else waits, "failed": failed})
            return {"contracted": contracted, "pending": pending}

        return self._go("contract", memo, work, fails="breaking_off")

    def account(self, environments: Sequence[Shipping], memo: Memo) -> Verdict | NotYet:
        written = {"written": self._database.get("written", 0)}
        return self._go("account", memo, lambda: {"written": {name: written for name in self._migrations if name in self._database["schema"]}})

    def cancel(self) -> None:
        self.cancelled += 1

    def tidy(self, environments: Sequence[Shipping], memo: Memo) -> Verdict | NotYet:
        why = self._database.get("broken", "")
        return Verdict(Result.INCONCLUSIVE if why else Result.PASS, why, ({},))

    def down(self, memo: Memo) -> Memo:
        self.cancelled += 1
        return memo

    def _go(self, what: str, memo: Memo, work: Callable[[], Row], fails: str = "refusing") -> Verdict | NotYet:
        if not memo.get("begun") or self._database.get("held"):
            return NotYet(f"the database, to {what}", 0.05, memo={"begun": True})
        if why := self._database.get("broken"):
            return Verdict(Result.INCONCLUSIVE, why)
        if why := self._database.get(fails):
            return Verdict(Result.FAIL, why)
        return Verdict(Result.PASS, "", (work(),))


class Fake:
    """What the router and the platform have in common: a world, a fence, a log, and ways to be out of order."""

    _of = ""

    def __init__(self, place: Path, fence: Fence, empty: Row) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self._fence = fence
        self._file = place / f"{self._of}.json"
        self._log = place / "effects.log"
        self._empty = {"broken": "", "refusing": {}, "losing": {}, **empty}

    def break_down(self, why: str = "it does not answer") -> None:
        """From now on every call raises Unavailable."""
        self._say(broken=why)

    def mend(self) -> None:
        """The opposite of ``break_down``, ``refuse`` and ``lose_answer``."""
        self._say(broken="", refusing={}, losing={})

    def refuse(self, effect: str, why: str = "as the test wished") -> None:
        """From now on this effect ("route", "provision" ...) raises Refused and does nothing."""
        with self._changing() as row:
            row["refusing"][effect] = why

    def lose_answer(self, effect: str, times: int = 1) -> None:
        """The next times that this effect is carried out it raises Unavailable all the same: the outcome that nobody knows."""
        with self._changing() as row:
            row["losing"][effect] = times

    def effects(self, name: str = "") -> list[Effect]:
        """What was done to the worlds of this directory, oldest first; only the effects of that name if one is given."""
        try:
            lines = self._log.read_text().splitlines()
        except FileNotFoundError:
            return []
        done = [Effect(**json.loads(line)) for line in lines]
        return [e for e in done if name in ("", e.name)]

    def violations(self) -> list[str]:
        """The promises that were broken; empty is right."""
        return [e.violation for e in self.effects() if e.violation]

    def _read(self) -> Row:
        try:
            row: Row = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            row = json.loads(json.dumps(self._empty))
        return row

    def _look(self) -> Row:
        """The world for a call that only reads. Raises Unavailable while broken down."""
        row = self._read()
        if row["broken"]:
            raise Unavailable(f"the fake {self._of}: {row['broken']}")
        return row

    @contextmanager
    def _changing(self) -> Iterator[Row]:
        """Reads the world, and replaces it if the body changed it and raised nothing."""
        with locked(self._file.with_suffix(".lock"), 5, "the world of a fake is being changed"):
            row = self._read()
            was = json.dumps(row)
            yield row
            if (text := json.dumps(row)) != was:
                beside = self._file.with_suffix(".new")
                beside.write_text(text)
                os.rename(beside, self._file)

    def _say(self, **facts: Any) -> None:
        with self._changing() as row:
            row.update(facts)

    @contextmanager
    def _effect(self, name: str, epoch: int, **arguments: Any) -> Iterator[Row]:
        """Everything between deciding on an effect and its being done, under the fence."""
        with self._fence.passing(epoch):
            self._look()
            with self._changing() as row:
                if why := row["refusing"].get(name):
                    raise Refused(f"the fake {self._of} refuses to {name}: {why}")
                yield row
                lost = row["losing"].get(name, 0)
                row["losing"][name] = max(0, lost - 1)
                self._note(Effect(self._of, name, epoch, arguments, self._violation(name, arguments)))
            if lost:
                raise Unavailable(f"the fake {self._of}: the answer to {name} was lost")

    def _violation(self, name: str, arguments: Mapping[str, Any]) -> str:
        return ""

    def _note(self, effect: Effect) -> None:
        handle = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, json.dumps(effect._asdict()).encode() + b"\n")
        finally:
            os.close(handle)


class FakeRouter(Fake):
    """A router that sends nothing anywhere and remembers everything. It is not listening until ``up``."""

    _of = "router"

    def __init__(self, place: Path, fence: Fence) -> None:
        super().__init__(place, fence, {"state": "down", "remembers": False, "held": "", "waits": {}, "traffic": {}, "routing": Routing().to_json()})

    # What a test does to it

    def delay(self, call: str, looks: int) -> None:
        """The next so many times that this call ("prepare", "served", "up", "down") would be done it answers NotYet."""
        with self._changing() as row:
            row["waits"][call] = looks

    def kill(self) -> None:
        """The proxy dies; what it was told it finds again at the next ``up``."""
        self._say(state="dead")

    def forget(self) -> None:
        """The proxy's own files are gone; it must be dead, or that changes nothing."""
        self._say(remembers=False)

    def drift(self, routing: Routing) -> None:
        """Somebody else has changed the router; ``unknown``, ``amiss`` and ``beside`` of the routing say what cannot be said in our words."""
        self._say(routing=routing.to_json())

    def carry(self, environment: Environment | str, requests: int = 0, errors: int = 0, open: int = 0) -> None:
        """Sets the counters of an environment; ``open`` requests are in flight and keep it from being drained."""
        with self._changing() as row:
            row["traffic"][str(environment)] = [requests, errors, open]

    def hold_address(self, who: str) -> None:
        """Somebody else listens on our address, "pid 12, python old.py" say; empty frees it."""
        self._say(held=who)

    def truth(self) -> Routing:
        """What production and preview really do, whatever state the fake is in; nothing after ``down``."""
        row = self._read()
        return Routing() if row["state"] == "down" else Routing.from_json(row["routing"])

    @property
    def alive(self) -> bool:
        """Whether the proxy runs."""
        return bool(self._read()["state"] == "up")

    # The port

    def routing(self) -> Routing:
        return Routing.from_json(self._look()["routing"])

    def prepare(self, wanted: Routing, epoch: int) -> NotYet | None:
        with self._effect("prepare", epoch, wanted=wanted.to_json()) as row:
            new = wanted.to_json()
            known = {**row["routing"]["targets"], **new["targets"]}
            _must_be_known(known, [new["preview"]] if new["preview"] else [])
            row["routing"].update(targets=known, preview=new["preview"])
            return self._wait(row, "prepare", "the fake router gets ready")

    def route(self, wanted: Routing, epoch: int) -> None:
        with self._effect("route", epoch, wanted=wanted.to_json()) as row:
            shares = {e: s for e, s in wanted.to_json()["shares"].items() if s}
            _must_be_known(row["routing"]["targets"], list(shares))
            if shares and sum(shares.values()) != 100:
                raise Refused(f"the shares {shares} do not add up to 100")
            row["routing"].update(shares=shares, unknown="")
            for odd in ("amiss", "beside"):
                row["routing"].pop(odd, None)

    def served(self, wanted: Routing, elapsed: float) -> NotYet | None:
        now = Routing.from_json(self._look()["routing"])
        if now.unknown or now.led != wanted.led:
            return NotYet("the router to serve that")
        with self._changing() as row:
            return self._wait(row, "served", "the fake router takes its time")

    def drained(self, environment: Environment, elapsed: float) -> NotYet | None:
        row = self._look()
        if Routing.from_json(row["routing"]).serves(environment):
            return NotYet(f"{environment} to lose its share of the traffic")
        in_flight = row["traffic"].get(str(environment), (0, 0, 0))[2]
        return NotYet(f"requests in flight to {environment} to end: {in_flight} left") if in_flight else None

    def settle(self, wanted: Routing, epoch: int) -> None:
        with self._effect("settle", epoch, wanted=wanted.to_json()) as row:
            now, new = row["routing"], wanted.to_json()
            if now["unknown"] and not new["targets"].keys() >= now["targets"].keys():
                raise Refused(f"nothing is forgotten while the fake router does what is not ours: {now['unknown']}")
            kept = {e: ts for e, ts in now["targets"].items() if e in new["targets"] or now["shares"].get(e, 0) > 0}
            _must_be_known(kept, [new["preview"]] if new["preview"] else [])
            now.update(targets=kept, preview=new["preview"])
            row["traffic"] = {e: t for e, t in row["traffic"].items() if e in kept}

    def traffic(self) -> Mapping[Environment, Traffic]:
        row = self._look()
        return {Environment.parse(e): Traffic(*row["traffic"].get(e, (0, 0, 0))) for e in row["routing"]["targets"]}

    def up(self, routing: Routing, epoch: int) -> NotYet | None:
        with self._fence.passing(epoch), self._changing() as row:
            if row["state"] != "up":
                if row["held"]:
                    raise Refused(f"the address of the fake router is held by {row['held']}")
                self._note(Effect(self._of, "up", epoch, {"routing": routing.to_json()}))
                kept = Routing.from_json(row["routing"]).moved(routing.targets) if row["remembers"] else routing
                row.update(state="up", broken="", routing=kept.to_json(), remembers=True, traffic={})
                return self._wait(row, "up", "the fake router starts") or NotYet("the fake router, which was not running and has been started", 0.0)
            if row["broken"]:
                raise Unavailable(f"the fake router: {row['broken']}")
            return self._wait(row, "up", "the fake router starts")

    def down(self, epoch: int) -> NotYet | None:
        with self._fence.passing(epoch), self._changing() as row:
            if row["state"] != "down" and (waiting := self._wait(row, "down", "the fake router ends")):
                return waiting
            self._note(Effect(self._of, "down", epoch, {}))
            row.update(state="down", traffic={})
            return None

    def _look(self) -> Row:
        row = super()._look()
        if row["state"] != "up":
            raise Unavailable("the fake router is not running")
        return row

    @staticmethod
    def _wait(row: Row, call: str, why: str) -> NotYet | None:
        left = row["waits"].get(call, 0)
        row["waits"][call] = max(0, left - 1)
        return NotYet(why, 0.01) if left else None


def _must_be_known(targets: Mapping[str, Any], environments: Sequence[str]) -> None:
    for each in environments:
        if not targets.get(each):
            raise Refused(f"the router has no targets for {each}; it knows {', '.join(sorted(targets)) or 'none'}")


class Truthful(Protocol):
    """A router of which it is known what it really does."""

    def truth(self) -> Routing: ...


class FakePlatform(Fake):
    """A platform whose copies run as long as the test wishes. All is well with an environment from its first look on, unless the test says otherwise.

    Looks at the fake router of the same directory (or the one it is given): stopping what that one names is a violation. ``ports`` are given out in turn.
    """

    _of = "platform"

    def __init__(self, place: Path, fence: Fence, router: Truthful | None = None, ports: Sequence[int] = range(1024, 65536)) -> None:
        super().__init__(place, fence, {"environments": {}, "ended": [], "sick": {}, "starting": {}, "stopping": {}, "missing": [], "given": 0})
        self._router, self._ports = router or FakeRouter(place, fence), ports

    # What a test does to it; a "what" is an environment ("green-5", or an Environment) or a version, and need not exist yet

    def kill(self, environment: Environment | str) -> None:
        """Every copy ends, and none can be started again until ``recover``."""
        with self._changing() as row:
            row["sick"][str(environment)] = {"why": "it ended and cannot be started", "ready": 0, "crashing": False, "dead": True}
            _stop_copies(row, str(environment))

    def crash(self, environment: Environment | str, copies: int | None = None) -> None:
        """So many copies end, all if not said; ``tend`` starts them again."""
        with self._changing() as row:
            _stop_copies(row, str(environment), copies)

    def lose_port(self, environment: Environment | str) -> None:
        """The first copy has ended, somebody else has got its port, and so it runs at another one."""
        with self._changing() as row:
            found = row["environments"][str(environment)]
            found["ports"][0] = self._free_port(row)

    def reboot(self) -> None:
        """Every copy of every environment ends; ``tend`` starts them again. The router is for the test to kill."""
        with self._changing() as row:
            for each in row["environments"]:
                _stop_copies(row, each)

    def sicken(self, what: Environment | str, why: str = "answered 500", ready: int = 0, crashing: bool = False) -> None:
        """Its copies run, and only so many of them are well."""
        with self._changing() as row:
            row["sick"][str(what)] = {"why": why, "ready": ready, "crashing": crashing, "dead": False}

    def recover(self, what: Environment | str) -> None:
        """All is well with it again, and what had ended runs."""
        with self._changing() as row:
            row["sick"].pop(str(what), None)
            row["starting"].pop(str(what), None)
            if found := row["environments"].get(str(what)):
                found["copies"] = [True] * found["replicas"]

    def become_healthy_after(self, what: Environment | str, looks: int) -> None:
        """The next so many looks at its health find it starting."""
        with self._changing() as row:
            row["starting"][str(what)] = looks

    def stop_after(self, environment: Environment | str, looks: int) -> None:
        """Retiring it answers NotYet so many times."""
        with self._changing() as row:
            row["stopping"][str(environment)] = looks

    def lose_version(self, version: str) -> None:
        """The directory or image of a version is gone: what runs goes on, ``provision`` refuses."""
        with self._changing() as row:
            row["missing"].append(version)

    def find_version(self, version: str) -> None:
        """The opposite of ``lose_version``."""
        with self._changing() as row:
            row["missing"] = [v for v in row["missing"] if v != version]

    def truth(self) -> Mapping[Environment, Running]:
        """What exists, whatever state the fake is in."""
        return _running(self._read())

    # The port

    def running(self) -> Mapping[Environment, Running]:
        return _running(self._look())

    def probe(self, environment: Environment) -> Probe:
        return Probe()

    def provision(self, environment: Environment, version: str, replicas: int, epoch: int) -> None:
        with self._effect("provision", epoch, environment=str(environment), version=version, replicas=replicas) as row:
            name = str(environment)
            if name in row["ended"]:
                raise Refused(f"{name} was retired and is not started again")
            if version in row["missing"]:
                raise Refused(f"there is no version {version}")
            if replicas < 1:
                raise Refused(f"{replicas} copies of {name} cannot be started")
            found = row["environments"].setdefault(name, {"version": version, "replicas": 0, "copies": [], "ports": [], "stopping": False})
            if found["version"] != version:
                raise Refused(f"{name} runs {found['version']}, not {version}")
            while len(found["ports"]) < replicas:
                found["ports"].append(self._free_port(row))
            dead = row["sick"].get(name, {}).get("dead", False)
            found.update(replicas=replicas, copies=[not dead] * replicas)

    def health(self, environment: Environment) -> Health:
        self._look()
        with self._changing() as row:
            found = row["environments"].get(str(environment))
            if found is None or found["stopping"]:
                return Health(0, 0, (), f"{environment} does not run")
            wanted, targets, ready = found["replicas"], _targets(found), sum(found["copies"])
            for what in (str(environment), found["version"]):
                if (left := row["starting"].get(what, 0)) > 0:
                    row["starting"][what] = left - 1
                    return Health(0, wanted, targets, f"{environment} is starting")
                if sick := row["sick"].get(what):
                    return Health(min(ready, sick["ready"]), wanted, targets, f"{environment}: {sick['why']}", sick["crashing"])
            return Health(ready, wanted, targets, "" if ready >= wanted else f"{wanted - ready} of {wanted} copies of {environment} ended")

    def retire(self, environment: Environment, replicas: int, epoch: int) -> NotYet | None:
        with self._effect("retire", epoch, environment=str(environment), replicas=replicas) as row:
            name = str(environment)
            found = row["environments"].get(name)
            if replicas == 0 and name not in row["ended"]:
                row["ended"].append(name)
            if found is None:
                return None
            if replicas:
                keep = min(replicas, found["replicas"])
                found.update(replicas=keep, copies=found["copies"][:keep])
                return None
            found["stopping"] = True
            if (left := row["stopping"].get(name, 0)) > 0:
                row["stopping"][name] = left - 1
                return NotYet(f"{name} to stop", 0.01)
            del row["environments"][name]
            return None

    def down(self, epoch: int) -> NotYet | None:
        with self._effect("down", epoch) as row:
            for found in row["environments"].values():
                found["copies"] = [False] * found["replicas"]
            return None

    def tend(self, epoch: int) -> None:
        with self._fence.passing(epoch):
            self._look()
            with self._changing() as row:
                for name, found in row["environments"].items():
                    if not found["stopping"] and not row["sick"].get(name, {}).get("dead", False):
                        found["copies"] = [True] * found["replicas"]

    def logs(self, environment: Environment, lines: int) -> Sequence[str]:
        found = self._look()["environments"].get(str(environment))
        said = [f"1| {environment} runs {found['version']}"] if found else []
        return said[-lines:] if lines > 0 else []

    def follow(self, environment: Environment) -> Callable[[], Sequence[str]]:
        return list

    def _free_port(self, row: Row) -> int:
        taken = {port for each in row["environments"].values() for port in each["ports"]}
        for _ in self._ports:
            port: int = self._ports[row["given"] % len(self._ports)]
            row["given"] += 1
            if port not in taken:
                return port
        raise Refused("every port of the fake platform is taken")

    def _violation(self, name: str, arguments: Mapping[str, Any]) -> str:
        if name == "down":
            stopped = [Environment.parse(each) for each in self._read()["environments"]]
        elif name == "retire" and not arguments["replicas"]:
            stopped = [Environment.parse(arguments["environment"])]
        else:
            return ""
        routing, running = self._router.truth(), _running(self._read())
        return "; ".join(
            f"{each} was stopped while the router {'previews' if routing.preview == each else 'serves, or may serve,'} it"
            for each in stopped
            if routing.may_serve(each, running[each].targets if each in running else ()) or routing.preview == each
        )


def _running(row: Row) -> Mapping[Environment, Running]:
    return {
        Environment.parse(name): Running(e["version"], e["replicas"], sum(e["copies"]), _targets(e), e["stopping"]) for name, e in row["environments"].items()
    }


def _targets(found: Row) -> tuple[Target, ...]:
    return tuple(Target("127.0.0.1", port) for port in found["ports"][: found["replicas"]])


def _stop_copies(row: Row, name: str, copies: int | None = None) -> None:
    if found := row["environments"].get(name):
        ended = len(found["copies"]) if copies is None else copies
        found["copies"] = [i >= ended and alive for i, alive in enumerate(found["copies"])]
