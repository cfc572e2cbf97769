"""Where the state of services lies: outside the checkout, so that ``git clean -fdx`` does not lose production.

::

    ROOT/files/NAME            the service of a bleen.yaml, by the real path of the file
    ROOT/ports.lock            held while ports are given out, across the services of the host
    ROOT/services/NAME/
        journal.db             what we know and intend
        fence  reserve         see ``files``
        identity               what tells this state from another one of the service, on another host, say
        beat                   an empty file; its time, on the journal's clock, is when who drives was last heard of
        file                   the path of the bleen.yaml that it was last brought up or released from
        engine.json            the resident engine's process
        engine.log             what it has to say
        secrets/               values for ``${NAME}``, a file (0600) for each release whose environment may run
        router/                the proxy's own files
        environments/blue-4/   one directory for each environment that runs
        releases/4/            what a release needs until it ends: reports, checks under way
"""

import os
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bleen.errors import Unavailable, UserError
from bleen.host.files import matching, text_of, user, write_durably, write_in_place


def root() -> Path:
    """``BLEEN_STATE``, else /var/lib/bleen for root, else ``XDG_STATE_HOME``/bleen (XDG Base Directory Specification)."""
    if chosen := os.environ.get("BLEEN_STATE"):
        return Path(chosen).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/bleen")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "bleen"


class Place:
    """The directory of one service."""

    def __init__(self, service: str, at: Path | None = None) -> None:
        self.service = service
        self.root = at or root()
        self.path = self.root / "services" / service
        self.journal = self.path / "journal.db"
        self.fence = self.path / "fence"
        self.reserve = self.path / "reserve"
        self.beat = self.path / "beat"
        self._identity = self.path / "identity"
        self._file = self.path / "file"
        self.engine = self.path / "engine.json"
        self.log = self.path / "engine.log"
        self.secrets = self.path / "secrets"
        self.router = self.path / "router"
        self.environments = self.path / "environments"
        self.releases = self.path / "releases"
        self.ports = self.root / "ports.lock"

    def make(self) -> None:
        """Creates what is missing, readable by nobody else."""
        for each in (self.root, self.root / "files", self.root / "services", self.path, self.router, self.environments, self.releases, self.secrets):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
            if each == self.path:  # before there is anything in it, as only what is made afterwards goes by it
                write_in_place(each)
        if not self.identity:
            write_durably(self._identity, os.urandom(8).hex())

    @property
    def identity(self) -> str:
        """What tells this state from another one of the service; empty for one that an earlier bleen has made, until the next release."""
        return text_of(self._identity) or ""

    def must_be_ours(self) -> None:
        """Raises UserError if it belongs to another user than who we are, root too: with what we would make there, and start, its own could not go on."""
        try:
            owner = os.stat(self.path).st_uid
        except PermissionError:
            raise _shut(self.path) from None
        except OSError:  # nothing is there yet
            return
        if owner == os.geteuid() or _would_own(owner, self.path):
            return
        import shlex

        with suppress(OSError):
            if os.stat(self.journal).st_uid == os.geteuid():  # as that user nobody would get any further
                mine, theirs = (f"`chown -R {user(uid)} {shlex.quote(str(self.path))}`" for uid in (os.geteuid(), owner))
                way = f"as root, give all of it to the one as whom it runs, {mine} or {theirs}"
                raise UserError(f"{self.path} belongs to {user(owner)}, and {self.journal.name} in it to {user(os.geteuid())}: nothing was changed; {way}")
        raise _another_s(self.path, owner, self.root)

    @property
    def known(self) -> bool:
        """Whether a service is known there. Raises UserError where we may not look."""
        return _is_there(self.journal)

    def came_from(self, file: Path) -> str:
        """The bleen.yaml that it was last brought up or released from, where that is another one than this; else empty."""
        known = text_of(self._file) or ""
        return "" if os.path.realpath(known) == os.path.realpath(file) else known

    def comes_from(self, file: Path) -> None:
        """Writes down the bleen.yaml that it is brought up or released from."""
        text = os.fsencode(os.path.abspath(file)).decode(errors="backslashreplace")
        if text_of(self._file) != text:
            with suppress(OSError, Unavailable):  # a full disk keeps nobody from bringing it up
                write_durably(self._file, text)

    def remember(self, file: Path) -> None:
        """Maps a bleen.yaml to this service, for the verbs that do not read it."""
        note, text = _note(file), f"{self.service}\n{os.fsencode(os.path.realpath(file)).decode(errors='backslashreplace')}\n"
        if text_of(note) != text:
            write_durably(note, text)


