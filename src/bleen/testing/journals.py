"""What every journal must do. Subclass ``JournalContract`` and give ``build``; pytest does the rest.

::

    class TestMine(JournalContract):
        def build(self, shelf: Shelf) -> Journal:
            return Mine(shelf.root, shelf.clock.now, shelf.boot_id)   # or whatever else is one journal for one shelf

A journal whose clock cannot be set by ``shelf.clock`` (a shared one has its database's) gives ``let_pass`` and ``reboot`` too.
"""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bleen.engine.drive import holder
from bleen.errors import BleenError, Busy, Held, StaleWriter, Unavailable, UserError
from bleen.host.processes import find
from bleen.lifecycle import LAPSES, Answer, Event, Phase, Release, ReleaseId, Service, Verb, after, obey
from bleen.model import Done, Due, Environment, Routing, Target
from bleen.plan import Plan, Probe, Step
from bleen.ports import Holder, Journal
from bleen.testing.fakes import FakeClock
from bleen.testing.interrupt import Interrupt, fork, killed
from bleen.testing.site import until

NAME, ANOTHER = "shop", "blog"
GREEN = Environment("green", 2)
CONFIRMED = Routing({GREEN: 100}, None, {GREEN: (Target("127.0.0.1", 1024),)})
ELSEWHERE = Holder("elsewhere", 1, 1, "boot")
"""A holder of another host: it lives, as far as anybody here can tell."""
ROUTER = {"kind": "fake", "listen": "127.0.0.1:8080"}


class Shelf:
    """Where one journal lies, and the clock of the host. ``open`` gives one more object over it, as every process makes one of its own."""

    def __init__(self, root: Path, build: Callable[["Shelf"], Journal]) -> None:
        self.root = root
        self.clock = FakeClock(root / "clock")
        self.boot = "one"
        self._build = build
        self._open: list[Journal] = []

    def boot_id(self) -> str:
        """What the kernel calls the time since the last boot."""
        return self.boot

    def open(self) -> Journal:
        self._open.append(self._build(self))
        return self._open[-1]

    def close(self) -> None:
        """No connection of ours is left, as it must be before a process is forked that is to open one."""
        while self._open:
            self._open.pop().close()


def plan(version: str, **changes: Any) -> Plan:
    """A plan from blue to green."""
    made = Plan(
        service=NAME,
        version=version,
        environment="green",
        old=Environment("blue", 1),
        old_version="1.0",
        old_replicas=2,
        platform={"kind": "fake", "replicas": 2},
        probe=Probe("/health", fall=5),
        smoke=({"name": "Home", "url": "/"},),
        steps=(Step(10, 1.5), Step(100, 5.0)),
        mode="manual",
        deadline=60.0,
        otherwise="abort",
        window=60.0,
        drain=30.0,
        keep=None,
        warnings=("beware",),
    )
    return made._replace(**changes)


def everything(journal: Journal, *services: str) -> list[object]:
    """All that a journal says of these services, or of the one that the suite tries most with."""
    said: list[object] = []
    for name in services or (NAME,):
        releases = journal.releases(name, 100)
        said += [journal.service(name), releases, [[*journal.events(r.id)] for r in releases], [journal.asked(r.id) for r in releases]]
    return said


def stepped(journal: Journal, release: Release) -> tuple[Release, Event]:
    """What a release would be after its phase's work."""
    return after(release, Done({"took": 1.5}), journal.now(), 1.7e9)


def commit(journal: Journal, release: Release, now: Release | None = None) -> Release:
    """Writes what a release is now, or what it would be after its phase's work, as whoever holds the service does."""
    following, event = stepped(journal, release) if now is None else (now, None)
    return journal.commit(release, following, event, journal.service(release.id.service))


def ended(journal: Journal, release: Release) -> Release:
    """Brings it to COMPLETED."""
    while not release.ended:
        release = commit(journal, release)
    return release


