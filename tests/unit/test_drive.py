"""Who drives a service: commands are answered by whoever holds it, or by who asked, once that one is dead. Real processes, real time."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bleen.engine import drive, tick
from bleen.engine.drive import Driver, holder
from bleen.engine.upkeep import Upkeep
from bleen.errors import Refused, Unavailable
from bleen.host.processes import Process, find
from bleen.lifecycle import Event, Phase, Release, Service, Verb
from bleen.model import Environment
from bleen.plan import Step
from bleen.testing.interrupt import fork
from bleen.testing.service import NAME, FakeService
from bleen.testing.site import until

P = Phase
BLUE, GREEN = Environment("blue", 1), Environment("green", 2)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeService]:
    """1.0 is active as blue-1, and nobody drives."""
    before = FakeService(tmp_path, by=holder("0")._replace(pid=1, start=1))
    before.stand()
    before.close()
    made = FakeService(tmp_path, moving=True, patience=0.2)
    yield made
    assert made.faults() == []
    made.close()


def begin(service: FakeService, version: str = "1.1") -> Release:
    """Records a release, that nobody drives yet."""
    return service.journal.open(NAME, service.plan(version, steps=(Step(100, 0.1),), window=3600.0), "ann")


@contextmanager
def engine(service: FakeService, work: Callable[[FakeService], object], resident: bool = False) -> Iterator[Process]:
    """Another process with an engine, which is killed at the end; it has claimed the service already."""

    def run() -> None:
        other = FakeService(service.place.root, moving=True)
        other.me = other.me._replace(resident=resident)
        other.claim()
        work(other)

    pid = fork(run)
    process = find(pid)
    assert process is not None
    try:
        until("it holds the service", lambda: service.service.holder is not None and service.service.holder.pid == pid)
        yield process
    finally:
        process.signal(signal.SIGKILL)
        os.waitpid(pid, 0)


def stays(other: FakeService) -> None:
    other.driver().stay(lambda: False)


def holds(service: FakeService) -> None:
    until("HOLDING", lambda: service.release.phase is P.HOLDING)


def test_a_release_is_driven_by_who_follows_it_when_nobody_else_does(service: FakeService) -> None:
    told: list[Event] = []
    release = service.driver().follow(begin(service).id, lambda r: r.phase is P.HOLDING, lambda _, events: told.extend(events))
    assert release.phase is P.HOLDING
    assert told == service.events
    assert service.service.holder == service.me


def test_a_command_is_answered_by_the_process_that_holds_the_service(service: FakeService) -> None:
    """A person's `rollback` is journalled as a command. The holder obeys within a second."""
    begin(service)
    with engine(service, stays) as other:
        holds(service)
        driver = service.driver()
        assert driver.ask(service.release.id, Verb.ROLLBACK, "ann").obeyed
        driver.follow(service.release.id, lambda _: False, lambda *_: None)
        assert other.alive
        assert not driver.driving
        assert service.service.holder is not None
        assert service.service.holder.pid == other.pid
    assert (service.release.phase, service.router.truth().shares) == (P.ROLLED_BACK, {BLUE: 100})


def test_a_dead_holder_is_taken_over_from(service: FakeService) -> None:
    """A holder that is dead (pid and start time; a zombie is dead) is succeeded, epoch + 1."""
    begin(service)
    with engine(service, stays) as other:
        holds(service)
        epoch = service.service.epoch
        other.signal(signal.SIGKILL)
        until("a zombie", lambda: not other.alive)
        driver = service.driver()
        assert driver.ask(service.release.id, Verb.ROLLBACK, "ann").obeyed
    assert (service.service.epoch, service.service.holder) == (epoch + 1, service.me)
    assert driver.follow(service.release.id, lambda _: False, lambda *_: None).phase is P.ROLLED_BACK


def test_a_release_whose_driver_dies_is_driven_on_by_who_follows(service: FakeService) -> None:
    """The release goes on under the resident engine, or under the next verb."""
    begin(service)
    with engine(service, stays) as other:
        until("it has begun", lambda: service.release.phase is not P.PLANNED)
        other.signal(signal.SIGKILL)
        release = service.driver().follow(service.release.id, lambda r: r.phase is P.HOLDING, lambda *_: None)
    assert release.phase is P.HOLDING
    assert service.router.truth().shares == {GREEN: 100}


def test_a_command_waits_for_a_look_for_less_long_than_the_one_who_gave_it_waits_for_an_answer() -> None:
    """Who gets no answer within a second ends the holder."""
    assert tick._LOOKS < drive.ANSWER_WITHIN


@pytest.mark.parametrize("resident", [False, True])
def test_a_holder_that_does_nothing_is_ended_and_who_asks_knows_whether_it_was_resident(service: FakeService, resident: bool) -> None:
    """Or is ended and replaced; who kills a resident engine starts another."""
    release = begin(service)
    with engine(service, lambda _: signal.pause(), resident) as other:
        driver = service.driver()
        assert driver.ask(release.id, Verb.ABORT, "ann").obeyed
        assert not other.alive
        assert driver.ended_resident is resident
        assert driver.driving


