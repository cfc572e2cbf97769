"""Environments as processes of this host: re-parented to init, known by pid and start time, restarted when they crash.

Everything that is known of an environment lies in its directory (see ``process_record``), so that any process may go on where another was killed.
Whatever starts or ends processes holds the service's fence, and is the only one that writes there.
"""

import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bleen.errors import PortError, Refused, Unavailable
from bleen.host import files, launch, logs
from bleen.host.clock import boot_id, since_boot
from bleen.host.files import Fence, Reserve
from bleen.host.processes import Process
from bleen.model import Environment, Health, NotYet, Running
from bleen.plan import Probe, duration
from bleen.providers.platforms import process_health, process_ports, process_record
from bleen.providers.platforms.process_record import Damaged, Record, State

ENDED = ".ended"
KEPT = 8
"""How many environments that have ended keep their name taken, and the end of their logs."""
KEPT_BYTES = 1 << 20
"""How much of each instance's log is kept then."""
LAUNCHING = 5.0
"""Seconds for which one call goes on launching; what is left then is for the next one."""
LETTING_GO = 3.0
"""Seconds after a copy's end for which its port may be its own: threads of a process that was killed may keep its sockets open for a second after it is seen
to be dead.
"""


class ProcessPlatform:
    """A ``ports.Platform``. ``place`` is the directory of a service's environments; ``ports`` a lock file, beside the ``services`` of the host, under which
    ports are given out; ``probe`` is how an environment is looked at that is started now, and kept with it; ``now`` gives seconds since boot.
    """

    def __init__(
        self, place: Path, fence: Fence, reserve: Reserve, ports: Path, settings: Mapping[str, Any], probe: Probe, now: Callable[[], float] = since_boot
    ) -> None:
        self._place, self._fence, self._reserve, self._ports = place, fence, reserve, ports
        self._settings, self._probe, self._now = settings, probe, now
        self._owners, self._probes = process_health.Owners(), dict[Environment, Probe]()

    def running(self) -> Mapping[Environment, Running]:
        found = {}
        with _in_words("look at", self._place):
            for environment, path, record in self._records():
                if isinstance(record, Unavailable):
                    alive = _known_to_live(path, _launched(path))
                    found[environment] = Running("", alive, alive, (), damaged=str(record))
                    continue
                alive = _known_to_live(path, record.instances)
                found[environment] = Running(record.version, record.replicas, alive, record.targets, stopping=record.replicas == 0)
        return found

    def provision(self, environment: Environment, version: str, replicas: int, epoch: int) -> None:
        path = self._path(environment)
        with self._effect(epoch):
            if replicas < 1:
                raise Refused(f"{replicas} copies of {environment} cannot be started; `retire` stops it")
            if self._ended(environment).exists():
                raise Refused(f"{environment} was retired and is not started again")
            record = process_record.read(path)
            if record is None and path.exists():
                raise Refused(f"{path} is in the way, and is no environment of this service: take it away, then deploy again")
            if record is None:
                record = self._create(environment, path, version, replicas)
            elif record.replicas == 0:
                raise Refused(f"{environment} was retired and is not started again")
            elif record.version != version:
                raise Refused(f"{environment} runs {record.version}, not {version}")
            elif record.replicas != replicas:
                record = self._resize(path, record, replicas)
            self._stop(environment, path, record, record.unwanted)
            if failures := self._start(environment, path, record, process_ports.PATIENCE, self._pauses_after_a_crash):
                raise failures[0]

    def health(self, environment: Environment) -> Health:
        path = self._path(environment)
        with _in_words("look at", environment):
            try:
                record = process_record.read(path)
            except Unavailable as error:
                if any(_is_alive(path, n) for n in _launched(path)):
                    raise
                return Health(0, 1, (), f"none of its copies is alive, and {error}")
            if record is None or record.replicas == 0:
                return Health(0, 0, (), f"{environment} does not run")
            states, wanted = process_record.states(path), range(1, record.replicas + 1)
            now = self._now()
            down = {n: why for n in wanted if (why := self._down(path, n, record, states.get(n, State()), now))}
            asked = {n: target for n, target in zip(wanted, record.targets, strict=True) if n not in down}
            seen = process_health.look_at_all(asked, record.probe or self._probe)
            unwell = {n: f"{why}{_crashed_before(states.get(n, State()), now)}" for n, why in seen.items() if why}
        found = [f"{environment}/{n} {record.targets[n - 1]}: {why}" for n, why in sorted({**down, **unwell}.items())]
        why = "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
        crashing = all(self._crashing(path, n, states.get(n, State()), now) for n in wanted)
        if crashing and not why:  # it answers just now
            why = _keeps_crashing(environment, [states[n] for n in wanted])
        return Health(record.replicas - len(found), record.replicas, record.targets, why, crashing)

    def probe(self, environment: Environment) -> Probe:
        """One that its record says stays as it is: a router asks in every change of traffic."""
        if environment not in self._probes:
            try:
                record = process_record.read(self._path(environment))
            except Unavailable:
                record = None
            if record is None or record.probe is None:
                return self._probe
            self._probes[environment] = record.probe
        return self._probes[environment]

    def retire(self, environment: Environment, replicas: int, epoch: int) -> NotYet | None:
        path = self._path(environment)
        with self._effect(epoch):
            try:
                record = process_record.read(path) if replicas else process_record.going(path)
            except Damaged as error:
                way = f"put it right, or end what runs of {environment} by hand and take {path} away; then `bleen resume`, or try again"
                raise Refused(f"{environment} cannot be brought down to {replicas}: {error}; {way}") from None
            if record is None:
                if replicas == 0:
                    self._reserve.within(lambda: self._close(environment))
                return None
            if replicas < record.replicas:
                record = record._replace(replicas=replicas)
                self._reserve.within(lambda: process_record.write(path, record))
            if record.replicas == 0:
                for n in record.instances:
                    launch.forbid(path / f"{n}.json")
            if left := self._stop(environment, path, record, record.unwanted):
                return NotYet("; ".join(left[:3]))
            if record.replicas == 0:
                self._reserve.within(lambda: self._bury(environment, path))
            return None

    def tend(self, epoch: int) -> None:
        failed = list[Exception]()
        with self._effect(epoch):
            for environment, path, record in self._records():
                with _noting(failed):
                    if isinstance(record, Unavailable):
                        raise record
                    self._stop(environment, path, record, record.unwanted)
                    self._start(environment, path, record, 0.0, self._pauses)  # what cannot be started comes round again; its state, and health(), tell of it
                    for n in record.instances:
                        logs.rotate(path / f"{n}.log", record.log_bytes)
            if failed:
                raise failed[0]

    def down(self, epoch: int) -> NotYet | None:
        with self._effect(epoch):
            left, failed = list[str](), list[Exception]()
            for environment, path in _named(self._place):
                with _noting(failed):
                    record = process_record.going(path)
                    if record is None:
                        continue
                    left += self._stop(environment, path, record, record.instances)
                    if not left:
                        for n in record.instances:
                            (path / f"{n}.json").unlink(missing_ok=True)  # ended, not crashed: the next `tend` starts it at once
            if failed and not left:
                raise failed[0]
            return NotYet("; ".join(left[:3])) if left else None

    def logs(self, environment: Environment, lines: int) -> Sequence[str]:
        """Each line after the number of its instance: "1| ...". Lines bear no time, so each instance has its share of them together, the last to write last."""
        with _in_words("read the logs of", environment):
            found = sorted(self.log_files(environment).items(), key=lambda item: item[1].stat().st_mtime)
            tails = [(prefix, logs.tail(file, lines)) for prefix, file in found]
        share = _shares([len(tail) for _, tail in tails], lines)
        return [f"{prefix}{line}" for (prefix, tail), count in zip(tails, share, strict=True) for line in tail[len(tail) - count :]]

    def follow(self, environment: Environment) -> Callable[[], Sequence[str]]:
        return logs.Follower(lambda: self.log_files(environment)).fresh

    def log_files(self, environment: Environment) -> Mapping[str, Path]:
        """The log of each instance by the prefix of its lines, for ``logs --follow``; also of an environment that has ended, while they are kept.

        A log is appended to. One that is shorter than it was has been cut: begin again at its start (``host.logs.rotate``).
        """
        live = self._path(environment)
        path = live if live.is_dir() else self._ended(environment)
        return {f"{n}| ": file for n, file in sorted((_instance(file, ".log"), file) for file in files.matching(path, "*.log")) if n}

    # Starting and ending. The fence is held.

    def _create(self, environment: Environment, path: Path, version: str, replicas: int) -> Record:
        """Records a new environment: its directory appears whole, under the lock that gives out its ports."""
        hidden = process_record.secrets(self._settings.get("secrets", ""))
        with process_ports.giving_out(self._ports, self._settings.get("ports") or process_ports.RANGE, replicas) as ports:
            record = Record.planned(environment, version, replicas, ports, self._settings, self._probe)
            launch.check(process_record.program(path, record, environment, 1, hidden))
            self._reserve.within(lambda: process_record.create(path, record, hidden))
        return record

    def _resize(self, path: Path, record: Record, replicas: int) -> Record:
        missing = max(0, replicas - len(record.ports))
        with process_ports.giving_out(self._ports, self._settings.get("ports") or process_ports.RANGE, missing) as ports:
            resized = record._replace(replicas=replicas, ports=(*record.ports, *ports))
            self._reserve.within(lambda: process_record.write(path, resized))
        return resized

    def _move(self, path: Path, record: Record, n: int, taken: process_ports.Stranger, patience: float) -> Record:
        """Gives an instance another port, and says in its log who has the one that it had. Raises Refused if none is free, and what ``giving_out`` does."""
        had, limits = record.ports[n - 1], self._settings.get("ports") or process_ports.RANGE
        try:
            with process_ports.giving_out(self._ports, limits, 1, patience) as (port,):
                moved = record._replace(ports=(*record.ports[: n - 1], port, *record.ports[n:]))
                self._reserve.within(lambda: process_record.write(path, moved))
        except Refused as error:
            raise Refused(f"{taken} listens on its port {had}, and gets what is sent there: end it; there is no other port, as {error}") from None
        self._say(path, n, f"gets port {port}, as {taken} listens on {had}")
        return moved

    def _start(self, environment: Environment, path: Path, record: Record, patience: float, waits: Callable[[State], bool]) -> list[PortError]:
        """Starts what is wanted, does not run and does not wait; answers what could not be started. ``patience`` is with others who take ports just then."""
        failures, deadline = list[PortError](), self._now() + LAUNCHING
        with self._states(path) as states:
            for n in range(1, record.replicas + 1):
                process, state = self._last(path, n), states.get(n, State())
                if process and state.ending is None:
                    if process.alive:
                        continue
                    if state.due is None:
                        states[n] = state = state.died(self._now())
                record, states[n], hindrance = self._at_its_own_port(environment, path, record, n, state, patience)  # though it waits: routers send to its port
                if waits(states[n]):
                    continue
                if process:
                    states[n] = self._end(path, record, n, states[n])
                    if states[n].ending is not None:
                        continue
                if self._now() > deadline:
                    failures.append(Unavailable(f"{n - 1} of {record.replicas} copies of {environment} were started so far"))
                    break
                if hindrance is None:
                    states[n], hindrance = self._launched(environment, path, record, n, states[n])
                if hindrance is not None:
                    failures.append(hindrance)
        return failures

    def _last(self, path: Path, n: int) -> Process | None:
        """The process that an instance last had since this host was booted."""
        process = launch.recorded(path / f"{n}.json")
        return process if process and process.boot == boot_id() else None

    def _pauses(self, state: State) -> bool:
        """Whether it is too early to start an instance again."""
        return state.due is not None and self._now() < state.due

    def _pauses_after_a_crash(self, state: State) -> bool:
        """The same for whoever asks for it: what could not be started is tried again at once."""
        return self._pauses(state) and not state.why

    def _at_its_own_port(
        self, environment: Environment, path: Path, record: Record, n: int, state: State, patience: float
    ) -> tuple[Record, State, PortError | None]:
        """Sees that no stranger has the port of an instance that does not run: the record and its state then, and why it cannot be started at its port."""
        taken, hindrance = process_ports.stranger(record.ports[n - 1], path / f"{n}.json"), None
        if taken and taken.may_be_closing and state.ended is not None and self._now() < state.ended + LETTING_GO:
            hindrance = Unavailable(f"port {record.ports[n - 1]} is still held by {environment}/{n}, which has just ended")
        elif taken:
            try:
                record = self._move(path, record, n, taken, patience)
            except PortError as error:  # without a pause, as it is what keeps requests from a stranger: it starts as soon as there is a port
                return record, self._unable(path, n, state, error), error
        if state.why and not state.failures:  # who had its port has gone, or it has got another
            state = state._replace(why="")
        return record, state, hindrance

    def _launched(self, environment: Environment, path: Path, record: Record, n: int, state: State) -> tuple[State, PortError | None]:
        """Launches an instance: its state then, and why it could not be."""
        try:
            program = process_record.program(path, record, environment, n, process_record.secrets(str(path / "secrets.json")))
            self._reserve.within(lambda: launch.launch(program, path / f"{n}.json"))
        except PortError as error:
            return self._unable(path, n, state, error).failed(self._now()), error
        return state.launched(self._now()), None

    def _unable(self, path: Path, n: int, state: State, error: PortError) -> State:
        """The state of an instance that cannot be started; its log says why, once."""
        if state.why != str(error):
            self._say(path, n, f"cannot be started: {error}")
        return state._replace(why=str(error))

    def _stop(self, environment: Environment, path: Path, record: Record, instances: Sequence[int]) -> list[str]:
        """Ends these instances; answers in words which are left."""
        left = []
        with self._states(path) as states:
            for n in instances:
                state = self._end(path, record, n, states.get(n, State()))
                if state.ending is None:
                    states.pop(n, None)
                    continue
                states[n] = state
                given = duration(record.stop_timeout)
                said = f"killed, as it did not end within {given}" if state.killed else f"asked to end, and has {given} for it"
                left.append(f"{environment}/{n}, which was {said}")
        return left

    def _end(self, path: Path, record: Record, n: int, state: State) -> State:
        """Asks an instance to end, and what it leaves behind; ends it hard when its time is over. Its state is no longer ``ending`` once all of it is gone."""
        file, now = path / f"{n}.json", self._now()
        process = launch.recorded(file)
        since = now if state.ending is None else state.ending
        late = now - since >= record.stop_timeout
        if process and process.alive and process.pid in state.told and not late:
            return state
        seen = [Process(pid, start, boot_id()) for pid, start in state.family]
        left = list(dict.fromkeys([*launch.remains(file), *(each for each in seen if each.alive)]))
        if not left:
            return state._replace(ending=None, told=(), killed=False, family=())
        if late:
            if not state.killed:
                self._say(path, n, f"did not end within {duration(record.stop_timeout)} of {signal.Signals(record.stop_signal).name}: killed")
            left = [each for each in seen if each.signal(signal.SIGKILL)]
            gone = launch.end(file, signal.SIGKILL) and not left
            return state._replace(ending=None, told=(), killed=False, family=()) if gone else state._replace(ending=since, killed=True)
        asked = [each for each in left if each == process] or left
        for each in asked:
            if each.pid not in state.told:
                each.signal(record.stop_signal)
        family = tuple(dict.fromkeys([*state.family, *((each.pid, each.start) for each in left)]))
        return state._replace(ending=since, told=tuple(each.pid for each in asked), family=family)

    def _say(self, path: Path, n: int, what: str) -> None:
        with suppress(OSError), open(path / f"{n}.log", "a", encoding="utf-8") as log:  # on a full disk what is to be killed is killed
            log.write(f"bleen: instance {n} {what}\n")

    def _bury(self, environment: Environment, path: Path) -> None:
        """Takes what is left of an environment to those that have ended."""
        ended = self._ended(environment)
        ended.parent.mkdir(mode=0o700, exist_ok=True)
        (path / "secrets.json").unlink(missing_ok=True)
        path.rename(ended)
        files.sync_directory(self._place)
        self._close(environment)

    def _close(self, environment: Environment) -> None:
        """Leaves of an environment only that it has ended, and the end of its logs, also where a burial was cut short; older ones are forgotten."""
        ended = self._ended(environment)
        ended.parent.mkdir(mode=0o700, exist_ok=True)
        ended.mkdir(mode=0o700, exist_ok=True)
        for file in ended.iterdir():
            if _instance(file, ".log"):
                logs.shrink(file, KEPT_BYTES)
            else:
                _remove(file)
        known = sorted(_named(ended.parent), key=lambda each: each[0].release)
        for _, each in known[:-KEPT]:
            _remove(each)

    # Looking

    def _down(self, path: Path, n: int, record: Record, state: State, now: float) -> str:
        """Why an instance need not be asked how it is; empty if it is worth asking."""
        process = launch.recorded(path / f"{n}.json")
        if process is None or not process.alive:
            if process is None or state.why:
                return state.why or "was not started yet"
            pause = state.pause  # not what is left of it: words that change at every look would be journalled at every look
            return f"crashed{_times(state.crashes + 1)}{f', starts again within {duration(pause)}' if state.due is not None and pause else ''}"
        if state.ending is not None:
            return "is ending"
        objection = self._owners.objection(path / f"{n}.json", process, record.ports[n - 1])
        return f"{objection}{_crashed_before(state, now)}" if objection else ""

    def _crashing(self, path: Path, n: int, state: State, now: float) -> bool:
        return state.crashing and not (_is_alive(path, n) and now - state.started >= process_record.GOOD_RUN)

    def _records(self) -> Iterator[tuple[Environment, Path, Record | Unavailable]]:
        """What was started here; in place of a record that cannot be read, why not: one that is damaged bars nobody's way back to another."""
        for environment, path in _named(self._place):
            try:
                record: Record | Unavailable | None = process_record.read(path)
            except Unavailable as error:
                record = error
            if record:
                yield environment, path, record

    def _path(self, environment: Environment) -> Path:
        name = str(environment)
        if Path(name).name != name or name.startswith("."):
            raise Refused(f"{name!r} is no name for an environment")
        return self._place / name

    def _ended(self, environment: Environment) -> Path:
        return self._place / ENDED / str(environment)

    @contextmanager
    def _states(self, path: Path) -> Iterator[dict[int, State]]:
        """The states of the instances, to be changed; written at the end if they were."""
        states = process_record.states(path)
        before = dict(states)
        try:
            yield states
        finally:
            if states != before:
                self._reserve.within(lambda: process_record.write_states(path, states))

    @contextmanager
    def _effect(self, epoch: int) -> Iterator[None]:
        with _in_words("act on", self._place), self._fence.passing(epoch):
            yield