class JournalContract:
    """What a journal keeps, refuses and tells, as its port says."""

    racers = 6
    """Processes that race for one thing."""

    def build(self, shelf: Shelf) -> Journal:
        """The journal on trial; called for every object, in whichever process. All objects of one shelf are one journal."""
        raise NotImplementedError

    def let_pass(self, shelf: Shelf, seconds: float) -> None:
        """So much time passes on the journal's clock."""
        shelf.clock.advance(seconds)

    def reboot(self, shelf: Shelf) -> None:
        """The host boots: its clock begins anew, and no object of the journal is left."""
        shelf.close()
        shelf.boot = "two"
        shelf.clock.advance(7.0 - shelf.clock.now())

    @pytest.fixture
    def shelf(self, tmp_path: Path) -> Iterator[Shelf]:
        shelf = Shelf(tmp_path, self.build)
        yield shelf
        shelf.close()

    @pytest.fixture
    def journal(self, shelf: Shelf) -> Journal:
        """One in which the service is known, and held by this process."""
        made = shelf.open()
        self.let_pass(shelf, 100.0)  # so that nothing that was forgotten passes for now
        made.register(NAME, ROUTER, True)
        made.claim(NAME, holder("1"))
        return made

    @pytest.fixture
    def release(self, journal: Journal) -> Release:
        return journal.open(NAME, plan("1.1"), "ann")

    # The service

    def test_a_service_that_is_new_has_an_empty_row_and_no_release(self, shelf: Shelf) -> None:
        journal = shelf.open()
        assert journal.service(NAME) == Service(NAME)
        assert (journal.latest(NAME), journal.releases(NAME, 9), journal.due(9)) == (None, [], [])

    def test_what_a_service_listens_on_is_kept_and_changed_without_touching_the_rest(self, shelf: Shelf, journal: Journal, release: Release) -> None:
        journal.commit(release, release, None, journal.service(NAME)._replace(confirmed=CONFIRMED))
        was = journal.service(NAME)
        assert (was.router, was.up, was.confirmed, was.holder) == (ROUTER, True, CONFIRMED, holder("1"))
        changed = journal.register(NAME, {**ROUTER, "listen": "127.0.0.1:8081"}, False)
        assert changed == was._replace(router={**ROUTER, "listen": "127.0.0.1:8081"}, up=False)
        assert shelf.open().service(NAME) == changed

    def test_services_are_strangers_to_each_other(self, journal: Journal, release: Release) -> None:
        was = everything(journal)
        journal.register(ANOTHER, {"kind": "other"}, False)
        journal.claim(ANOTHER, ELSEWHERE)
        first = journal.open(ANOTHER, plan("9.0", service=ANOTHER), "bob")
        assert (first.id, release.id) == (ReleaseId(ANOTHER, 1), ReleaseId(NAME, 1))
        with pytest.raises(StaleWriter):
            journal.commit(first, first, None, journal.service(NAME)._replace(epoch=7))
        journal.ask(first.id, Verb.ABORT, "bob")
        assert everything(journal) == was
        assert {*journal.due(9)} == {release.id, first.id}

    # Who holds it

    def test_who_claims_again_keeps_the_epoch(self, journal: Journal) -> None:
        assert journal.claim(NAME, holder("1")) == journal.claim(NAME, holder("1")) == journal.service(NAME)

    def test_a_living_holder_keeps_others_out(self, journal: Journal) -> None:
        held = journal.service(NAME)
        with pytest.raises(Held, match=str(os.getpid())):
            journal.claim(NAME, ELSEWHERE)
        assert journal.service(NAME) == held

    def test_a_dead_holder_is_succeeded_with_the_next_epoch(self, journal: Journal) -> None:
        process = subprocess.Popen([sys.executable, "-c", ""])
        was = find(process.pid)
        assert was is not None
        process.wait()
        dead = holder("1")._replace(pid=was.pid, start=was.start)
        epoch = journal.claim(NAME, dead, seize=journal.service(NAME).epoch).epoch
        assert journal.claim(NAME, holder("1")) == journal.service(NAME)._replace(epoch=epoch + 1, holder=holder("1"))

    def test_a_pid_that_was_given_to_somebody_else_is_a_dead_holder(self, journal: Journal) -> None:
        """A holder that is dead (pid and start time) is succeeded."""
        journal.claim(NAME, holder("1")._replace(start=holder("1").start - 1), seize=journal.service(NAME).epoch)
        assert journal.claim(NAME, holder("1")).holder == holder("1")

    def test_a_holder_is_seized_only_at_the_epoch_that_was_seen(self, journal: Journal) -> None:
        """`rollback` alone may seize, by compare-and-set on the epoch it saw."""
        seen = journal.service(NAME).epoch
        seized = journal.claim(NAME, ELSEWHERE, seize=seen)
        assert (seized.epoch, seized.holder) == (seen + 1, ELSEWHERE)
        with pytest.raises(StaleWriter):
            journal.claim(NAME, holder("1"), seize=seen)
        assert journal.service(NAME) == seized

    def test_of_processes_that_race_for_a_claim_one_has_it(self, shelf: Shelf) -> None:
        """One actor at a time."""
        shelf.open().register(NAME, ROUTER, True)
        said = self.race(shelf, lambda journal, n: journal.claim(NAME, ELSEWHERE._replace(pid=n + 1)))
        assert said == {"done": 1, "Held": self.racers - 1}
        assert shelf.open().service(NAME).epoch == 1

    def test_of_processes_that_seize_what_they_saw_one_has_it(self, shelf: Shelf, journal: Journal) -> None:
        seen = journal.service(NAME).epoch
        said = self.race(shelf, lambda journal, n: journal.claim(NAME, ELSEWHERE._replace(pid=n + 1), seize=seen))
        assert said == {"done": 1, "StaleWriter": self.racers - 1}
        assert shelf.open().service(NAME).epoch == seen + 1

    # Releases

    def test_a_release_begins_planned_with_its_plan_and_an_event_that_says_who(self, shelf: Shelf, journal: Journal) -> None:
        began = journal.now()
        release = journal.open(NAME, plan("1.1"), "ann")
        assert (release.id, release.phase, release.plan, release.revision) == (ReleaseId(NAME, 1), Phase.PLANNED, plan("1.1"), 0)
        assert release.entered == pytest.approx(began, abs=1.0)
        assert shelf.open().read(release.id) == shelf.open().latest(NAME) == release
        (event,) = journal.events(release.id)
        assert (event.number, event.phase) == (1, Phase.PLANNED)
        assert "1.1 by ann" in event.text

    def test_at_most_one_release_is_under_way(self, journal: Journal, release: Release) -> None:
        """At most one release of a service under way."""
        with pytest.raises(Busy, match=r"release 1 \(1\.1\) is in PLANNED"):
            journal.open(NAME, plan("1.2"), "ann")
        assert journal.releases(NAME, 9) == [release]
        ended(journal, release)
        assert journal.open(NAME, plan("1.2"), "ann").id.number == 2

    def test_of_processes_that_race_for_a_release_one_begins_it(self, shelf: Shelf, journal: Journal) -> None:
        """At most one release of a service under way."""
        said = self.race(shelf, lambda journal, n: journal.open(NAME, plan(f"1.{n}"), "ann"))
        assert said == {"done": 1, "Busy": self.racers - 1}
        assert [release.id.number for release in shelf.open().releases(NAME, 9)] == [1]

    def test_the_newest_releases_come_first(self, journal: Journal) -> None:
        for version in ("1.1", "1.2", "1.3"):
            ended(journal, journal.open(NAME, plan(version), "ann"))
        assert [release.plan.version for release in journal.releases(NAME, 2)] == ["1.3", "1.2"]
        newest = journal.latest(NAME)
        assert newest is not None
        assert newest.plan.version == "1.3"

    def test_a_release_that_is_not_there_is_said_so(self, journal: Journal, release: Release) -> None:
        with pytest.raises(UserError, match="no release 9"):
            journal.read(release.id._replace(number=9))

    def test_a_release_is_read_back_as_it_was_written(self, shelf: Shelf, journal: Journal, release: Release) -> None:
        filled = release._replace(
            halted="why", reason="because", until=99.5, why="a while", memo={"a": [1, {"b": None}]}, approved=True, forced=True, moved=True, step=1, since=1.5
        )
        written = commit(journal, release, filled)
        assert written == journal.read(release.id) == shelf.open().read(release.id) == filled._replace(revision=release.revision + 1)

    def test_row_event_confirmation_and_answer_change_together(self, shelf: Shelf, journal: Journal, release: Release) -> None:
        """The row, its event and the answer to a command change in one transaction or not at all."""
        number = journal.ask(release.id, Verb.ABORT, "ann")
        ask = journal.asked(release.id)
        assert ask is not None
        now, event, answer = obey(release, ask, journal.now(), 1.0)
        written = journal.commit(release, now, event, journal.service(NAME)._replace(confirmed=CONFIRMED), answer)
        seen = shelf.open()
        assert seen.read(release.id) == written == now._replace(revision=1)
        assert seen.events(release.id)[-1].text == "abort by ann"
        assert seen.service(NAME).confirmed == CONFIRMED
        assert (seen.answer(number), seen.asked(release.id)) == (answer, None)

    def test_a_commit_leaves_the_pending_contracts_as_somebody_else_has_told_them(self, shelf: Shelf, journal: Journal, release: Release) -> None:
        before = journal.service(NAME)
        due = Due(migration="0007_full_name", description="", since=1.0, waits=["nobody"])
        shelf.open().pend(NAME, [due])
        now, event = stepped(journal, release)
        journal.commit(release, now, event, before)
        assert journal.service(NAME).pending == (due,)

    def test_a_writer_with_an_old_revision_writes_nothing(self, journal: Journal, release: Release) -> None:
        """A stale writer drops the effect."""
        number = journal.ask(release.id, Verb.ABORT, "ann")
        commit(journal, release)
        before = everything(journal)
        now, event = stepped(journal, release)
        with pytest.raises(StaleWriter):
            journal.commit(release, now, event, journal.service(NAME)._replace(confirmed=CONFIRMED), Answer(number, True, ""))
        assert everything(journal) == before
        assert journal.answer(number) is None

    def test_a_writer_with_an_old_epoch_writes_nothing(self, journal: Journal, release: Release) -> None:
        """No commit of a deposed epoch."""
        deposed, number = journal.service(NAME), journal.ask(release.id, Verb.ABORT, "ann")
        journal.claim(NAME, ELSEWHERE, seize=deposed.epoch)
        before = everything(journal)
        now, event = stepped(journal, release)
        with pytest.raises(StaleWriter):
            journal.commit(release, now, event, deposed._replace(confirmed=CONFIRMED), Answer(number, True, ""))
        assert everything(journal) == before
        assert journal.answer(number) is None

    def test_of_processes_that_race_to_commit_one_writes(self, shelf: Shelf, journal: Journal, release: Release) -> None:
        said = self.race(shelf, lambda journal, _: commit(journal, release))
        assert said == {"done": 1, "StaleWriter": self.racers - 1}
        assert [event.number for event in shelf.open().events(release.id)] == [1, 2]

    def test_a_writer_that_is_killed_has_written_all_or_nothing(self, shelf: Shelf, journal: Journal, release: Release) -> None:
        """Killed at any instant, the next run reads the row and the world, and ends where the first would have."""

        def write(journal: Journal, number: int) -> None:
            release, service, text = journal.read(ReleaseId(NAME, 1)), journal.service(NAME), str(number)
            event = stepped(journal, release)[1]._replace(text=text)
            journal.commit(release, release._replace(why=text), event, service._replace(confirmed=Routing(unknown=text)), Answer(number, True, text))

        def told(journal: Journal, number: int) -> set[bool]:
            answer, text = journal.answer(number), str(number)
            events = [event.text for event in journal.events(release.id)]
            return {journal.read(release.id).why == text, text in events, journal.service(NAME).confirmed.unknown == text, answer is not None}

        def work(interrupt: Interrupt) -> None:
            mine = self.build(shelf)
            interrupt.phase = "commit"
            write(mine, number)

        number = journal.ask(release.id, Verb.RESUME, "ann")
        with Interrupt() as watched:
            watched.phase = "commit"
            write(journal, number)
        assert told(journal, number) == {True}
        ends = set()
        for point in watched.points:
            number = shelf.open().ask(release.id, Verb.RESUME, "ann")
            shelf.close()
            assert killed(work, point), f"it never came {point}"
            (end,) = told(shelf.open(), number)
            ends.add(end)
        assert ends == {True, False}

    # What is due

    def test_what_is_under_way_is_due_but_not_what_has_halted_or_ended(self, journal: Journal, release: Release) -> None:
        assert journal.due(8) == [release.id]
        halted = commit(journal, release, release._replace(halted="why"))
        assert journal.due(8) == []
        ended(journal, commit(journal, halted, halted._replace(halted="")))
        assert journal.due(8) == []

    def test_whatever_has_a_command_to_answer_is_due(self, journal: Journal, release: Release) -> None:
        """Any, ended ones too, that have a command to answer."""
        over = ended(journal, release)
        later = journal.open(NAME, plan("1.2"), "ann")
        halted = commit(journal, later, later._replace(halted="why"))
        for each in (over, halted):
            number = journal.ask(each.id, Verb.CLOSE, "ann")
            assert journal.due(8) == [each.id]
            journal.commit(each, each, None, journal.service(NAME), Answer(number, True, "closed"))
            assert journal.due(8) == []

    def test_the_longest_due_comes_first(self, shelf: Shelf, journal: Journal, release: Release) -> None:
        self.let_pass(shelf, 1.0)
        journal.register(ANOTHER, {}, True)
        other = journal.open(ANOTHER, plan("9.0", service=ANOTHER), "bob")
        assert journal.due(8) == [release.id, other.id]
        assert journal.due(1) == [release.id]
        self.let_pass(shelf, 1.0)
        commit(journal, release)
        assert journal.due(8) == [other.id, release.id]

    # Commands

    def test_commands_are_told_as_they_were_given_the_oldest_first(self, shelf: Shelf, journal: Journal, release: Release) -> None:
        at = journal.now()
        first, second = journal.ask(release.id, Verb.ROLLBACK, "ann", {"force": True}), shelf.open().ask(release.id, Verb.CLOSE, "bob")
        for number, verb, who, options in ((first, Verb.ROLLBACK, "ann", {"force": True}), (second, Verb.CLOSE, "bob", {})):
            ask = journal.asked(release.id)
            assert ask is not None
            assert (ask.number, ask.verb, ask.who, ask.options) == (number, verb, who, options)
            assert ask.at == pytest.approx(at, abs=1.0)
            assert journal.answer(number) is None
            answer = Answer(number, number == first, "words")
            release = journal.commit(release, release, None, journal.service(NAME), answer)
            assert shelf.open().answer(number) == answer
        assert journal.asked(release.id) is None

    def test_an_answer_is_given_once(self, journal: Journal, release: Release) -> None:
        number = journal.ask(release.id, Verb.ABORT, "ann")
        for text in ("first", "second"):
            release = journal.commit(release, release, None, journal.service(NAME), Answer(number, text == "first", text))
        assert journal.answer(number) == Answer(number, True, "first")

    def test_a_command_that_nobody_could_obey_within_a_minute_is_not_obeyed_later(self, shelf: Shelf, journal: Journal, release: Release) -> None:
        """A command that nobody could obey within a minute is not obeyed later."""
        for waited, obeyed in ((LAPSES - 1, True), (LAPSES + 1, False)):
            number = journal.ask(release.id, Verb.ABORT, "ann")
            self.let_pass(shelf, waited)
            ask = shelf.open().asked(release.id)
            assert ask is not None
            _, _, answer = obey(release, ask, shelf.open().now(), 1.0)
            assert (answer.number, answer.obeyed) == (number, obeyed)
            release = journal.commit(release, release, None, journal.service(NAME), answer)

    # Events

    def test_events_are_numbered_in_order_and_told_from_where_one_left_off(self, shelf: Shelf, journal: Journal, release: Release) -> None:
        second = stepped(journal, release)[1]
        ended(journal, release)
        events = shelf.open().events(release.id)
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        assert events[1] == second._replace(number=2)
        assert journal.events(release.id, 4) == events[4:]
        assert journal.events(release.id, len(events)) == []

    # Who listens

    def test_a_change_by_somebody_else_is_noticed_once_and_ones_own_is_not(self, shelf: Shelf, journal: Journal) -> None:
        other = shelf.open()
        assert not journal.changed(0)
        for writer, noticed in ((journal, False), (other, True)):
            self.let_pass(shelf, 1.0)
            writer.beat()
            assert journal.changed(10 if noticed else 0) is noticed
            assert not journal.changed(0)

    def test_who_waits_is_woken_by_the_commit_of_another_process(self, shelf: Shelf, journal: Journal, release: Release) -> None:
        """Others notice: a command from another process is seen by a holder that waits."""
        shelf.close()
        go, going = os.pipe()
        pid = fork(lambda: (os.read(go, 1), self.build(shelf).ask(release.id, Verb.ABORT, "ann")))
        waiting = shelf.open()
        assert waiting.asked(release.id) is None
        os.write(going, b"x")
        assert waiting.changed(20)
        assert waiting.asked(release.id) is not None
        assert os.waitpid(pid, 0)[1] == 0
        for handle in (go, going):
            os.close(handle)

    # Time

    def test_time_is_the_same_for_all_who_look(self, shelf: Shelf, journal: Journal) -> None:
        began = journal.now()
        self.let_pass(shelf, 12.0)
        for each in (journal, shelf.open()):
            assert each.now() == pytest.approx(began + 12.0, abs=1.0)

    def test_silence_is_counted_from_the_last_heartbeat_or_claim_and_from_nothing_else(self, shelf: Shelf, journal: Journal, release: Release) -> None:
        """An engine that is alive and has not been heard of for 15 seconds is hung."""
        self.let_pass(shelf, 10.0)
        journal.register(NAME, ROUTER, True)
        shelf.open().ask(release.id, Verb.ABORT, "ann")
        assert shelf.open().silence() == pytest.approx(10.0, abs=1.0)
        journal.beat()
        assert shelf.open().silence() == pytest.approx(0.0, abs=1.0)
        self.let_pass(shelf, 20.0)
        shelf.open().claim(NAME, ELSEWHERE, seize=journal.service(NAME).epoch)
        assert journal.silence() == pytest.approx(0.0, abs=1.0)

    def test_the_clock_goes_on_after_a_reboot_from_where_it_was_last_seen(self, shelf: Shelf, journal: Journal) -> None:
        """After a reboot, time elapsed at the last heartbeat counts on."""
        self.let_pass(shelf, 40.0)
        journal.beat()
        seen = journal.now()
        self.let_pass(shelf, 3.0)  # no heartbeat tells of these
        self.reboot(shelf)
        first = shelf.open()
        began = first.now()
        assert seen <= began <= seen + 3.0
        self.let_pass(shelf, 10.0)
        for each in (first, shelf.open()):
            assert each.now() == pytest.approx(began + 10.0, abs=1.0)

    # Processes

    def test_any_number_of_processes_may_open_a_new_journal_at_once(self, shelf: Shelf) -> None:
        assert self.race(shelf, lambda journal, _: journal.register(NAME, ROUTER, True), opened=False) == {"done": self.racers}
        assert shelf.open().service(NAME).router == ROUTER

    def test_nothing_is_lost_when_processes_ask_at_once(self, shelf: Shelf, journal: Journal, release: Release) -> None:
        said = self.race(shelf, lambda journal, n: [journal.ask(release.id, Verb.RESUME, f"{n}") for _ in range(5)])
        assert said == {"done": self.racers}
        journal, told = shelf.open(), []
        while ask := journal.asked(release.id):
            told.append(ask.who)
            release = journal.commit(release, release, None, journal.service(NAME), Answer(ask.number, True, ""))
        assert Counter(told) == {f"{n}": 5 for n in range(self.racers)}

    def race(self, shelf: Shelf, work: Callable[[Journal, int], object], opened: bool = True) -> Counter[str]:
        """Does it in so many processes, all at once; how often it was done, or which error it raised. ``opened``: the journal is, before they start."""
        shelf.close()
        ready, is_ready = os.pipe()
        gate, opening = os.pipe()
        say, saying = os.pipe()

        def run(n: int) -> None:
            journal = self.build(shelf) if opened else None
            os.write(is_ready, b".")
            os.close(is_ready)
            os.read(gate, 1)
            journal = journal or self.build(shelf)
            os.write(saying, f"{_outcome(lambda: work(journal, n))}\n".encode())

        children = [fork(partial(run, n)) for n in range(self.racers)]
        for handle in (is_ready, gate, saying):
            os.close(handle)
        with os.fdopen(ready) as all_are, os.fdopen(say) as told:
            all_are.read(self.racers)  # fewer, if one of them has failed already
            os.write(opening, b"x" * self.racers)
            said = Counter(told.read().split())
        os.close(opening)
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * self.racers
        return said


def _outcome(work: Callable[[], object]) -> str:
    """What becomes of something that is tried as an engine does: again for as long as the journal is Unavailable."""
    ends: list[str] = []

    def once() -> bool:
        try:
            work()
            ends.append("done")
        except Unavailable:
            return False
        except BleenError as error:
            ends.append(type(error).__name__)
        return True

    until("the journal answers", once)
    return ends[0]
