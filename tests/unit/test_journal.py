"""The journal in SQLite, beyond the contract of journals: readers that nobody stops, formats, a full disk; and an engine over it."""

import json
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bleen.errors import Gone, Unavailable, UserError
from bleen.host.state import Place
from bleen.lifecycle import Phase, ReleaseId, Verb
from bleen.providers.journals import sqlite
from bleen.providers.journals.sqlite import FORMAT, SQLite, router_of
from bleen.testing.interrupt import Point, stopped
from bleen.testing.journals import ELSEWHERE, everything
from bleen.testing.service import NAME, FakeService
from bleen.testing.site import until
from disks import run_on_a_small_disk

COMMITTING = Point("", "_once:execute", 2, "before")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeService]:
    made = FakeService(tmp_path)
    made.stand()
    yield made
    made.close()


def another(service: FakeService, **options: object) -> FakeService:
    """A second engine over the same files."""
    return FakeService(service.place.root, by=ELSEWHERE, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("verb", Verb)
def test_a_command_that_comes_as_its_release_ends_is_answered(service: FakeService, verb: Verb) -> None:
    """Never "busy": whoever asks gets an answer, and would otherwise end a holder that is well."""
    ended = service.release
    service.open("1.1")
    number = service.journal.ask(ended.id, verb, "ann")
    assert set(service.journal.due(8)) == {ended.id, service.release.id}
    service.tick(ended.id)
    assert service.journal.answer(number) is not None
    assert service.journal.due(8) == [service.release.id]
    assert service.journal.read(ended.id).phase is Phase.COMPLETED


def test_a_journal_of_a_newer_format_is_refused_and_left_as_it_is(service: FakeService) -> None:
    """The journal has a format number: an older bleen refuses a newer one."""
    service.close()
    with sqlite3.connect(service.place.journal) as db:
        db.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(UserError, match="newer bleen"):
        SQLite(service.place)
    with sqlite3.connect(service.place.journal) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (FORMAT + 1,)


def test_a_journal_below_a_path_that_is_too_long_says_what_to_set(tmp_path: Path) -> None:
    place = Place(NAME, tmp_path / ("x" * 200) / ("y" * 200) / ("z" * 200))
    place.path.mkdir(parents=True)
    with pytest.raises(UserError, match="SQLite opens no path of more than 511 bytes: set BLEEN_STATE to a shorter one"):
        SQLite(place)


def test_a_journal_that_is_damaged_is_said_to_be_with_the_way_out(service: FakeService) -> None:
    service.close()
    for beside in service.place.path.glob("journal.db-*"):
        beside.unlink()
    service.place.journal.write_bytes(b"no database " * 1000)
    with pytest.raises(UserError, match=r"is damaged \(file is not a database\), and what serves goes on serving: put a copy of it back"):
        SQLite(service.place)


@pytest.mark.parametrize(
    ("table", "read"),
    [
        ("service", lambda journal, id: journal.service(NAME)),
        ("release", lambda journal, id: journal.latest(NAME)),
        ("release", lambda journal, id: journal.read(id)),
        ("event", lambda journal, id: journal.events(id)),
        ("ask", lambda journal, id: journal.answer(1)),
        ("clock", lambda journal, id: journal.silence()),
    ],
    ids=["status", "history", "wait", "its events", "who asks", "who watches"],
)
def test_a_page_of_the_journal_that_is_damaged_is_said_to_whoever_reads_it(
    service: FakeService, table: str, read: Callable[[SQLite, ReleaseId], object]
) -> None:
    """ "Errors say what happened, where, and what to do next"; it is no bug."""
    service.close()
    with closing(sqlite3.connect(service.place.journal)) as db:
        ((page,), (size,)) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone(), db.execute("PRAGMA page_size").fetchone()
    with open(service.place.journal, "r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)
    with pytest.raises(UserError, match=r"is damaged \(.*\), and what serves goes on serving: put a copy of it back"):
        read(SQLite(service.place), ReleaseId(NAME, 1))


def test_the_router_of_another_service_is_read_and_its_journal_left_as_it_is(service: FakeService) -> None:
    service.close()
    for version in (FORMAT - 1, FORMAT + 1):
        with sqlite3.connect(service.place.journal) as db:
            db.execute(f"PRAGMA user_version = {version}")
            db.execute("UPDATE service SET router = ?", (json.dumps({"listen": "127.0.0.1:80"}),))
        assert router_of(service.place)["listen"] == "127.0.0.1:80"
        with sqlite3.connect(service.place.journal) as db:
            assert db.execute("PRAGMA user_version").fetchone() == (version,)
    service.place.journal.write_bytes(b"no database " * 1000)
    assert router_of(service.place) == {}


HELD = {
    2: {
        "plan": "service version environment old old_version old_replicas platform probe smoke steps mode deadline otherwise window drain keep warnings "
        "database",
        "probe": "path interval patience timeout fall",
        "row": "step moved approved forced reason since until why memo",
        "holder": "host pid start boot version resident",
        "routing": "shares preview targets unknown",
    }
}
"""What the JSON columns of each format hold. Reading is strict: a name more wants a new number, by which an older bleen knows that it cannot read it."""


def test_what_the_rows_hold_changes_only_with_the_format_number(service: FakeService) -> None:
    """The journal has a format number: an older one refuses by that number, before it reads a row."""
    with sqlite3.connect(service.place.journal) as db:
        plan, row = (json.loads(column) for column in db.execute("SELECT plan, row FROM release").fetchone())
        holder, routing = (json.loads(column) for column in db.execute("SELECT holder, confirmed FROM service").fetchone())
    found = {"plan": plan, "probe": plan["probe"], "row": row, "holder": holder, "routing": routing}
    assert {name: " ".join(each) for name, each in found.items()} == HELD[FORMAT]


def test_a_journal_of_format_1_is_migrated_with_a_release_under_way(service: FakeService) -> None:
    """A newer bleen migrates it, mid-release too."""
    service.open("1.1")
    service.close()
    with sqlite3.connect(service.place.journal) as db:
        db.execute("UPDATE release SET plan = json_remove(plan, '$.database')")
        db.execute("PRAGMA user_version = 1")
    journal = SQLite(service.place)
    newest = journal.latest(NAME)
    assert newest is not None
    assert newest.plan.database == {}
    with sqlite3.connect(service.place.journal) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (FORMAT,)


def test_a_reader_needs_no_lock_while_a_writer_is_stopped_inside_a_commit(service: FakeService) -> None:
    """An engine that was stopped inside a commit holds SQLite's write lock: find it by a WAL read, which needs none, and end it."""
    service.open("1.1")
    before, root = everything(service.journal), service.place.root
    service.close()
    with stopped(lambda _: FakeService(root).journal.ask(before[1][0].id, Verb.ABORT, "ann"), COMMITTING) as writer:  # type: ignore[index]
        reader = FakeService(root, by=ELSEWHERE, patience=0.05)
        assert everything(reader.journal) == before
        assert reader.journal.blocker() == writer
        with pytest.raises(Unavailable, match="locked by another process"):
            reader.journal.beat()
        writer.signal(signal.SIGCONT)
        until("the writer goes on", lambda: reader.journal.asked(reader.release.id))
        assert reader.journal.blocker() is None


def test_where_proc_has_no_list_of_locks_nobody_is_known_to_block(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: str, **_: str) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr(sqlite, "open", missing, raising=False)
    assert service.journal.blocker() is None


def test_a_jump_of_the_wall_clock_moves_nothing(service: FakeService) -> None:
    """A jump of the clock closes no window early."""
    service.deploy("1.1", Phase.HOLDING)
    service.engine._wall = lambda: 9.9e9  # a day in 2283
    for _ in range(5):
        service.tick()
    assert service.release.phase is Phase.HOLDING


def test_a_quiet_hold_writes_nothing(service: FakeService) -> None:
    """Polls are not journalled; outcomes are."""
    release = service.deploy("1.1", Phase.HOLDING, window=3600.0)
    service.tick()
    watcher = another(service).journal
    watcher.changed(0)
    before = everything(service.journal)
    for _ in range(1000):
        service.clock.advance(service.tick() or 0)
    assert not watcher.changed(0)
    assert everything(service.journal) == before
    assert service.journal.read(release.id).phase is Phase.HOLDING


def test_nobody_else_may_read_what_the_journal_keeps(service: FakeService) -> None:
    files = list(service.place.path.glob("journal.db*"))
    assert len(files) == 3
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


@pytest.mark.parametrize("by", ["nothing", "another"])
def test_a_journal_that_was_removed_while_it_was_in_use_is_believed_no_more(service: FakeService, tmp_path: Path, by: str) -> None:
    """ "State that is removed while a verb uses it: exit 5, nothing more is done" """
    service.deploy("1.1", Phase.BAKING)
    for file in service.place.path.glob("journal.db*"):
        file.rename(tmp_path / f"removed-{file.name}")
    if by == "another":
        FakeService(tmp_path).close()
    for use in (lambda: service.journal.changed(0), service.journal.beat, service.tick):
        with pytest.raises(Gone, match=r"journal\.db was removed while it was in use"):
            use()


def test_a_rollback_is_written_on_a_full_disk(tmp_path: Path) -> None:
    """From PROMOTING to HOLDING it always works: [...] with a full disk (a reserve is kept for it)."""
    roomy = tmp_path / "roomy"
    roomy.mkdir()
    said = run_on_a_small_disk("24m", Path(__file__).with_name("on_a_full_disk.py"), tmp_path / "small", roomy)
    assert said == "True ROLLED_BACK {Environment(name='blue', release=1): 100} [] False\n"