def must_be_nobody_elses(file: Path) -> None:
    """Raises UserError for a bleen.yaml that is another user's, of which that one's own state knows a service: ours would be a second, empty production."""
    import pwd  # only where somebody asks for it

    try:
        owner = os.stat(file).st_uid
        home = Path(pwd.getpwuid(owner).pw_dir)
        theirs = Path("/var/lib/bleen") if owner == 0 else home / ".local/state/bleen"
        if owner != os.geteuid() and os.path.realpath(theirs) != os.path.realpath(root()) and os.path.exists(_note(file, theirs)):
            error = _another_s(file, owner, theirs)
            raise UserError(f"{error}; if that service is to be nobody's any more, remove {_note(file, theirs)}")
    except (OSError, KeyError):  # no file, nobody of that number, or none of our business
        return


class Unknown(UserError):
    """No service is known by a name or a path; ``elsewhere`` says that one is under another state of this host, where something of it runs, if it is."""

    def __init__(self, what: str, elsewhere: str, way: str) -> None:
        super().__init__(f"{what}: {elsewhere or way}")
        self.elsewhere = elsewhere


def find(file: Path) -> Place:
    """The place of the service that a bleen.yaml was last used for. The file itself is not read and need not be there any more.

    Raises Unknown if there is none.
    """
    service, _, _ = (text_of(_note(file)) or "").partition("\n")
    if not service:
        way = _elsewhere(lambda other: text_of(_note(file, other)) is not None)
        known = f"--service names one of {', '.join(services())}" if services() else f"there is none yet under {root()}"
        raise Unknown(f"no service is known for {os.path.abspath(file)}", way, f"`bleen up` makes one known; {known}")
    return named(service)


def named(service: str) -> Place:
    """The place of a service. Raises Unknown if there is none."""
    place = Place(service)
    if "/" in service or not place.known:
        way = elsewhere(service) if "/" not in service else ""
        raise Unknown(f"no service {service!r} under {root()}", way, "run `bleen up` with its bleen.yaml first")
    return place


def elsewhere(service: str) -> str:
    """That a service is known under another state of this host, where something of it runs, and the way there, in words; empty if there is none."""
    return _elsewhere(lambda other: os.path.exists(Place(service, other).journal))


def holding(record: str) -> Place | None:
    """The place, of whatever state on this host, where the record of something that bleen launched lies; None if no journal is there, or we may not look."""
    found = (p for p in Path(record).parents if p.parent.name == "services" and os.path.exists(p / "journal.db"))
    return next((Place(p.name, p.parent.parent) for p in found), None)


def copies() -> set[int]:
    """Every process of a copy, with all that came of it, of whatever service and state of this host."""
    from bleen.host import launch, processes

    living = (holding(record) for record in processes.variables(launch.MARK).values())
    pids: set[int] = set()
    for at in {root(), *(place.root for place in living if place)}:
        for record in matching(at, "services/*/environments/*/[0-9]*.json"):
            with suppress(Unavailable, PermissionError):  # of one that cannot be read nobody can tell
                pids.update(each.pid for each in launch.remains(record))
    return pids


