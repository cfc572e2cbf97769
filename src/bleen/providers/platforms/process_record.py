"""What lies on disk of an environment of processes: what to run, how each instance fares, and the program that follows from it.

::

    environments/green-5/
        environment.json       Record: durable, written before anything is started; with it the environment exists
        secrets.json           a private copy of the values that ${NAME} stands for, and of the base environment
        instances.json         State of each instance: restarts and endings under way
        1.json 1.lock 1.ended  see ``host.launch``
        1.log 1.log.old
    environments/.ended/green-5/   the end of its logs, for a while
"""

import json
import os
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bleen.errors import Refused, Unavailable
from bleen.host import files, launch, launcher
from bleen.host.clock import boot_id
from bleen.host.launch import Program
from bleen.model import Environment, Target
from bleen.plan import Probe, fill

HOST = "127.0.0.1"
GOOD_RUN = 60.0
"""Seconds after which a restarted instance counts as well again; also the time within which three restarts count as crashing."""


class Damaged(Unavailable):
    """What stands in the place of an environment's record is none."""


class Record(NamedTuple):
    """What an environment is, whatever today's plan says. ``replicas`` 0: it was retired for good."""

    version: str
    replicas: int
    ports: tuple[int, ...]
    """One for each instance there ever was: those above ``replicas`` are kept for its return."""
    command: tuple[str, ...]
    directory: str
    env: Mapping[str, str]
    user: str
    stop_signal: int
    stop_timeout: float
    log_bytes: int
    probe: Probe | None = None
    """How its copies are asked whether they are well; None in one that was written by a bleen which asked every environment alike."""
    environment: str = ""
    """Whose it is: a copy of a directory is no environment. Empty in one that was written by a bleen which went by the directory's name."""

    @property
    def instances(self) -> range:
        return range(1, len(self.ports) + 1)

    @property
    def unwanted(self) -> range:
        return self.instances[self.replicas :]

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(Target(HOST, port) for port in self.ports[: self.replicas])

    @classmethod
    def planned(cls, environment: Environment, version: str, replicas: int, ports: tuple[int, ...], settings: Mapping[str, Any], probe: Probe) -> "Record":
        """From the settings of a plan. Raises Refused for a stop signal that does not exist."""
        stop = settings.get("stop") or {}
        name = str(stop.get("signal", "TERM")).upper().removeprefix("SIG")
        try:
            number = int(signal.Signals[f"SIG{name}"])
        except KeyError:
            raise Refused(f"stop.signal: there is no signal {name}; TERM, INT or QUIT, say") from None
        return cls(
            version,
            replicas,
            ports,
            tuple(settings["command"]),
            settings["directory"],
            dict(settings.get("env") or {}),
            settings.get("user", ""),
            number,
            float(stop.get("timeout", 10.0)),
            int(settings.get("log_bytes", 10 << 20)),
            probe,
            str(environment),
        )


class State(NamedTuple):
    """How one instance fares. Times are seconds since boot."""

    started: float = 0.0
    crashes: int = 0
    """Restarts in a row, each before a good run was over."""
    restarts: tuple[float, ...] = ()
    """The last three."""
    crashing: bool = False
    """It was restarted three times within a minute, and has had no good run since."""
    due: float | None = None
    """When it is to be started again; None unless it has crashed, or could not be started."""
    failures: int = 0
    """How often in a row a start has failed since it last ran: nothing that it did, and no crash. None is tried for want of a port."""
    why: str = ""
    """Why it could not be started; empty if it could."""
    ending: float | None = None
    """Since when it, or what it left behind, has been asked to end."""
    told: tuple[int, ...] = ()
    """The pids that were sent the stop signal since then."""
    killed: bool = False
    family: tuple[tuple[int, int], ...] = ()
    """Pid and start time of all that was of it when it was asked: one with a session and an environment of its own is nobody's once its parent has ended."""

    def died(self, now: float) -> "State":
        """Ended by itself: to be started again at once after a good run, else after 0, 1, 2, 4 ... 30 s."""
        fresh = State(self.started) if now - self.started >= GOOD_RUN else self
        return fresh._replace(due=now + fresh.pause)

    @property
    def pause(self) -> float:
        """Seconds from its end, or from the last try to start it, to the next start."""
        return backoff(self.crashes + self.failures)

    @property
    def ended(self) -> float | None:
        """When it ended, or was last tried to be started; None unless it is to be started again."""
        return None if self.due is None else self.due - self.pause

    def launched(self, now: float) -> "State":
        if self.due is None or (self.failures and not self.started):  # it never ran, and nothing of it crashed
            return State(now)
        restarts = (*self.restarts, now)[-3:]
        crashing = self.crashing or (len(restarts) == 3 and now - restarts[0] <= GOOD_RUN)
        return State(now, self.crashes + 1, restarts, crashing)

    def failed(self, now: float) -> "State":
        """Could not be started: tried again as late as if it had crashed."""
        once = self._replace(failures=self.failures + 1)
        return once._replace(due=now + once.pause)


def backoff(times: int) -> float:
    """Seconds to wait before the next start, after so many in a row."""
    return min(30.0, 2.0 ** min(times - 1, 5)) if times else 0.0