@contextmanager
def _in_words(what: str, whom: object) -> Iterator[None]:
    """The one place where an error of the operating system becomes one of the port."""
    try:
        yield
    except OSError as error:
        where = " to ".join(str(name) for name in (error.filename, error.filename2) if name not in (None, str(whom)))
        raise Unavailable(f"could not {what} {whom}: {error.strerror or error}{f' ({where})' if where else ''}{files.way(error)}") from error


@contextmanager
def _noting(failed: list[Exception]) -> Iterator[None]:
    """Notes what fails, to be raised at the end, a bug of ours too: an environment that cannot be seen to keeps nobody from the others."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - as above
        failed.append(error)


def _named(place: Path) -> list[tuple[Environment, Path]]:
    """The directories of environments in a place, by name. What bleen did not make, such as somebody's ``green-2.bak``, is not ours to judge or to end."""
    found = []
    for path in sorted(place.iterdir()):
        with suppress(ValueError):
            environment = Environment.parse(path.name)
            if str(environment) == path.name and path.name[0] != "." and path.is_dir():
                found.append((environment, path))
    return found


def _instance(file: Path, suffix: str) -> int:
    """The number of the instance whose file this is; 0 for any other file."""
    return int(file.stem) if file.suffix == suffix and file.stem.isdecimal() else 0


