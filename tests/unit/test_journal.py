"""The journal in SQLite: one transaction or nothing, one writer, readers that nobody stops, a clock that goes on."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bleen.errors import Busy, Gone, Held, StaleWriter, Unavailable, UserError
from bleen.host.processes import find
from bleen.host.state import Place
from bleen.lifecycle import Answer, Phase, Release, Verb, after, obey
from bleen.model import Done, Environment, Routing, Target
from bleen.ports import Holder
from bleen.providers.journals.sqlite import FORMAT, SQLite
from bleen.testing.fakes import FakeClock
from bleen.testing.interrupt import Point, fork, stopped
from bleen.testing.service import NAME, FakeService
from bleen.testing.site import until
from disks import run_on_a_small_disk

COMMITTING = Point("", "_once:execute", 2, "before")
OTHER = Holder("elsewhere", 1, 1, "boot")
GREEN = Environment("green", 2)
CONFIRMED = Routing({GREEN: 100}, None, {GREEN: (Target("127.0.0.1", 1024),)})


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeService]:
    made = FakeService(tmp_path)
    made.stand()
    yield made
    made.close()


def another(service: FakeService, **options: object) -> FakeService:
    """A second engine over the same files."""
    return FakeService(service.place.root, by=OTHER, **options)  # type: ignore[arg-type]


def everything(service: FakeService) -> list[object]:
    """All that the journal says."""
    journal = service.journal
    rows = journal.releases(NAME, 100)
    return [journal.service(NAME), rows, [journal.events(r.id) for r in rows], journal.asked(rows[0].id)]


def stepped(service: FakeService) -> tuple[Release, Release]:
    """The newest release, and what it would be after its phase's work."""
    return service.release, after(service.release, Done(), service.journal.now(), 1.0)[0]


def test_row_event_confirmation_and_answer_change_together(service: FakeService) -> None:
    """The row, its event and the answer to a command change in one transaction or not at all."""
    release = service.open("1.1")
    number = service.journal.ask(release.id, Verb.ABORT, "ann", {"force": True})
    ask = service.journal.asked(release.id)
    assert ask is not None
    assert (ask.number, ask.verb, ask.who, ask.options) == (number, Verb.ABORT, "ann", {"force": True})
    now, event, answer = obey(release, ask, 30.0, 1.0)
    written = service.journal.commit(release, now, event, service.service._replace(confirmed=CONFIRMED), answer)
    assert (written, written.revision) == (service.release, release.revision + 1)
    assert service.events[-1].text == "abort by ann"
    assert service.service.confirmed == CONFIRMED
    assert service.journal.answer(number) == answer
    assert service.journal.asked(release.id) is None


def test_a_release_is_read_back_as_it_was_written(service: FakeService) -> None:
    release = service.open("1.1", warnings=("beware",))
    filled = release._replace(
        halted="why", reason="because", until=99.5, why="a while", memo={"a": [1, {"b": None}]}, approved=True, forced=True, moved=True, step=2
    )
    assert service.journal.commit(release, filled, None, service.service) == service.journal.read(release.id) == filled._replace(revision=1)


def test_a_writer_with_an_old_revision_writes_nothing(service: FakeService) -> None:
    """A stale writer drops the effect."""
    service.open("1.1")
    was, now = stepped(service)
    service.tick()
    before = everything(service)
    with pytest.raises(StaleWriter):
        service.journal.commit(was, now, None, service.service._replace(confirmed=CONFIRMED), Answer(1, True, ""))
    assert everything(service) == before


def test_a_writer_with_an_old_epoch_writes_nothing(service: FakeService) -> None:
    """No commit of a deposed epoch."""
    service.open("1.1")
    deposed, (was, now) = service.service, stepped(service)
    number = service.journal.ask(was.id, Verb.ABORT, "ann")
    another(service).claim(seize=True)
    before = everything(service)
    with pytest.raises(StaleWriter):
        service.journal.commit(was, now, None, deposed._replace(confirmed=CONFIRMED), Answer(number, True, ""))
    assert everything(service) == before


def test_who_claims_again_keeps_the_epoch(service: FakeService) -> None:
    assert service.claim() == service.claim()


def test_a_living_holder_keeps_others_out(service: FakeService) -> None:
    held = service.claim()
    with pytest.raises(Held, match=str(os.getpid())):
        service.journal.claim(NAME, OTHER)
    assert service.service == held


def test_a_dead_holder_is_succeeded_with_the_next_epoch(service: FakeService) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    was = find(ended.pid)
    assert was is not None
    ended.wait()
    dead = service.me._replace(pid=was.pid, start=was.start)
    epoch = service.journal.claim(NAME, dead, seize=service.service.epoch).epoch
    assert service.claim() == service.service._replace(epoch=epoch + 1, holder=service.me)


def test_a_pid_that_was_given_to_somebody_else_is_a_dead_holder(service: FakeService) -> None:
    """A holder that is dead (pid and start time) is succeeded."""
    recycled = service.me._replace(start=service.me.start - 1)
    service.journal.claim(NAME, recycled, seize=service.service.epoch)
    assert service.claim().holder == service.me


def test_a_holder_is_seized_only_at_the_epoch_that_was_seen(service: FakeService) -> None:
    """`rollback` alone may seize, by compare-and-set on the epoch it saw."""
    seen = service.claim().epoch
    seized = service.journal.claim(NAME, OTHER, seize=seen)
    assert (seized.epoch, seized.holder) == (seen + 1, OTHER)
    with pytest.raises(StaleWriter):
        service.journal.claim(NAME, service.me, seize=seen)
    assert service.service == seized