def read(path: Path) -> Record | None:
    """The record of the environment whose directory this is; None if there is none, or another's. Raises Unavailable while it cannot be read, else Damaged."""
    file = path / "environment.json"
    try:
        row = json.loads(file.read_text())
        known = {name: row[name] for name in Record._fields if name in row}  # another version of bleen may have written more, or less, of it
        probe = Probe(**row["probe"]) if row.get("probe") else None
        record = Record(**{**known, "ports": tuple(row["ports"]), "command": tuple(row["command"]), "probe": probe})
        return record if _sound(record).environment in ("", path.name) else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Unavailable(f"{file} cannot be read: {files.in_words(error)}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(f"{file} is not the record of an environment: {error}") from None


def going(path: Path) -> Record | None:
    """The record of an environment that is to go for good; None if there is none, or another's. In place of one that cannot be read, or was taken away, one of
    the instances that have a launch record: what they started says so itself, in its environment. They get SIGTERM, and have 10 s, as where nothing is planned.
    Raises Damaged if one is of somebody else.
    """
    why = None
    try:
        if record := read(path):
            return record
    except Damaged as error:
        why = error
    if why is None and (path / "environment.json").exists():
        return None
    launched = {int(file.stem): file for file in files.matching(path, "*.json") if file.stem.isdecimal()}
    alive = [(process, file) for file in launched.values() if (process := launch.recorded(file)) and process.alive]
    if why is None and not alive and not any(file.with_suffix(".ended").exists() for file in launched.values()):
        return None  # nothing of it runs, or was being ended: somebody's own
    if any(not launch.is_of(process.pid, file) and not process.ends for process, file in alive):  # in this order: one that ends has no environment
        raise why or Damaged(f"{path} has no record of an environment")
    return Record("", 0, (0,) * max(launched, default=0), (), "", {}, "", signal.SIGTERM, 10.0, 0)


def create(path: Path, record: Record, hidden: Mapping[str, Any]) -> None:
    """Makes the directory of a new environment, with its record and its secrets; durably, and whole or not at all."""
    new = path.with_name(f".new-{path.name}")
    new.mkdir(mode=0o700, exist_ok=True)
    for left in new.iterdir():  # by one that was killed in the middle of this
        left.unlink()
    files.write_durably(new / "secrets.json", json.dumps(hidden))
    write(new, record)
    new.rename(path)
    files.sync_directory(path.parent)


def write(path: Path, record: Record) -> None:
    row = {**record._asdict(), "probe": record.probe._asdict() if record.probe else None}
    files.write_durably(path / "environment.json", json.dumps(row))


def _sound(record: Record) -> Record:
    """Raises ValueError for a field that holds what nobody of us writes there."""
    probe = record.probe or Probe()
    texts = (record.version, record.directory, record.user, record.environment, *record.command, *record.env.values(), probe.path)
    numbers = (record.replicas, record.stop_signal, record.log_bytes, *record.ports, probe.fall)
    seconds = (record.stop_timeout, probe.interval, probe.patience, probe.timeout)
    _must_be((texts, str), (numbers, int), (seconds, (int, float)))
    if not record.command:
        raise ValueError("there is no command")
    if not 0 <= record.replicas <= len(record.ports):
        raise ValueError(f"replicas is {record.replicas}, and there are {len(record.ports)} ports")
    return record


def _must_be(*fields: tuple[Iterable[object], type | tuple[type, ...]]) -> None:
    """Raises ValueError unless all of each are of their kind."""
    if not all(isinstance(each, kind) for those, kind in fields for each in those):
        raise ValueError("a field is of the wrong kind")


def states(path: Path) -> dict[int, State]:
    """How the instances fare; nothing is known of one that was not started since boot."""
    try:
        rows = json.loads((path / "instances.json").read_text())
        return {int(n): _state(row) for n, row in rows["states"].items()} if rows["boot"] == boot_id() else {}
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):  # it is no truth, and damaged as good as absent
        return {}


def _state(row: Mapping[str, Any]) -> State:
    known = {name: row[name] for name in State._fields if name in row}  # another version of bleen may have written more, or less, of it
    family = tuple((int(pid), int(start)) for pid, start in row.get("family", ()))
    state = State(**{**known, "restarts": tuple(row["restarts"]), "told": tuple(row["told"]), "family": family})
    times = (state.started, *state.restarts, *(each for each in (state.due, state.ending) if each is not None))
    _must_be((times, (int, float)), ((state.crashes, state.failures, *state.told), int), ((state.crashing, state.killed), bool), ((state.why,), str))
    return state


def write_states(path: Path, found: Mapping[int, State]) -> None:
    launcher.write(str(path / "instances.json"), {"boot": boot_id(), "states": {n: s._asdict() for n, s in found.items()}})


def secrets(file: str) -> dict[str, Any]:
    """The base environment and the values of references; without a file, PATH and HOME of whoever asks. Raises Refused if the file cannot be read."""
    if not file:
        return {"base": {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}, "values": {}}
    try:
        found: dict[str, Any] = json.loads(Path(file).read_text())
        return found
    except (OSError, ValueError) as error:
        raise Refused(f"the secrets of the release cannot be read: {error}") from None


def program(path: Path, record: Record, environment: Environment, instance: int, hidden: Mapping[str, Any]) -> Program:
    """What one instance runs; ``hidden`` is what ``secrets`` gave. Raises Refused for a reference that has no value."""
    words = {"port": str(record.ports[instance - 1]), "version": record.version, "environment": environment.name, "instance": str(instance)}
    variables = {name: fill(template, words, hidden["values"]) for name, template in record.env.items()}
    return Program(
        [fill(word, words, None) for word in record.command],
        record.directory,
        {**hidden["base"], **variables, "PORT": words["port"]},
        str(path / f"{instance}.log"),
        record.user,
    )
