"""An expand is rehearsed on a clone: carried out and undone there, while the database itself is left as it is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import pytest

import databases
from bleen.database import connect
from bleen.database.migration import Migration, parse
from bleen.database.rehearsal import must_be_another, rehearse
from bleen.database.schema import Schema
from bleen.database.server import Server, Taken
from bleen.errors import Refused, Unavailable
from dialects import urls

TABLE = "CREATE TABLE users (id integer PRIMARY KEY, first varchar(50), last varchar(50))"
PEOPLE = "INSERT INTO users VALUES (1, 'Ada', 'King'), (2, 'Grace', 'Hopper')"
FULL_NAME = {
    "postgres": ("ALTER TABLE users ADD COLUMN name varchar(101);", "first || ' ' || last", "split_part(name, ' ', 1)", "split_part(name, ' ', 2)"),
    "mysql": (
        "ALTER TABLE users ADD COLUMN name varchar(101), ALGORITHM=INSTANT;",
        "concat(first, ' ', last)",
        "substring_index(name, ' ', 1)",
        "substring_index(name, ' ', -1)",
    ),
    "sqlite": (
        "ALTER TABLE users ADD COLUMN name varchar(101);",
        "first || ' ' || last",
        "substr(name, 1, instr(name, ' ') - 1)",
        "substr(name, instr(name, ' ') + 1)",
    ),
}
"""An expand, and how the columns of its pair are made of each other."""


class Stand(NamedTuple):
    """A database, and a clone of it."""

    server: Server
    clone: Server
    url: str
    """Of the clone."""
    own: str
    """Of the database."""

    def rehearse(self, *migrations: Migration, url: str = "") -> Mapping[str, float]:
        def expand(schema: Schema, some: Sequence[Migration], _: object) -> object:
            return schema.expand(some, "shop", 2, {"green-2": frozenset(m.name for m in migrations)})

        return rehearse(self.server, url or self.url, migrations, expand, None, lambda _: None)

    def columns(self) -> tuple[list[str], list[str]]:
        """Of the table in the database, and in the clone."""
        return list(self.server.columns("users")), list(self.clone.columns("users"))

    def states(self) -> tuple[list[Any], list[Any]]:
        """What the two ledgers say."""
        return tuple([(e.name, e.state) for e in Schema(each).ledger.entries()] for each in (self.server, self.clone))  # type: ignore[return-value]


@pytest.fixture(params=FULL_NAME)
def stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    with ExitStack() as stack:
        own, url = urls(request.param, stack, request, 2)
        server, clone = connect(own), connect(url)
        for each in (server, clone):
            stack.callback(each.close)
            each.rows(TABLE)
            each.rows(PEOPLE)
        yield Stand(server, clone, url, own)


def full_name(stand: Stand, **more: str) -> Migration:
    expand, forward, first, last = FULL_NAME[stand.server.dialect]
    pair = f"""[[sync]]