def test_at_most_one_release_is_under_way(service: FakeService) -> None:
    """At most one release of a service under way."""
    service.open("1.1")
    with pytest.raises(Busy, match=r"release 2 \(1\.1\) is in PLANNED"):
        service.journal.open(NAME, service.plan("1.2"), "ann")
    assert service.release.id.number == 2


def test_a_release_that_is_not_there_is_said_so(service: FakeService) -> None:
    with pytest.raises(UserError, match="no release 9"):
        service.journal.read(service.release.id._replace(number=9))


def test_due_is_what_is_under_way_or_commanded(service: FakeService) -> None:
    journal = service.journal
    assert journal.due(8) == []
    release = service.deploy("1.1", Phase.HOLDING)
    assert journal.due(8) == [release.id]
    service.platform.kill(release.environment)
    assert release.plan.old is not None
    service.platform.kill(release.plan.old)
    assert service.drive().halted
    assert journal.due(8) == []
    journal.ask(release.id, Verb.CLOSE, "ann")
    assert journal.due(8) == [release.id]


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


def test_events_are_numbered_and_told_from_where_one_left_off(service: FakeService) -> None:
    events = service.events
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert service.journal.events(service.release.id, 4) == events[4:]


def test_a_change_by_somebody_else_is_noticed_and_ones_own_is_not(service: FakeService) -> None:
    other = another(service)
    assert not service.journal.changed(0)
    service.clock.advance(1)
    service.journal.beat(NAME)
    assert not service.journal.changed(0)
    service.clock.advance(1)
    other.journal.beat(NAME)
    assert service.journal.changed(10)
    assert not service.journal.changed(0)


def test_a_journal_of_a_newer_format_is_refused_and_left_as_it_is(service: FakeService) -> None:
    """The journal has a format number: an older bleen refuses a newer one."""
    service.close()
    with sqlite3.connect(service.place.journal) as db:
        db.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(UserError, match="newer bleen"):
        SQLite(service.place)
    with sqlite3.connect(service.place.journal) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (FORMAT + 1,)


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


def test_any_number_of_processes_may_open_a_new_journal_at_once(tmp_path: Path) -> None:
    place = Place(NAME, tmp_path)
    place.make()
    gate, opened = os.pipe()
    children = [fork(lambda: (os.read(gate, 1), SQLite(place).register(NAME, {"kind": "fake"}, True))) for _ in range(8)]
    os.write(opened, b"x" * 8)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 8
    for handle in (gate, opened):
        os.close(handle)


def test_a_reader_needs_no_lock_while_a_writer_is_stopped_inside_a_commit(service: FakeService) -> None:
    """An engine that was stopped inside a commit holds SQLite's write lock: find it by a WAL read, which needs none, and end it."""
    service.open("1.1")
    before, root = everything(service), service.place.root
    service.close()
    with stopped(lambda _: FakeService(root).journal.ask(before[1][0].id, Verb.ABORT, "ann"), COMMITTING) as writer:  # type: ignore[index]
        reader = FakeService(root, by=OTHER, patience=0.05)
        assert everything(reader) == before
        assert reader.journal.blocker() == writer
        with pytest.raises(Unavailable, match="locked by another process"):
            reader.journal.beat(NAME)
        writer.signal(signal.SIGCONT)
        until("the writer goes on", lambda: reader.journal.asked(reader.release.id))
        assert reader.journal.blocker() is None


def test_a_writer_that_is_killed_inside_a_commit_has_written_nothing(service: FakeService) -> None:
    service.open("1.1")
    before, root = everything(service), service.place.root
    service.close()
    with stopped(lambda _: FakeService(root).journal.ask(before[1][0].id, Verb.ABORT, "ann"), COMMITTING) as writer:  # type: ignore[index]
        writer.signal(signal.SIGKILL)
        until("the writer is gone", lambda: not writer.alive)
    reader = FakeService(root, by=OTHER)
    assert everything(reader) == before
    reader.journal.beat(NAME)


def test_the_clock_goes_on_after_a_reboot_from_the_last_heartbeat(tmp_path: Path) -> None:
    """After a reboot, time elapsed at the last heartbeat counts on."""
    place, clock = Place(NAME, tmp_path), FakeClock(start=5000.0)
    place.make()
    first = SQLite(place, since_boot=clock.now, boot_id=lambda: "one")
    began = first.now()
    clock.advance(40)
    first.beat(NAME)
    clock.advance(3)  # no heartbeat tells of these
    first.close()
    rebooted = FakeClock(start=7.0)
    second = SQLite(place, since_boot=rebooted.now, boot_id=lambda: "two")
    assert second.now() == pytest.approx(began + 40)
    rebooted.advance(10)
    assert SQLite(place, since_boot=rebooted.now, boot_id=lambda: "two").now() == second.now() == pytest.approx(began + 50)


def test_all_processes_of_one_boot_have_one_clock(service: FakeService) -> None:
    service.clock.advance(12)
    assert another(service).journal.now() == service.journal.now()


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
    before = everything(service)
    for _ in range(1000):
        service.clock.advance(service.tick() or 0)
    assert not watcher.changed(0)
    assert everything(service) == before
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
    for use in (lambda: service.journal.changed(0), lambda: service.journal.beat(NAME), service.tick):
        with pytest.raises(Gone, match=r"journal\.db was removed while it was in use"):
            use()


def test_a_rollback_is_written_on_a_full_disk(tmp_path: Path) -> None:
    """From PROMOTING to HOLDING it always works: [...] with a full disk (a reserve is kept for it)."""
    roomy = tmp_path / "roomy"
    roomy.mkdir()
    said = run_on_a_small_disk("24m", Path(__file__).with_name("on_a_full_disk.py"), tmp_path / "small", roomy)
    assert said == "True ROLLED_BACK {Environment(name='blue', release=1): 100} [] False\n"
