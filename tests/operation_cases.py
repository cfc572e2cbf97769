"""Every operation, as it is asked for on a command line, over one set of tables; what an expand and a contract of it come to."""

from typing import NamedTuple

TABLES = """
CREATE TABLE teams (id bigint PRIMARY KEY);
CREATE TABLE people (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, first_name text NOT NULL, last_name text NOT NULL, address text NOT NULL, age integer, "Team" bigint
);
CREATE INDEX people_age ON people (age);
ALTER TABLE people ADD CONSTRAINT grown CHECK (age >= 0);
CREATE TABLE gone (id integer);
INSERT INTO teams SELECT n FROM generate_series(0, 9) n;
INSERT INTO people (first_name, last_name, address, age, "Team")
SELECT 'F' || n, 'L' || n, 'S' || n || ', C' || n, n, n % 10 FROM generate_series(1, 50) n;
"""

"""Of PostgreSQL."""

MYSQL_TABLES = """
CREATE TABLE teams (id bigint PRIMARY KEY);
CREATE TABLE people (
    id bigint AUTO_INCREMENT PRIMARY KEY, first_name varchar(99) NOT NULL, last_name varchar(99) NOT NULL, address text NOT NULL, age integer, `Team` bigint
);
CREATE INDEX people_age ON people (age);
ALTER TABLE people ADD CONSTRAINT grown CHECK (age >= 0);
CREATE TABLE gone (id integer);
INSERT INTO people (first_name, last_name, address, age) VALUES ('F1', 'L1', 'S1, C1', 1);
"""

SQLITE_TABLES = """
CREATE TABLE teams (id INTEGER PRIMARY KEY);
CREATE TABLE people (
    id INTEGER PRIMARY KEY, first_name TEXT NOT NULL, last_name TEXT NOT NULL, address TEXT NOT NULL, age INTEGER, "Team" INTEGER
);
CREATE INDEX people_age ON people (id);
CREATE TABLE gone (id INTEGER);
INSERT INTO people (first_name, last_name, address, age) VALUES ('F1', 'L1', 'S1, C1', 1);
"""


class Case(NamedTuple):
    """An operation, and what has to be true of PostgreSQL's catalogue or of its rows, as a query, once it was expanded and once it was contracted too."""

    words: list[str]
    expanded: str
    contracted: str = ""
    needs: tuple[str, ...] = ("postgres", "mysql", "sqlite")
    """The dialects that can do it."""


def _has(table: str, column: str, more: str = "") -> str:
    return f"SELECT EXISTS (SELECT FROM information_schema.columns WHERE table_name = '{table}' AND column_name = '{column}'{more})"


def _lacks(table: str, column: str) -> str:
    return _has(table, column).replace("SELECT EXISTS", "SELECT NOT EXISTS")


def _constraint(name: str, more: str = "convalidated") -> str:
    return f"SELECT EXISTS (SELECT FROM pg_constraint WHERE conname = '{name}' AND {more})"