def test_a_holder_that_hangs_is_succeeded_by_who_follows_a_release(service: FakeService) -> None:
    """Green dead at any time from PROMOTING to the end of HOLDING, blue healthy: traffic goes back at once."""
    begin(service)
    with engine(service, stays, resident=True) as other:
        holds(service)
        stop_between_commits(service, other)
        service.platform.kill(GREEN)
        silence(service)
        driver = service.driver()
        release = driver.follow(service.release.id, lambda release: release.phase is P.UNDOING, lambda *_: None)
        assert (release.phase, dict(service.router.truth().shares)) == (P.UNDOING, {BLUE: 100})
        assert (driver.ended_resident, other.alive) == (True, False)


def stop_between_commits(service: FakeService, other: Process) -> None:
    """Stops an engine that holds no lock of the journal."""

    def stopped() -> bool:
        other.signal(signal.SIGSTOP)
        with sqlite3.connect(service.place.journal, timeout=0.5) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                other.signal(signal.SIGCONT)
                return False
        return True

    until("it is stopped between two commits", stopped)


def silence(service: FakeService) -> None:
    """As if nobody had been heard of for a minute."""
    with sqlite3.connect(service.place.journal) as db:
        db.execute("UPDATE clock SET seen = seen - 60")
    service.place.beat.unlink(missing_ok=True)


def test_only_rollback_seizes_from_a_holder_of_another_host(service: FakeService) -> None:
    """One that is silent elsewhere: `rollback` alone may seize."""
    release = begin(service)
    elsewhere = service.me._replace(host="elsewhere")
    service.journal.claim(NAME, elsewhere, seize=service.service.epoch)
    with pytest.raises(Unavailable, match="driven by elsewhere, which does not answer"):
        service.driver().ask(release.id, Verb.ABORT, "ann")
    assert service.service.holder == elsewhere
    service.driver().ask(release.id, Verb.ROLLBACK, "ann")
    assert service.service.holder == service.me
    assert service.release.reason == "abort by ann", "the command that came first"


def test_a_holder_that_was_succeeded_stands_down(service: FakeService) -> None:
    begin(service)
    driver = service.driver()
    driver.follow(service.release.id, lambda r: r.phase is P.HOLDING, lambda *_: None)
    assert driver.driving
    service.journal.claim(NAME, service.me._replace(host="elsewhere"), seize=service.service.epoch)
    driver.stay(lambda: not driver.driving)
    assert service.release.phase is P.HOLDING


def test_a_journal_locked_by_somebody_elses_program_is_said_and_that_program_is_left_alone(service: FakeService) -> None:
    release = begin(service)
    script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN IMMEDIATE'); print('locked', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, service.place.journal.name, "a backup of /var/lib/bleen"]  # which does not make it ours
    locking = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=service.place.path, text=True)
    try:
        assert locking.stdout is not None
        assert locking.stdout.readline() == "locked\n"
        with pytest.raises(Unavailable, match=f"pid {locking.pid}.*not bleen's"):
            service.driver().ask(release.id, Verb.ABORT, "ann")
        assert locking.poll() is None
    finally:
        locking.communicate("")


def test_a_command_to_a_release_that_has_just_ended_is_answered_and_nobody_is_ended(service: FakeService) -> None:
    with engine(service, stays) as other:
        answer = service.driver().ask(service.release.id, Verb.ROLLBACK, "ann")
        assert (answer.obeyed, other.alive) == (False, True)


def test_a_driver_goes_on_when_its_journal_cannot_be_written_for_a_while(service: FakeService) -> None:
    begin(service)
    with engine(service, stays) as other:
        until("it has begun", lambda: service.release.phase is not P.PLANNED)
        with sqlite3.connect(service.place.journal, isolation_level=None) as lock:
            lock.execute("BEGIN IMMEDIATE")
            locked_in = service.release.phase
            service.journal.changed(1.5)
            assert service.release.phase is locked_in
            lock.execute("ROLLBACK")
        holds(service)
        assert other.alive


def test_a_bug_in_what_watches_is_said_once_and_who_watches_goes_on(service: FakeService) -> None:
    """What it does not know how to do is no reason to leave all else undone."""
    service.claim()
    ends, tend = time.monotonic() + 20, service.platform.tend
    met, told = list[int](), list[str]()
    driver = Driver(service.journal, service.engine, NAME, service.me, told.append)

    def stumbles(epoch: int) -> None:
        met.append(epoch)
        raise TypeError("it has no legs")

    service.platform.tend = stumbles  # type: ignore[method-assign]
    driver.stay(lambda: len(met) > 2 or time.monotonic() > ends)
    assert len(met) > 2
    assert told == ["a bug in bleen, please report it: TypeError: it has no legs"]
    service.platform.tend = tend  # type: ignore[method-assign]
    service.platform.crash(BLUE)
    driver.stay(lambda: service.platform.running()[BLUE].alive == 2 or time.monotonic() > ends)
    assert service.platform.running()[BLUE].alive == 2


