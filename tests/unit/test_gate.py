"""When a schema may be contracted."""

from argparse import Namespace

import pytest

from bleen.cli.verbs.migrate.contract import _wanted
from bleen.database.gate import Around, Obstacle, named, obstacles
from bleen.database.ledger import Known
from bleen.database.reading import Pending
from bleen.database.server import Session
from bleen.model import Environment, apart_from
from bleen.ports import Shipping

NAME = "0007_full_name"
GREEN = Shipping(Environment("green", 5), "1.1", frozenset({NAME}), 2, 100)
BLUE = Shipping(Environment("blue", 4), "1.0", frozenset(), 2, 0)
OURS = Session(1, named("shop", "green"), "shop", "10.0.0.7", "idle")


def shut(
    *environments: Shipping,
    window: str = "",
    others: tuple[Known, ...] = (),
    sessions: tuple[Session, ...] = (OURS,),
    diverged: dict[str, int] | None = None,
    earlier: tuple[str, ...] = (),
) -> list[Obstacle]:
    return obstacles(NAME, Around("shop", environments or (GREEN,), window), others, sessions, diverged or {}, earlier)


def test_it_is_open_when_every_environment_and_every_session_knows_the_new_shape() -> None:
    assert shut() == []


def test_it_is_shut_while_the_rollback_window_is_open() -> None:
    """The contract gate: shut while the rollback window is open."""
    assert shut(window="the rollback window of release 5 (1.1) is open, for 12m more") == [
        Obstacle("the rollback window of release 5 (1.1) is open, for 12m more")
    ]


def test_it_is_shut_while_an_environment_exists_that_does_not_ship_the_migration() -> None:
    """Only when every environment that exists, a warm idle one included, ships that migration."""
    (found,) = shut(GREEN, BLUE)
    assert found == Obstacle("blue-4 (1.0) runs 2 processes, and its version does not ship 0007_full_name")


def test_it_says_when_only_the_database_remembers_such_an_environment() -> None:
    """Journal lost, another one asked, or database restored: the ledger decides."""
    (found,) = obstacles(NAME, Around("shop", (BLUE._replace(processes=0),), known=False), (), (), {}, ())
    assert found.why.startswith("blue-4 (1.0) exists, and its version does not ship 0007_full_name; that is what the database remembers")
    assert "`bleen migrate forget shop`" in found.why


def test_it_says_when_such_an_environment_gets_traffic() -> None:
    """Shut while traffic reaches it."""
    (found,) = shut(GREEN._replace(share=90), BLUE._replace(share=10))
    assert "blue-4 (1.0) gets 10 % of the traffic" in found.why


def test_it_is_shut_while_rows_are_out_of_step() -> None:
    """Shut while rows diverge (a count query)."""
    assert shut(diverged={"users": 3, "orders": 0}) == [Obstacle(f"3 rows of users are out of step: `bleen migrate backfill {NAME}` fills or shows them")]


def test_it_is_shut_while_an_earlier_contract_is_pending() -> None:
    """Pending contracts run in order."""
    assert shut(earlier=("0006_price",)) == [Obstacle("0006_price comes first, and is pending")]


def test_it_is_shut_while_another_service_on_the_database_does_not_ship_the_migration() -> None:
    """While another service that shares the database holds it."""
    (found,) = shut(others=(Known("worker", "blue-2", "7", frozenset()), Known("mailer", "green-1", "3", frozenset({NAME}))))
    assert found.why.startswith("worker shares this database, and its blue-2 (7) does not ship 0007_full_name; ")
    assert "`bleen migrate forget worker`" in found.why


def test_another_service_that_uses_nothing_of_this_one_s_keeps_it_open_and_so_do_its_sessions() -> None:
    """Only when every environment that exists ships that migration, or says that it uses nothing which those of that service change."""
    worker, session = Known("worker", "blue-2", "7", frozenset({apart_from("shop")})), Session(9, named("worker", "blue"), "shop", "", "idle")
    assert obstacles(NAME, Around("shop", (GREEN,)), (worker,), (OURS, session), {}, (), "shop") == []
    assert len(obstacles(NAME, Around("shop", (GREEN,)), (worker,), (OURS, session), {}, (), "store")) == 2