CASES = {
    "create_table": Case(
        ["create_table", "table=notes", "columns=id integer PRIMARY KEY, note varchar(20)"],
        _has("notes", "note"),
    ),
    "drop_table": Case(["drop_table", "table=gone"], "SELECT to_regclass('gone') IS NOT NULL", "SELECT to_regclass('gone') IS NULL"),
    "add_column": Case(
        ["add_column", "table=people", "column=note", "type=varchar(20)", "fill='-'"],
        "SELECT bool_and(note = '-') FROM people",
    ),
    "add_column with a default": Case(
        ["add_column", "table=people", "column=visits", "type=integer", "default=0", "not_null=true"],
        _has("people", "visits", " AND is_nullable = 'NO'"),
    ),
    "add_column with a default for the rows to come, and a fill for those that are there": Case(
        ["add_column", "table=people", "column=score", "type=integer", "default=0", "fill=age * 2", "not_null=true"],
        "SELECT bool_and(score = age * 2) FROM people",
        _has("people", "score", " AND is_nullable = 'NO' AND column_default = '0'"),
        ("postgres", "mysql"),
    ),
    "add_column that is required later": Case(
        ["add_column", "table=people", "column=order", "type=integer", "fill=1", "not_null=true"],
        _has("people", "order", " AND is_nullable = 'YES'"),
        _has("people", "order", " AND is_nullable = 'NO'"),
        ("postgres", "mysql"),
    ),
    "drop_column": Case(["drop_column", "table=people", "column=Team"], _has("people", "Team"), _lacks("people", "Team")),
    "rename_column": Case(
        ["rename_column", "table=people", "column=Team", "to=Group", "type=bigint"],
        'SELECT bool_and("Group" = "Team") FROM people',
        _lacks("people", "Team"),
    ),
    "change_type": Case(
        ["change_type", "table=people", "column=age", "type=bigint", "was=integer", "to=years", "not_null=true"],
        "SELECT bool_and(years = age) FROM people",
        _has("people", "years", " AND data_type = 'bigint' AND is_nullable = 'NO'"),
        ("postgres", "mysql"),
    ),
    "change_type with a default, of a column that is required": Case(
        ["change_type", "table=people", "column=age", "type=bigint", "was=integer", "to=years", "not_null=true", "default=0"],
        "SELECT bool_and(years = age) FROM people",
        _has("people", "years", " AND is_nullable = 'NO' AND column_default = '0'"),
    ),
    "rename_column with a default, of a column that is required": Case(
        ["rename_column", "table=people", "column=address", "to=place", "type=text", "not_null=true", "default=('')"],
        "SELECT bool_and(place = address) FROM people",
        _has("people", "place", " AND is_nullable = 'NO'"),
    ),
    "change_type under a name of its own": Case(
        ["change_type", "table=people", "column=age", "type=text", "was=integer"],
        "SELECT bool_and(age_new = age::text) FROM people",
        _has("people", "age_new", " AND data_type = 'text'"),
    ),
    "split_column": Case(
        [
            "split_column",
            "table=people",
            "column=address",
            "to.street=text",
            "to.city=text",
            "forward.street=split_part(address, ', ', 1)",
            "forward.city=split_part(address, ', ', 2)",
            "backward=concat(street, ', ', city)",
        ],
        "SELECT bool_and(street = 'S' || id AND city = 'C' || id) FROM people",
        _lacks("people", "address"),
    ),
    "merge_columns": Case(
        [
            "merge_columns",
            "table=people",
            "columns=first_name,last_name",
            "to=full_name",
            "type=varchar(255)",
            "forward=concat(first_name, ' ', last_name)",
            "backward.first_name=split_part(full_name, ' ', 1)",
            "backward.last_name=split_part(full_name, ' ', 2)",
        ],
        "SELECT bool_and(full_name = 'F' || id || ' L' || id) FROM people",
        _lacks("people", "last_name"),
    ),
    "add_constraint, check": Case(
        ["add_constraint", "table=people", "name=young", "check=age < 200"],
        _constraint("young"),
        needs=("postgres",),
    ),
    "add_constraint, unique": Case(
        ["add_constraint", "table=people", "unique=first_name,last_name"],
        _constraint("people_first_name_last_name_key", "contype = 'u'"),
    ),
    "add_constraint, not null": Case(
        ["add_constraint", "table=people", "not_null=age", "type=integer"],
        _has("people", "age", " AND is_nullable = 'YES'"),
        _has("people", "age", " AND is_nullable = 'NO'"),
        ("postgres", "mysql"),
    ),
    "drop_constraint": Case(
        ["drop_constraint", "table=people", "name=grown"],
        _constraint("grown"),
        _constraint("grown").replace("SELECT EXISTS", "SELECT NOT EXISTS"),
        ("postgres", "mysql"),
    ),
    "add_foreign_key": Case(
        ["add_foreign_key", "table=people", "columns=Team", "references=teams", "on_delete=CASCADE"],
        _constraint("people_Team_fkey", "convalidated AND confdeltype = 'c'"),
        needs=("postgres", "mysql"),
    ),
    "create_index": Case(
        ["create_index", "table=people", "columns=last_name,first_name"],
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('people_last_name_first_name_idx')",
    ),
    "create_index of some rows": Case(
        ["create_index", "table=people", "columns=age", "name=old_people", "unique=true", "where=age > 40"],
        "SELECT indisunique AND indpred IS NOT NULL FROM pg_index WHERE indexrelid = to_regclass('old_people')",
        needs=("postgres", "sqlite"),
    ),
    "drop_index": Case(
        ["drop_index", "table=people", "name=people_age"], "SELECT to_regclass('people_age') IS NOT NULL", "SELECT to_regclass('people_age') IS NULL"
    ),
}