def test_a_journal_that_cannot_be_read_for_a_while_ends_nobody_who_watches(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that gives an I/O error, a host that is short of descriptors."""
    service.claim()
    told, looks, ends = list[str](), list[str](), time.monotonic() + 20
    driver, read = Driver(service.journal, service.engine, NAME, service.me, told.append), service.journal.service

    def fails(name: str) -> Service:
        looks.append(name)
        if len(looks) < 4:
            raise Unavailable("the journal cannot be used: disk I/O error")
        return read(name)

    monkeypatch.setattr(service.journal, "service", fails)
    service.platform.crash(BLUE)
    driver.stay(lambda: service.platform.running()[BLUE].alive == 2 or time.monotonic() > ends)
    assert service.platform.running()[BLUE].alive == 2
    assert told == ["the journal cannot be used: disk I/O error"]


def test_what_keeps_who_watches_from_acting_is_said_again_when_it_comes_again(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that cannot be used, then a good one, then another such: nobody was told of the second."""
    service.claim()
    met, told = list[int](), list[str]()
    driver, tend = Driver(service.journal, service.engine, NAME, service.me, told.append), service.platform.tend

    def refuses(epoch: int) -> None:
        met.append(epoch)
        raise Refused("no certificate")

    service.platform.tend = refuses  # type: ignore[method-assign]
    driver.stay(lambda: len(met) > 2)
    assert told == ["no certificate"]
    service.platform.tend = tend  # type: ignore[method-assign]
    driver.stay(iter([False, False, True]).__next__)
    service.platform.tend = refuses  # type: ignore[method-assign]
    monkeypatch.setattr(drive, "GONE", 0.0)
    driver.stay(lambda: len(met) > 3)
    assert told == ["no certificate"] * 2


def test_a_journal_that_cannot_be_written_keeps_nobody_from_starting_again_what_has_crashed(service: FakeService) -> None:
    """What bakes has something to write down every second."""
    release = service.journal.open(NAME, service.plan("1.1", steps=(Step(100, 600.0),)), "ann")
    driver, began = service.driver(), time.monotonic()
    driver.follow(release.id, lambda release: release.phase is P.BAKING, lambda *_: None)
    with sqlite3.connect(service.place.journal, isolation_level=None) as lock:
        lock.execute("BEGIN IMMEDIATE")
        driver.stay(lambda: time.monotonic() > began + 2)
        service.platform.crash(BLUE)
        driver.stay(lambda: service.platform.running()[BLUE].alive == 2 or time.monotonic() > began + 7)
        assert service.platform.running()[BLUE].alive == 2
        lock.execute("ROLLBACK")


@pytest.mark.parametrize("runs", [True, False], ids=["the router runs", "the router is started"])
def test_the_router_is_led_to_where_copies_are_now_and_that_is_no_drift(service: FakeService, runs: bool) -> None:
    """A copy that does not run and whose port somebody else has got gets another one, and the routing follows."""
    before, upkeep = service.router.truth(), Upkeep(service.journal, service.engine, NAME)
    service.platform.lose_port(BLUE)
    if not runs:
        service.router.kill()
    held = service.journal.claim(NAME, service.me, seize=service.service.epoch)

    def led() -> bool:
        upkeep.tend(held)
        return service.service.confirmed.targets[BLUE] == service.platform.truth()[BLUE].targets

    until("the router is led there", led)
    assert service.router.truth() == before.moved(service.service.confirmed.targets)
    assert service.router.routing().same_production(service.service.confirmed)


@pytest.mark.parametrize(
    "does",
    [{"beside": "the preview listener was closed by hand"}, {"shares": {}, "unknown": "a route of somebody's"}],
    ids=["beside production", "with production itself"],
)
def test_the_router_is_led_there_whatever_is_amiss(service: FakeService, does: dict[str, Any]) -> None:
    """An old process on the port must not pass for the new one: users had the answers of whoever took it, for as long as a preview was closed by hand."""
    before, upkeep = service.router.truth(), Upkeep(service.journal, service.engine, NAME)
    service.router.drift(before._replace(**does))
    service.platform.lose_port(BLUE)
    held = service.journal.claim(NAME, service.me, seize=service.service.epoch)

    def led() -> bool:
        upkeep.tend(held)
        return service.router.truth().targets[BLUE] == service.platform.truth()[BLUE].targets != before.targets[BLUE]

    until("the router is led there", led)
    assert service.router.truth().strange, "which is for a person to undo"


def test_a_holder_of_another_host_counts_as_alive() -> None:
    assert holder("0").alive
    assert holder("0")._replace(host="elsewhere", pid=1).alive
