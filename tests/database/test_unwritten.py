"""What nobody has written of the new shape is filled, also where the old shape could be made of its NULL; and what somebody has written is never lost."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, nullcontext
from typing import Any

import pytest

from bleen.database import connect
from bleen.database.foresight import Foresight
from bleen.database.migration import Migration, parse
from bleen.database.schema import Schema
from bleen.errors import Refused
from databases import Base
from dialects import DIALECTS, urls

EXPANDS = {
    "postgres": "ALTER TABLE users ADD COLUMN active boolean;",
    "mysql": "ALTER TABLE users ADD COLUMN active boolean, ALGORITHM=INSTANT;",
    "sqlite": "ALTER TABLE users ADD COLUMN active boolean;",
}
SHIPS: Mapping[str, frozenset[str]] = {"blue-1": frozenset(), "green-2": frozenset({"0007_active"})}


def active(dialect: str, **files: str) -> Migration:
    """A number becomes a truth: the old version's 0 is what is made of the new one's NULL, too."""
    settings = """[[sync]]
table = "users"
old = "status"
new = "active"
forward = { active = "status = 1" }
backward = { status = "CASE WHEN active THEN 1 ELSE 0 END" }
on_conflict = "new"
"""
    contract = "ALTER TABLE users DROP COLUMN status;"
    return parse("0007_active", {"expand.sql": EXPANDS[dialect], "migration.toml": settings, "contract.sql": contract, **files}, "")


@pytest.fixture(params=DIALECTS)
def schema(request: pytest.FixtureRequest) -> Iterator[Schema]:
    with ExitStack() as stack:
        (url,) = urls(request.param, stack, request)
        server = connect(url)
        stack.callback(server.close)
        server.rows("CREATE TABLE users (id integer PRIMARY KEY, status int NOT NULL DEFAULT 0, note varchar(20))")
        server.rows("INSERT INTO users (id, status) VALUES (1, 0), (2, 1), (3, 0)")
        yield Schema(server)


def stored(schema: Schema) -> list[tuple[int, Any]]:
    return [(id, None if value is None else int(value)) for id, value in schema.server.rows("SELECT id, active FROM users ORDER BY id")]


def test_a_row_whose_old_shape_could_be_made_of_null_is_filled_and_outlives_the_contract(schema: Schema) -> None:
    """`bleen deploy` "expands, installs the sync, fills": NULL as ADD COLUMN left it is nothing that the new version wrote."""
    schema.expand([active(schema.server.dialect)], "shop", 2, SHIPS)
    assert stored(schema) == [(1, 0), (2, 1), (3, 0)]
    schema.server.rows("INSERT INTO users (id, status) VALUES (4, 0)")  # by somebody who says no name: the default, or a value that is the same
    schema.server.rows("UPDATE users SET note = 'x'")
    schema.contract("0007_active")
    assert stored(schema) == [(1, 0), (2, 1), (3, 0), (4, 0)]


def test_what_the_new_version_wrote_survives_another_backfill(schema: Schema) -> None:
    """What a writer wrote is never overwritten."""
    schema.expand([active(schema.server.dialect)], "shop", 2, SHIPS)
    schema.server.rows("UPDATE users SET active = NULL WHERE id = 1")
    schema.backfill("0007_active")
    assert stored(schema) == [(1, None), (2, 1), (3, 0)]


def test_a_backfill_that_fills_a_pair_otherwise_than_the_pair_is_refused_before_expand(schema: Schema) -> None:
    """Two-way sync: the derived side changes only if its source changed or was not yet in step; here the triggers would make status from what differs."""
    same = active(schema.server.dialect, **{"backfill.sql": "UPDATE users SET active = status  =1 /* it is */;"})
    assert Foresight(schema).foreseen(same) == []
    other = active(schema.server.dialect, **{"backfill.sql": "UPDATE users SET active = status < 1;"})
    (said,) = Foresight(schema).foreseen(other)
    assert "backfill of" in said
    assert "active = status < 1, and its pair says forward = status = 1: the triggers would make the old columns from what differs" in said
    schema.expand([other], "shop", 2, SHIPS)  # by who has not looked: the pair counts
    assert schema.server.rows("SELECT id, status FROM users ORDER BY id") == [(1, 0), (2, 1), (3, 0)]
    assert stored(schema) == [(1, 0), (2, 1), (3, 0)]


IMPOSED = {  # what the pair says: forward, backward and on_conflict; what the plan says of an old version that gives no value, and what there is then
    "the new default": ("note", "memo", "new", "has 'none' on both sides", "none"),
    "a refusal": ("note", "memo", "error", "fails", None),
    "the old side": ("note", "memo", "old", "", None),
    "the default for NULL": ("coalesce(note, 'none')", "nullif(memo, 'none')", "new", "", None),
    "NULL for the default": ("note", "nullif(memo, 'none')", "new", "", None),
}


@pytest.mark.parametrize(("forward", "backward", "decides", "says", "note"), IMPOSED.values(), ids=IMPOSED)
def test_a_default_that_an_old_version_would_find_in_its_column_is_told(
    schema: Schema, forward: str, backward: str, decides: str, says: str, note: str | None
) -> None:
    """Expand adds what the new version needs, "and nothing that the old one could notice"."""
    sides = f'old = "note"\nnew = "memo"\nforward = {{ memo = "{forward}" }}\nbackward = {{ note = "{backward}" }}\non_conflict = "{decides}"\n'
    files = {"expand.sql": "ALTER TABLE users ADD COLUMN memo varchar(20) DEFAULT 'none';", "migration.toml": f'[[sync]]\ntable = "users"\n{sides}'}
    told = Foresight(schema).risks(parse("0007_memo", files, ""))
    what = "memo of users has a default, and note none: an INSERT of the old version that gives note no value "
    assert [f"{what}{says}; let forward say coalesce(..., 'none') and backward nullif(..., 'none')" in each for each in told] == [True] * bool(says)
    schema.expand([parse("0007_memo", files, "")], "shop", 2, SHIPS)
    with pytest.raises(Refused) if decides == "error" else nullcontext():
        schema.server.rows("INSERT INTO users (id) VALUES (9)")
        assert schema.server.rows("SELECT note FROM users WHERE id = 9") == [(note,)]


LATER = {"postgres": "ALTER TABLE users ALTER COLUMN memo SET NOT NULL;", "mysql": "ALTER TABLE users MODIFY memo varchar(20) NOT NULL;"}


@pytest.mark.parametrize("schema", LATER, indirect=True)
def test_a_null_that_the_contract_will_not_take_is_told_before_the_expand_and_what_leads_on_behind_it(schema: Schema) -> None:
    """A backfill does not: the row is in step."""
    sides = 'old = "note"\nnew = "memo"\nforward = { memo = "note" }\nbackward = { note = "memo" }\non_conflict = "new"\n'
    contract = f"-- bleen: allow all small\n{LATER[schema.server.dialect]}\nALTER TABLE users DROP COLUMN note;"
    files = {"expand.sql": "ALTER TABLE users ADD COLUMN memo varchar(20);", "contract.sql": contract}
    memo = parse("0007_memo", {**files, "migration.toml": f'[[sync]]\ntable = "users"\n{sides}'}, "")
    schema.server.rows("UPDATE users SET note = 'x' WHERE id > 1")
    (told,) = Foresight(schema).risks(memo)
    assert "contract.sql makes memo NOT NULL, and what forward makes of note may be NULL (by now of 1 rows): it is refused then, after the window" in told
    schema.expand([memo], "shop", 2, SHIPS)
    with pytest.raises(Refused, match="but for those of which forward makes NULL: give them a value, by an UPDATE of the new columns"):
        schema.contract("0007_memo")
    schema.server.rows("UPDATE users SET memo = 'none' WHERE memo IS NULL")
    schema.contract("0007_memo")
    assert schema.server.rows("SELECT memo FROM users ORDER BY id") == [("none",), ("x",), ("x",)]


FILLS = {
    "another column": "UPDATE users SET note = 'x';",
    "a part of the rows": "UPDATE users SET active = status = 1 WHERE id = 2;",
    "a part of the rows, and another column": "UPDATE users SET note = 'x', active = status = 1 WHERE id = 2;",
}


@pytest.mark.parametrize("fill", FILLS.values(), ids=FILLS)
def test_a_pair_is_filled_whatever_a_backfill_leaves_out(schema: Schema, fill: str) -> None:
    """`bleen deploy` "expands, installs the sync, fills": no row is left in which the new version reads nothing."""
    schema.expand([active(schema.server.dialect, **{"backfill.sql": fill})], "shop", 2, SHIPS)
    assert stored(schema) == [(1, 0), (2, 1), (3, 0)]
    noted = [id for (id,) in schema.server.rows("SELECT id FROM users WHERE note = 'x' ORDER BY id")]
    assert noted == ([] if "note" not in fill else [2] if "WHERE" in fill else [1, 2, 3])


def test_a_pair_beside_a_backfill_of_another_table_is_refused_before_expand(schema: Schema) -> None:
    schema.server.rows("CREATE TABLE orders (id integer PRIMARY KEY, a int)")
    (said,) = Foresight(schema).foreseen(active(schema.server.dialect, **{"backfill.sql": "UPDATE orders SET a = 1;"}))
    assert "the pair of users would not be filled, as a migration fills one table: make it one for each" in said


def test_rows_that_somebody_wrote_are_not_taken_for_filled_where_a_backfill_leaves_them_out(schema: Schema) -> None:
    """What a writer wrote is never overwritten; nor is it promised to be in step."""
    schema.server.rows("ALTER TABLE users ADD COLUMN active boolean")
    schema.server.rows("UPDATE users SET active = 1 = 1 WHERE id = 1")
    was_there = active(schema.server.dialect, **{"expand.sql": "", "backfill.sql": "UPDATE users SET active = status = 1 WHERE active IS NULL;"})
    with pytest.raises(Refused, match=r"the backfill's WHERE leaves out 1 rows of users \(status <-> active\) that are out of step"):
        schema.expand([was_there], "shop", 2, SHIPS)
    assert stored(schema) == [(1, 1), (2, 1), (3, 0)]
    schema.server.rows("UPDATE users SET status = 1 WHERE id = 1")
    assert schema.expand([was_there], "shop", 2, SHIPS) == ["0007_active"]


LOSSY = {
    "expand.sql": "ALTER TABLE users ADD COLUMN full_name text, ADD COLUMN score int;",
    "backfill.sql": "UPDATE users SET full_name = first || ' ' || last, score = 0;",
    "migration.toml": """[[sync]]
