"""What a statement takes away, by name, however it is written."""

import pytest

from bleen.database.statements import Dialect
from bleen.database.things import apart, taken, taken_among

TAKEN: list[tuple[Dialect, str, set[tuple[str, ...]] | None]] = [
    ("postgres", 'DROP TABLE app."Settings", notes CASCADE', {("TABLE", "settings"), ("TABLE", "notes")}),
    ("postgres", "drop index concurrently if exists app.by_name", {("INDEX", "by_name")}),
    ("postgres", "DROP MATERIALIZED VIEW v", {("VIEW", "v")}),
    ("postgres", "DROP FUNCTION IF EXISTS half(int, text[]), third", {("FUNCTION", "half"), ("FUNCTION", "third")}),
    ("postgres", "DROP TRIGGER t ON app.users", {("TRIGGER", "users", "t")}),
    ("postgres", "ALTER TABLE ONLY users DROP a, DROP COLUMN IF EXISTS key CASCADE", {("COLUMN", "users", "a"), ("COLUMN", "users", "key")}),
    ("postgres", "ALTER TABLE users DROP CONSTRAINT c", {("CONSTRAINT", "users", "c")}),
    ("postgres", "ALTER TABLE users DROP COLUMN a, ADD COLUMN b int", None),
    ("postgres", "ALTER TABLE users ALTER COLUMN a DROP NOT NULL", None),
    ("postgres", "DO $$ BEGIN DROP TABLE users; END $$", None),
    ("mysql", "ALTER TABLE `a b` DROP COLUMN `c`, DROP INDEX i, ALGORITHM=INPLACE, LOCK=NONE", {("COLUMN", "a b", "c"), ("INDEX", "a b", "i")}),
    ("mysql", "ALTER IGNORE TABLE t DROP FOREIGN KEY f", {("CONSTRAINT", "t", "f")}),
    ("mysql", "ALTER TABLE t DROP PRIMARY KEY", None),
    ("mysql", "DROP INDEX i ON t ALGORITHM=INPLACE", {("INDEX", "t", "i")}),
    ("sqlite", "DROP TABLE IF EXISTS [old notes]", {("TABLE", "old notes")}),
    ("sqlite", "ALTER TABLE users DROP key", {("COLUMN", "users", "key")}),
]


@pytest.mark.parametrize(("dialect", "text", "things"), TAKEN, ids=[text for _, text, _ in TAKEN])
def test_what_a_statement_takes_away_is_told_by_its_names(dialect: Dialect, text: str, things: set[tuple[str, ...]] | None) -> None:
    found = taken(text, dialect)
    assert (None if found is None else {(each.kind, *each.names) for each in found}) == things


@pytest.mark.parametrize(
    ("dialect", "text", "commands"),
    [
        ("postgres", 'ALTER TABLE ONLY "a b" DROP COLUMN "c, d" CASCADE, DROP e', ['DROP COLUMN "c, d" CASCADE', "DROP e"]),
        (
            "mysql",
            "ALTER TABLE t DROP COLUMN `a`, DROP INDEX i, ALGORITHM=INPLACE, LOCK = NONE",
            ["DROP COLUMN `a`", "DROP INDEX i", "ALGORITHM=INPLACE", "LOCK = NONE"],
        ),
        ("postgres", "ALTER TABLE t DROP COLUMN a, ADD b int", []),
        ("sqlite", "DROP TABLE a", []),
    ],
)
def test_the_commands_of_an_alter_that_only_drops_are_told_apart(dialect: Dialect, text: str, commands: list[str]) -> None:
    head, found = apart(text, dialect)
    assert (found, head + ", ".join(found)) == (commands, text)


@pytest.mark.parametrize(
    ("dialect", "text", "things"),
    [
        ("postgres", "ALTER TABLE t DROP COLUMN IF EXISTS z, ALTER COLUMN y DROP DEFAULT", {("COLUMN", "t", "z")}),
        ("postgres", "ALTER TABLE t ADD CHECK (y IN (1, 2)), DROP CONSTRAINT c", {("CONSTRAINT", "t", "c")}),
        ("mysql", "ALTER TABLE t DROP PRIMARY KEY, MODIFY `a` decimal(9, 2) DEFAULT '1', DROP INDEX i", {("INDEX", "t", "i")}),
        ("sqlite", "ALTER TABLE t RENAME COLUMN a TO b", set()),
    ],
)
def test_what_a_statement_takes_away_among_other_things_is_told_too(dialect: Dialect, text: str, things: set[tuple[str, ...]]) -> None:
    assert {(each.kind, *each.names) for each in taken_among(text, dialect)} == things
