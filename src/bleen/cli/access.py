"""From what a person typed to an open service: its place, its journal, and this process as one that may drive it."""

import os
import pwd
import signal
import sys
import time
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import bleen
from bleen import __version__, wiring
from bleen.errors import UserError
from bleen.host import clock, logs, processes, state
from bleen.host.files import Reserve, room
from bleen.host.processes import Process
from bleen.host.state import Place
from bleen.lifecycle import UNMOVED, Phase, Release, Service
from bleen.model import Environment
from bleen.ports import SILENT, Holder, Journal, Providers
from bleen.shipping import release_of

if TYPE_CHECKING:
    from bleen.engine.drive import Driver
    from bleen.engine.tick import Engine

_BLEEN = (sys.executable, "-P", "-m", "bleen")
"""As a child of ours: without -P it would import what lies in the directory that the person stands in, a json.py of theirs or of a stranger's."""

_LOG_BYTES = 1 << 20

_FULL = 1 << 16
"""Bytes; with less room than this little can be written down."""


class Access(NamedTuple):
    """A service that is known on this host."""

    place: Place
    journal: Journal

    @property
    def name(self) -> str:
        return self.place.service

    @property
    def service(self) -> Service:
        return self.journal.service(self.name)

    @property
    def watched(self) -> bool:
        """Whether a resident engine is there, and whoever drives is heard of."""
        held = self.service.holder
        return ((held is not None and held.resident and held.alive) or _resident(self.place) is not None) and not self.hung

    @property
    def hung(self) -> bool:
        """Whether somebody is alive who drives, or should have taken over, and nobody was heard of for longer than anything may take."""
        if self.journal.silence() < SILENT:
            return False
        held = self.service.holder
        if held is not None and held.alive:
            return True
        stands_by = _resident(self.place)
        return stands_by is not None and stands_by.age >= SILENT

    def newest(self) -> Release:
        """The newest release. Raises UserError if there was none yet."""
        release = self.journal.latest(self.name)
        if release is None:
            raise UserError(f"{self.name} has no release yet: `bleen deploy VERSION` makes one")
        return release

    def release_of(self, environment: Environment) -> Release | None:
        """See ``shipping.release_of``."""
        return release_of(self.journal, self.name, environment)

    def as_it_is(self, release: Release) -> Release:
        """A release whose row cannot say what it waits for: before its traffic has moved, and for the database behind that, it gets nothing of the reserve."""
        behind = release.phase in (Phase.CONTRACTING, Phase.UNDOING) and release.plan.database
        if not (release.phase in UNMOVED or behind) or release.halted or not self.full:
            return release
        return release._replace(why=f"room on the disk of {self.place.path}, which is full")

    @property
    def full(self) -> bool:
        """Whether the disk of its state has no room to write anything down."""
        return room(self.place.path) < _FULL

    @property
    def unreserved(self) -> str:
        """That a rollback could not be written down once the disk is full, in words; empty if room is put aside for it."""
        lacks = Reserve(self.place.reserve).lacks
        return f"the disk of {self.place.path} has no room for the reserve of a rollback, which cannot be done once it is full: make room" if lacks else ""

    def providers(self, release: Release | None) -> Providers:
        return wiring.build(self.place, self.service, release)

    def driver(self) -> "Driver":
        self.place.must_be_ours()
        from bleen.engine.drive import Driver, holder  # verbs that only look, `status` above all, load no engine

        return Driver(self.journal, self.engine(), self.name, holder(__version__), lambda trouble: print(f"bleen: {trouble}", file=sys.stderr))

    def engine(self) -> "Engine":
        from bleen.engine.tick import Engine

        return Engine(self.journal, lambda service, release: wiring.build(self.place, service, release), ended=self.forget_secrets, log=self.note)

    def note(self, text: str) -> None:
        """Writes a line to the engine's log, whoever drives. On a full disk that line is what goes first."""
        with suppress(OSError):
            logs.rotate(self.place.log, _LOG_BYTES)
            with open(self.place.log, "a", encoding="utf-8") as log:
                log.write(f"{clock.local(clock.wall())} {os.getpid()} {text}\n")

    def forget_secrets(self) -> None:
        """Removes the secrets of releases that have ended and whose environment is gone."""
        releases = self.journal.releases(self.name, 50)
        running = self.providers(releases[0] if releases else None).platform.running()
        for release in releases:
            if release.ended and release.environment not in running and (file := release.plan.platform.get("secrets")):
                Path(file).unlink(missing_ok=True)

    def leave(self, driver: "Driver", release: Release) -> None:
        """Leaves what this process drove to a resident engine: there goes on behind what the person need not wait for. What was taken down stays down."""
        if self.service.up and (driver.ended_resident or (driver.driving and not release.ended and not release.halted)):
            _start_engine_behind(self.place)