def chosen(at: Path, *words: str) -> str:
    """A command line of bleen with the state at this root, whatever the shell has set, and as the user whose it is."""
    import shlex

    owner = os.stat(at).st_uid
    if owner != os.geteuid():
        return shlex.join([*_become(owner), "env", f"BLEEN_STATE={at}", _program(), *words])  # sudo keeps no variable
    return f"BLEEN_STATE={shlex.quote(str(at))} {shlex.join(['bleen', *words])}"


def services() -> list[str]:
    """The services of this host that have a journal. Raises UserError where we may not look."""
    at = root() / "services"
    try:
        names = os.listdir(at)
    except PermissionError:
        raise _shut(at) from None
    except OSError:  # nothing is there yet
        return []
    return sorted(name for name in names if os.path.exists(Place(name).journal))


def _is_there(path: Path) -> bool:
    """Whether something is there. Raises UserError where we may not look, as it may well be."""
    try:
        os.stat(path)
    except PermissionError:
        raise _shut(path) from None
    except OSError:  # a name that is too long is that of nothing, too
        return False
    return True


def _shut(path: Path) -> UserError:
    """What keeps us from looking at a path: the nearest directory above it that can be seen, and whose it is."""
    shut = next(each for each in (path, *path.parents) if os.path.exists(each))
    owner = os.stat(shut).st_uid
    if owner == os.geteuid():
        return UserError(f"{shut} lets nobody look into it, though it is ours: nothing was changed; `chmod u+rwx {shut}`, then try again")
    return _another_s(shut, owner, root())


def _another_s(path: Path, owner: int, at: Path) -> UserError:
    """What belongs to another user, and how to become that one, with the state at this root."""
    import shlex

    name = user(owner)
    way = shlex.join([*_become(owner), "env", f"BLEEN_STATE={at}", _program(), *sys.argv[1:]])
    said = f"user {owner}" if name == str(owner) else name
    return UserError(f"{path} belongs to {said}: nothing was changed; run this as that user: `{way}`")


def _become(owner: int) -> list[str]:
    """The beginning of a command line that goes on as another user."""
    name, from_root = user(owner), os.geteuid() == 0
    if name == str(owner):  # which has no name
        return [*(["setpriv", "--reuid", name, "--clear-groups"] if from_root else ["sudo", "-u", f"#{name}"]), "--"]
    return ["runuser" if from_root else "sudo", "-u", name, "--"]


def _program() -> str:
    """This program, as another user finds it: the PATH of sudo is its own."""
    return os.path.abspath(sys.argv[0]) if os.path.basename(sys.argv[0]) == "bleen" and os.path.isfile(sys.argv[0]) else "bleen"


def _would_own(owner: int, directory: Path) -> bool:
    """Whether a user owns whatever is made in a directory, as on a share that knows no other: then nobody can be told from anybody by it."""
    probe = directory / f".{os.getpid()}.owner"
    try:
        handle = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except PermissionError:
        return False
    except OSError:  # a full disk keeps nobody from a rollback
        return True
    try:
        return os.fstat(handle).st_uid == owner
    finally:
        os.close(handle)
        os.unlink(probe)


def _elsewhere(known: Callable[[Path], bool]) -> str:
    """The way to another state of this host, of which something runs and where that is known, in words; empty if there is none that we may see."""
    from bleen.host import launch, processes

    found = {place.root for record in processes.variables(launch.MARK).values() if (place := holding(record))}
    others = sorted(each for each in found if os.path.realpath(each) != os.path.realpath(root()) and known(each))
    return f"it is known under another BLEEN_STATE than {root()}: " + " or ".join(f"`{chosen(each, *sys.argv[1:])}`" for each in others) if others else ""


def _note(file: Path, at: Path | None = None) -> Path:
    path = os.path.realpath(file)
    # the check sum keeps long paths with the same end apart; a hash function would cost more than the rest of the look-up
    return (at or root()) / "files" / f"{zlib.crc32(os.fsencode(path)):08x}{path.replace('%', '%25').replace('/', '%2F')[-60:]}"