table = "users"
old = ["first", "last"]
new = "full_name"
forward = { full_name = "first || ' ' || last" }
backward = { first = "split_part(full_name, ' ', 1)", last = "split_part(full_name, ' ', 2)" }
on_conflict = "new"
lossy = true
""",
}


def test_neither_a_longer_name_nor_a_column_beside_the_pair_is_lost_to_another_backfill(base: Base) -> None:
    schema = Schema(base.open())
    schema.server.rows("CREATE TABLE users (id int PRIMARY KEY, first text, last text)")
    schema.server.rows("INSERT INTO users VALUES (1, 'Ada', 'King'), (2, 'Grace', 'Hopper'), (3, 'Jean', 'Bartik')")
    schema.expand([parse("0007_full_name", LOSSY, "")], "shop", 2, SHIPS)
    schema.server.rows("UPDATE users SET full_name = 'Ada Maria King', score = 7 WHERE id = 1")
    schema.backfill("0007_full_name")
    assert schema.server.rows("SELECT full_name, score FROM users ORDER BY id") == [("Ada Maria King", 7), ("Grace Hopper", 0), ("Jean Bartik", 0)]
    with base.connect(session_replication_role="replica") as past_the_triggers:
        past_the_triggers.execute("UPDATE users SET full_name = 'somebody else' WHERE id = 2")
        past_the_triggers.execute("UPDATE users SET full_name = NULL WHERE id = 3")
    with pytest.raises(Refused, match=r"1 rows of users .* are out of step: written past the triggers"):
        schema.backfill("0007_full_name")
    assert schema.server.rows("SELECT full_name FROM users ORDER BY id") == [("Ada Maria King",), ("somebody else",), ("Jean Bartik",)]
    schema.server.close()


CASTS = {
    "json": ("json", "json", "a", "b"),
    "json as jsonb": ("json", "jsonb", "a", "b"),
    "a moment as a day": ("timestamptz", "date", "a", "b"),
    "a shorter number": ("numeric(5,2)", "numeric(6,1)", "a", "b"),
    "an array": ("text[]", "varchar(30)[]", "a", "b"),
}
VALUES = {"json": """'{"a":  1}'""", "timestamptz": "'2020-01-01 13:00'", "numeric(5,2)": "1.23", "text[]": "'{x,y}'"}


@pytest.mark.parametrize(("old", "new", "forward", "backward"), CASTS.values(), ids=CASTS)
def test_a_backfill_ends_for_types_without_equality_and_for_those_that_say_less(base: Base, old: str, new: str, forward: str, backward: str) -> None:
    settings = f"""[[sync]]