def open_service(args: Namespace) -> Access:
    """The service that ``--service`` or the path of bleen.yaml names; the file itself is not read. Raises UserError if there is none."""
    place = state.named(args.service) if args.service else state.find(Path(args.file))
    return Access(place, wiring.journal(place))


def described(args: Namespace, service: str) -> str:
    """The service that the bleen.yaml describes. Raises UserError if ``--service`` names another one: who is meant is not for us to guess."""
    if args.service and args.service != service:
        way = ""
        with suppress(UserError):
            way = f", which {was} describes: name that with -f" if (was := state.named(args.service).came_from(Path(args.file))) else ""
        raise UserError(f"{args.file} is of the service {service!r}, not of {args.service!r}{way}")
    return service


def moved(place: Place, file: Path) -> str:
    """That a service was brought up or released from another bleen.yaml until now, in words; empty if it was not. A move is fine, a copied name is not."""
    was = place.came_from(file)
    if not was:
        return ""
    if not os.path.exists(was):
        return f"{place.service} moves here from {was}, which is gone"
    return f"{place.service} was run from {was} until now, which is still there: one name is one service; if this is another one, give it another `service`"


def start_engine(place: Place) -> Process:
    """Starts a resident engine, re-parented to init; one that runs already is left as it is."""
    from bleen.host.errand import PASSED_ON
    from bleen.host.launch import Program, launch  # 10 ms that a rollback with a living engine need not pay

    environment = {name: os.environ[name] for name in (*PASSED_ON, "TMPDIR", "XDG_STATE_HOME", "VIRTUAL_ENV") if name in os.environ}
    program = Program(
        [*_BLEEN, "engine", "--service", place.service],
        str(place.path),
        {**environment, "BLEEN_STATE": str(place.root)},
        str(place.log),
    )
    return Reserve(place.reserve).within(lambda: launch(program, place.engine))


def stop_engine(place: Place) -> None:
    """Ends the resident engine; one that does not end by itself is killed, which is safe. What serves goes on."""
    from bleen.host.launch import end  # as above

    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + 3
        while not end(place.engine, number) and time.monotonic() < deadline:
            time.sleep(0.02)


def outdated(engine: Holder | None) -> str:
    """What a living resident engine runs, in words, if not what is installed here now; else empty. It could start nothing where its files have moved."""
    process = engine.process if engine and engine.resident and engine.alive else None
    if engine is None or process is None:
        return ""
    if engine.version != __version__:
        return f"is version {engine.version}, this is {__version__}"
    if (path := processes.program(process.pid)) and path != sys.executable:
        return f"was started with {path}, this is {sys.executable}"
    files = Path(bleen.__file__).parent.rglob("*.py")
    newest = max(file.stat().st_ctime for file in files)  # of their coming there: an installer may give them the time of when they were written
    return "was started before the files that are installed now" if newest > time.time() - process.age else ""


def _start_engine_behind(place: Place) -> None:
    """Has a resident engine started by a process that nobody waits for: a person whose site was down has their prompt back sooner."""
    try:
        log = os.open(place.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)  # nobody else hears why there is no engine
    except OSError:  # a disk without room for it, say
        log = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    nothing = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
    argv = [*_BLEEN, "engine", "--start", "--service", place.service]
    streams = [*nothing, (os.POSIX_SPAWN_DUP2, log, 2)]
    os.posix_spawn(sys.executable, argv, {**os.environ, "BLEEN_STATE": str(place.root)}, file_actions=streams, setsid=True)
    os.close(log)


def who() -> str:
    """Who types this, for the journal."""
    try:
        return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _resident(place: Place) -> Process | None:
    """The resident engine, if it is alive."""
    from bleen.host.launch import recorded

    process = recorded(place.engine)
    return process if process is not None and process.alive else None