table = "users"
old = ["first", "last"]
new = "name"
forward = {{ name = "{forward}" }}
backward = {{ first = "{first}", last = "{last}" }}
on_conflict = "new"
"""
    return parse("0007_full_name", {"expand.sql": expand, "migration.toml": pair, **more}, "")


def test_it_goes_there_and_back_on_the_clone_and_touches_nothing_else(stand: Stand) -> None:
    before = stand.columns()
    for _ in range(2):
        assert list(stand.rehearse(full_name(stand))) == ["0007_full_name"]
        assert stand.columns() == before
        assert stand.states() == ([], [])


def test_what_fails_there_is_told_and_undone_there(stand: Stand) -> None:
    """Any failure leaves a state from which expand resumes or reverts: here it is reverted."""
    before = stand.columns()
    broken = parse("0008_broken", {"expand.sql": "ALTER TABLE users ADD COLUMN a int;\nALTER TABLE nobody ADD COLUMN a int;"}, "")
    with pytest.raises(Refused, match=r"on the clone: .*nobody.*; what it did there is undone; mend it, and try again$"):
        stand.rehearse(full_name(stand), broken)
    assert stand.columns() == before
    assert stand.states() == ([], [])


def test_the_way_back_is_rehearsed_too(stand: Stand) -> None:
    """Reversible until contract."""
    stuck = parse("0008_note", {"expand.sql": FULL_NAME[stand.server.dialect][0], "revert.sql": "ALTER TABLE nobody DROP COLUMN name;"}, "")
    with pytest.raises(Refused, match=r"on the clone: .*nobody"):
        stand.rehearse(stuck)
    assert stand.states()[0] == []


def test_what_a_killed_rehearsal_left_is_undone_first(stand: Stand) -> None:
    with pytest.raises(Refused, match="nobody"):
        Schema(stand.clone).expand([full_name(stand, **{"contract.sql": "", "expand.sql": _half(stand)})], "shop", 2, {})
    assert stand.states() == ([], [("0007_full_name", "expanding")])
    stand.rehearse(full_name(stand))
    assert stand.states() == ([], [])


def test_what_a_rehearsal_that_was_broken_off_had_ended_is_undone_by_the_next_and_nothing_else(stand: Stand) -> None:
    there = parse("0006_there", {"expand.sql": "CREATE TABLE there (id integer PRIMARY KEY);"}, "")
    Schema(stand.clone).expand([there], "shop", 1, {})

    more = parse("0008_more", {"expand.sql": "CREATE TABLE more (id integer PRIMARY KEY);"}, "")

    def breaks_off(schema: Schema, some: Sequence[Migration], _: object) -> object:
        if some[0].name == more.name:
            raise KeyboardInterrupt
        return schema.expand(some, "shop", 2, {})

    with pytest.raises(KeyboardInterrupt):
        rehearse(stand.server, stand.url, [there, full_name(stand), more], breaks_off, None, lambda _: None)
    assert stand.states()[1] == [("0006_there", "expanded"), ("0007_full_name", "expanded")]
    mended = full_name(stand, **{"backfill.sql": ""})
    assert list(stand.rehearse(there, mended)) == ["0007_full_name"]
    assert stand.states()[1] == [("0006_there", "expanded")]


def _half(stand: Stand) -> str:
    return f"{FULL_NAME[stand.server.dialect][0]}\nALTER TABLE nobody ADD COLUMN a int;"


def test_one_that_cannot_be_undone_stays_on_the_clone(stand: Stand) -> None:
    final = full_name(stand, **{"revert.sql": "-- bleen: irreversible nobody knows how\n"})
    stand.rehearse(final)
    assert stand.states() == ([], [("0007_full_name", "expanded")])
    assert stand.rehearse(final) == {}


def test_the_database_itself_is_no_clone(stand: Stand) -> None:
    before = stand.columns()
    with pytest.raises(Refused, match="on the clone: it is the database itself"):
        stand.rehearse(full_name(stand), url=stand.own)
    assert stand.columns() == before


def test_a_clone_that_another_rehearsal_has_only_just_left_is_another_database(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused [...] if the clone is the database itself."""
    left, alone = iter([Taken("another migration of this database is under way")]), stand.clone.alone

    @contextmanager
    def in_turn() -> Iterator[None]:
        for taken in left:
            raise taken
        with alone():
            yield

    monkeypatch.setattr(stand.clone, "alone", in_turn)
    must_be_another(stand.server, stand.clone, "give another")


def test_a_clone_that_is_away_is_said_to_be_the_clone(base: databases.Base) -> None:
    server = base.open()
    nobody: Callable[..., object] = lambda *_: None  # noqa: E731
    with pytest.raises(Unavailable, match="on the clone: the database does not answer"):
        rehearse(server, "postgresql://postgres@127.0.0.1:1/gone", [], nobody, None, lambda _: None)
    server.close()