table = "t"
old = "a"
new = "b"
forward = {{ b = "{forward}" }}
backward = {{ a = "{backward}" }}
on_conflict = "new"
lossy = true
"""
    schema = Schema(base.open())
    schema.server.rows(f"CREATE TABLE t (id int PRIMARY KEY, a {old})")
    schema.server.rows(f"INSERT INTO t VALUES (1, {VALUES[old]}), (2, NULL)")
    schema.expand([parse("0007_other", {"expand.sql": f"ALTER TABLE t ADD COLUMN b {new};", "migration.toml": settings}, "")], "shop", 2, SHIPS)
    assert schema.server.rows("SELECT count(b), count(*) FROM t") == [(1, 2)]
    schema.server.close()


def test_sessions_of_other_roles_are_seen_by_a_role_that_only_owns_its_tables(base: Base) -> None:
    """ "a session is connected that says it is of such a version", whichever role it is."""
    with base.connect() as admin:
        admin.execute("CREATE ROLE owner_alone LOGIN; CREATE ROLE app_alone LOGIN")
        try:
            server = connect(base.server.url(base.name, "owner_alone"))
            with base.connect("app_alone", application_name="bleen:shop:blue"):
                seen = {(each.application, each.user) for each in server.sessions()}
            assert ("bleen:shop:blue", "app_alone") in seen
            server.close()
        finally:
            admin.execute("DROP ROLE owner_alone; DROP ROLE app_alone")