def test_what_the_ledger_remembers_of_the_own_service_does_not_count() -> None:
    assert shut(others=(Known("shop", "blue-4", "1.0", frozenset()),)) == []


def test_it_is_shut_while_a_session_of_an_old_version_is_connected() -> None:
    """While blue has a session in pg_stat_activity (application_name)."""
    blue = Session(9, named("shop", "blue"), "shop", "10.0.0.8", "idle in transaction")
    found = shut(GREEN, BLUE._replace(processes=0), sessions=(OURS, blue))
    assert Obstacle("session 9 (bleen:shop:blue, user shop, from 10.0.0.8) is of a version that does not ship 0007_full_name") in found


def test_a_session_of_an_environment_that_has_ended_keeps_it_shut() -> None:
    (found,) = shut(sessions=(OURS, Session(9, named("shop", "blue"), "shop", "", "idle")))
    assert not found.unseen
    assert "is of an environment that has ended" in found.why


def test_a_session_that_does_not_say_what_it_is_is_unseen() -> None:
    """Behind a pooler, or unseen, the gate stays shut until a person names the reason."""
    (found,) = shut(sessions=(OURS, Session(9, "psql", "ann", "", "idle")))
    assert found.unseen


@pytest.mark.parametrize("name", ["green", "blue"])
def test_a_session_that_a_pooler_lends_is_no_evidence_whatever_it_is_called(name: str) -> None:
    """Behind a pooler, or unseen, the gate stays shut until a person names the reason."""
    lent = Session(9, named("shop", name), "shop", "10.0.0.7", "idle", "pid 7 (pgbouncer)")
    (found,) = shut(sessions=(OURS, lent))
    assert "is held by pid 7 (pgbouncer), which bleen has not started: a pooler lends a session to whoever comes" in found.why
    assert found.unseen


def test_a_reason_opens_what_is_unseen_and_of_triggers_only_those_that_it_names() -> None:
    """Nor, unless a reason that names the trigger is given, while its function speaks of it."""
    session, trigger, certain = Obstacle("who", True), Obstacle("trigger a_touch runs touch()", True, "a_touch"), Obstacle("a view")
    assert [each.opened("psql of the on-call") for each in (session, trigger, certain)] == [True, False, False]
    assert [each.opened("A_touch: never comes there") for each in (session, trigger, certain)] == [True, True, False]
    assert not session.opened("")
    assert trigger.told.endswith("; --because REASON opens it all the same, if it names a_touch")


def test_a_version_that_serves_and_has_no_session_of_its_name_is_unseen() -> None:
    """Evidence, not proof. A reason that is typed each time is none: who reads it learns how the application's driver says who it is."""
    (found,) = shut(sessions=())
    assert found.unseen
    assert "no session says that it is of green-5" in found.why
    assert "(docs/guide/database.md, How a connection says who it is)" in found.why


def test_a_service_that_is_down_has_no_sessions_to_miss() -> None:
    assert obstacles(NAME, Around("shop", ()), (), (), {}, ()) == []


def test_our_own_sessions_do_not_count() -> None:
    assert shut(sessions=(OURS, Session(9, "bleen migrate shop", "shop", "", "active"))) == []


@pytest.mark.parametrize(("owners", "wanted"), [("desk", 0), ("desk shop", 2), ("shop desk", 1), ("shop shop", 2)])
def test_a_contract_of_another_service_is_only_wanted_where_one_of_ours_comes_behind_it(owners: str, wanted: int) -> None:
    """A job that contracts each night is not red for what another one has to do."""
    pending = [Pending(str(number), "", 0.0, owner, ()) for number, owner in enumerate(owners.split())]
    assert _wanted(Namespace(migration=None), pending, Around("shop", (GREEN,))) == [each.migration for each in pending[:wanted]]