def _remove(path: Path) -> None:
    """With all that anybody has put into it: an environment's directory goes as a whole."""
    if path.is_dir() and not path.is_symlink():
        for each in path.iterdir():
            _remove(each)
        path.rmdir()
    else:
        path.unlink()


def _launched(path: Path) -> Iterator[int]:
    """The instances that have a launch record, whatever the record of their environment says."""
    for file in path.iterdir():
        if n := _instance(file, ".json"):
            yield n


def _known_to_live(path: Path, instances: Iterable[int]) -> int:
    """How many of these are seen to: a directory or a file that cannot be looked into hides no other, and bars nobody's way back to it."""
    alive = 0
    with suppress(OSError):
        for n in instances:
            with suppress(OSError, Unavailable):
                alive += _is_alive(path, n)
    return alive


def _is_alive(path: Path, n: int) -> bool:
    process = launch.recorded(path / f"{n}.json")
    return process is not None and process.alive


def _crashed_before(state: State, now: float) -> str:
    """What is said beside what a restarted instance answers, until it has run well for a while."""
    return f", after it crashed{_times(state.crashes)}" if state.crashes and now - state.started < process_record.GOOD_RUN else ""


def _keeps_crashing(environment: Environment, states: Sequence[State]) -> str:
    """What is said of an environment that answers, and is not trusted for it."""
    crashes, run = max(state.crashes for state in states), duration(process_record.GOOD_RUN)
    return f"{environment} answers, but keeps crashing ({crashes} times): it counts as well again once it has run for {run}"


def _times(count: int) -> str:
    return "" if count == 1 else f" {count} times"


def _shares(have: Sequence[int], lines: int) -> list[int]:
    """How many lines each may show so that all together show at most ``lines``: equal shares, what one does not need going to the others."""
    shares = [0] * len(have)
    left = max(0, lines)
    for at, index in enumerate(sorted(range(len(have)), key=lambda i: have[i])):
        shares[index] = min(have[index], left // (len(have) - at))
        left -= shares[index]
    return shares
