"""What the engine makes of a migrator: its phases over fakes, with a database that waits, refuses, or is away."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bleen.lifecycle import Phase, Release, Service, Verb
from bleen.model import Due, Environment, Memo, NotYet, Result, Verdict
from bleen.ports import Providers, Shipping
from bleen.testing.fakes import FakeCheck, FakeMigrator
from bleen.testing.service import FakeService

NAME = "0007_full_name"
BLUE, GREEN = Environment("blue", 1), Environment("green", 2)
DATABASE = {"migrations": {NAME: "sum"}, "expands": [NAME], "contracts": [NAME], "before": [], "contract": "manual"}
AWAY = "the database does not answer: connection refused"


@pytest.fixture
def migrator() -> FakeMigrator:
    return FakeMigrator({}, (NAME,))


@pytest.fixture
def service(tmp_path: Path, migrator: FakeMigrator) -> Iterator[FakeService]:
    """1.0 is active, and ships no migration."""
    made = FakeService(tmp_path, migrator=migrator)
    made.stand()
    yield made
    assert made.faults() == []
    made.close()


def deploy(service: FakeService, *until: Phase, **changes: Any) -> Phase:
    return service.deploy("1.1", *until, **{"database": DATABASE, **changes}).phase


def names(service: FakeService) -> list[str]:
    return [each["migration"] for each in service.service.pending]


def test_the_schema_is_expanded_before_the_new_version_is_started(service: FakeService, migrator: FakeMigrator) -> None:
    """EXPANDING | changes the schema so that both versions understand it | PROVISIONING."""
    migrator.hold()
    service.open("1.1", database=DATABASE)
    for _ in range(5):
        service.clock.advance(service.tick() or 0.0)
    assert (service.release.phase, service.release.why) == (Phase.EXPANDING, "the database, to expand")
    assert service.platform.effects("provision")[1:] == []
    migrator.let_go()
    service.drive()
    assert migrator.schema == {NAME: "expanded"}


@pytest.mark.parametrize("how", ["refuse", "break_down"])
def test_a_schema_that_cannot_be_expanded_aborts_and_a_retry_goes_on(service: FakeService, migrator: FakeMigrator, how: str) -> None:
    """Any failure leaves a state from which expand resumes or reverts, and says so."""
    getattr(migrator, how)(AWAY)
    assert deploy(service) is Phase.ABORTED
    assert service.release.reason == f"the schema was not expanded: {AWAY}"
    assert list(service.platform.running()) == [BLUE]
    migrator.mend()
    assert deploy(service) is Phase.COMPLETED


def test_an_abort_ends_what_is_under_way_and_reverts_nothing(service: FakeService, migrator: FakeMigrator) -> None:
    """Abort and rollback never run `revert.sql`; a retry finds the expanded schema and goes on."""
    migrator.hold()
    service.open("1.1", database=DATABASE)
    service.drive(Phase.EXPANDING)
    service.tick()
    assert service.ask(Verb.ABORT).obeyed
    assert service.drive().phase is Phase.ABORTED
    assert migrator.cancelled
    migrator.let_go()
    assert deploy(service, Phase.HOLDING) is Phase.HOLDING
    assert service.ask(Verb.ROLLBACK).obeyed
    service.drive()
    assert migrator.schema == {NAME: "expanded"}


def test_a_contract_that_was_not_asked_for_is_pending_and_the_release_is_over(service: FakeService) -> None:
    """A contract that is manual, or whose gate is shut, is *pending*: it neither halts nor blocks a release."""
    assert deploy(service) is Phase.COMPLETED
    assert names(service) == [NAME]


def test_a_warm_old_environment_holds_the_gate(tmp_path: Path) -> None:
    """Only when every environment that exists, a warm idle one included, ships that migration."""
    service = FakeService(tmp_path, migrator=FakeMigrator({}, (NAME,), "auto"))
    service.stand()
    assert deploy(service, keep=2) is Phase.COMPLETED
    assert service.service.pending[0]["waits"] == [f"blue-1 does not ship {NAME}"]
    both = {**DATABASE, "before": [NAME], "expands": []}
    assert service.deploy("1.2", database=both, keep=0).phase is Phase.COMPLETED
    assert names(service) == []
    service.close()


class Listening(FakeMigrator):
    """Remembers what it was told of whom."""

    ships: Mapping[str, frozenset[str]] = {}

    def expand(self, environments: Sequence[Shipping], memo: Memo) -> Verdict | NotYet:
        self.ships = {str(each.environment): each.migrations for each in environments}
        return super().expand(environments, memo)


def test_an_environment_that_has_yet_to_make_room_ships_what_its_own_release_says(tmp_path: Path) -> None:
    """`revert` refuses while an environment that ships the migration exists: be it neither the old one of a release nor its new one."""
    migrator = Listening({}, (NAME,))
    service = FakeService(tmp_path, migrator=migrator)
    service.stand()
    deploy(service, keep=2)
    both = {**DATABASE, "before": [NAME], "expands": []}
    service.deploy("1.2", database=both, keep=2)
    service.deploy("1.3", Phase.PROVISIONING, database={**both, "migrations": {}, "contracts": []})
    assert migrator.ships == {"green-4": frozenset(), "green-2": {NAME}, "blue-3": {NAME}}
    service.drive()
    assert service.faults() == []
    service.close()


def test_a_database_that_is_away_leaves_the_contract_pending_and_says_why(service: FakeService, migrator: FakeMigrator) -> None:
    deploy(service, Phase.HOLDING)
    migrator.break_down(AWAY)
    assert service.drive().phase is Phase.COMPLETED
    (pending,) = service.service.pending
    assert (pending["migration"], pending["waits"]) == (NAME, [AWAY])
    assert pending["since"] == next(event.at for event in service.events if event.text.startswith("EXPANDING done") or event.phase is Phase.PROVISIONING)


def test_what_an_automatic_contract_failed_on_is_remembered_of_one_that_was_pending_too(service: FakeService, migrator: FakeMigrator) -> None:
    deploy(service)
    both = {**DATABASE, "contract": "auto", "before": [NAME], "expands": []}
    service.deploy("1.2", Phase.HOLDING, database=both)
    migrator.break_down("the disk is full")
    assert service.drive().phase is Phase.COMPLETED
    assert service.service.pending[0]["failed"] == "the disk is full"
    migrator.mend()
    assert service.deploy("1.3", database={**both, "contract": "manual"}, keep=0).phase is Phase.COMPLETED
    assert service.service.pending[0]["failed"] == "the disk is full", "until it is tried again"


def test_what_was_pending_stays_so_while_the_database_cannot_be_asked(service: FakeService, migrator: FakeMigrator) -> None:
    """Releases later too, in order."""
    deploy(service)
    before = service.service.pending
    more = {**DATABASE, "migrations": {NAME: "sum", "0008_note": "sum"}, "before": [NAME], "contracts": [NAME, "0008_note"]}
    service.deploy("1.2", Phase.HOLDING, database=more)
    migrator.break_down(AWAY)
    service.drive()
    assert names(service) == [NAME, "0008_note"]
    assert service.service.pending[0] == before[0]


def test_what_the_database_lacked_is_lacking_no_more_once_a_version_that_ships_it_is_expanded(service: FakeService) -> None:
    """Journal lost or database restored: the ledger decides."""
    lacking = [Due(migration=name, description="", since=None, waits=["was it restored?"]) for name in (NAME, "0009_of_another")]
    service.journal.pend(service.service.name, lacking)
    deploy(service, Phase.PROVISIONING)
    assert names(service) == ["0009_of_another"]
    service.drive()


def test_a_contract_that_fails_halts_and_resume_tries_again(service: FakeService, migrator: FakeMigrator) -> None:
    """CONTRACTING | contracts the schema if the gate is open, else leaves it pending | COMPLETED | halts."""
    deploy(service, Phase.HOLDING)
    migrator.break_off("the database says: other objects depend on it")
    halted = service.drive()
    assert (halted.phase, halted.halted) == (Phase.CONTRACTING, "the schema was not contracted: the database says: other objects depend on it")
    migrator.mend()
    assert service.ask(Verb.RESUME).obeyed
    assert service.drive().phase is Phase.COMPLETED


def test_a_contract_that_failed_before_it_took_anything_away_ends_the_release_and_is_pending_with_the_reason(tmp_path: Path) -> None:
    """So is one that failed before it took anything away."""
    migrator = FakeMigrator({}, (NAME,), "auto")
    service = FakeService(tmp_path, migrator=migrator)
    service.stand()
    deploy(service, Phase.HOLDING)
    migrator.refuse("the database says: other objects depend on it")
    assert service.drive().phase is Phase.COMPLETED
    (pending,) = service.service.pending
    assert (pending["migration"], pending["failed"]) == (NAME, "the database says: other objects depend on it")
    service.close()


def test_resume_begins_a_contract_anew_and_does_not_look_for_the_one_that_failed(service: FakeService, migrator: FakeMigrator) -> None:
    memos: list[Any] = []
    contract = migrator.contract
    migrator.contract = lambda environments, memo: memos.append(memo) or contract(environments, memo)  # type: ignore[method-assign, func-returns-value]
    deploy(service, Phase.HOLDING)
    migrator.break_off()
    service.drive()
    migrator.mend()
    service.clock.advance(1)
    service.ask(Verb.RESUME)
    service.drive()
    assert [bool(memo) for memo in memos] == [False, True, False, True]


def test_a_rollback_moves_the_traffic_before_the_database_is_asked(service: FakeService, migrator: FakeMigrator) -> None:
    """It returns once the old version is served; UNDOING goes on behind."""
    deploy(service, Phase.HOLDING)
    migrator.hold()
    assert service.ask(Verb.ROLLBACK).obeyed
    service.drive(Phase.UNDOING)
    assert service.router.truth().shares == {BLUE: 100}
    for _ in range(20):
        service.clock.advance(service.tick() or 0.0)
    assert (service.release.phase, service.release.why) == (Phase.UNDOING, "the database, to account")
    assert list(service.platform.running()) == [BLUE]
    migrator.let_go()
    assert service.drive().phase is Phase.ROLLED_BACK
    assert service.events[-1].facts["written"] == {NAME: {"written": 0}}


def test_a_rollback_ends_although_the_database_is_away(service: FakeService, migrator: FakeMigrator) -> None:
    deploy(service, Phase.HOLDING)
    migrator.break_down(AWAY)
    service.ask(Verb.ROLLBACK)
    assert service.drive().phase is Phase.ROLLED_BACK
    assert service.events[-1].facts["database"] == AWAY


HAND = "cannot be reverted: give 1.0 back by hand, or by a new migration, what it misses"
WAYS = {
    "all": ((), f"`bleen migrate revert 0008_more`, `bleen migrate revert {NAME}` undoes that"),
    "one": ((NAME,), f"`bleen migrate revert 0008_more` undoes that; {NAME} {HAND}"),
    "none": ((NAME, "0008_more"), f"500; {NAME}, 0008_more {HAND}"),
}


@pytest.mark.parametrize(("final", "way"), WAYS.values(), ids=WAYS)
def test_where_the_version_that_serves_cannot_live_with_an_expand_only_ways_are_told_that_there_are(tmp_path: Path, final: tuple[str, ...], way: str) -> None:
    """UNDOING: what cannot be reverted is no way back."""

    class Failing(FakeService):
        def build(self, service: Service, release: Release | None) -> Providers:
            return super().build(service, release)._replace(before=FakeCheck(Verdict(Result.FAIL, "GET / gave 500")))

    service = Failing(tmp_path, migrator=FakeMigrator({}, (NAME, "0008_more")))
    service.stand()
    assert service.deploy("1.1", database={**DATABASE, "final": list(final)}).phase is Phase.ABORTED
    assert service.release.reason.endswith(way)
    service.close()


def test_a_release_whose_router_fails_leaves_the_schema_expanded(service: FakeService, migrator: FakeMigrator) -> None:
    service.platform.refuse("provision")
    assert deploy(service) is Phase.ABORTED
    assert migrator.schema == {NAME: "expanded"}
    service.platform.mend()
    assert deploy(service) is Phase.COMPLETED
    assert names(service) == [NAME]
