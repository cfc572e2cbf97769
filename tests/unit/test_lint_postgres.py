"""The rules of PostgreSQL, case by case: what each finds, what it lets pass, where it points, and that the way out which it names is one."""

import re
from typing import Any

import pytest
from lint_cases import each, phases
from lint_cases_postgres import BAD, WITH_OTHERS
from lint_cases_postgres_safe import GOOD
from postgast import pg_query_pb2 as pb
from postgast import walk

from bleen.database.migration import Phase
from bleen.database.parser import Parsed, Source
from bleen.database.rules import Finding, Script, lint, lint_release
from bleen.database.rules.findings import Known
from bleen.database.rules.postgres import RULES, STATEMENTS, judged
from bleen.database.rules.postgres_look import Look
from bleen.database.rules.postgres_objects import DROPPED
from bleen.database.rules.postgres_tables import COMMANDS, MOMENT
from bleen.database.statements import Place, Statement, Unreadable


def found(sql: str, phase: Phase) -> list[Finding]:
    return lint(sql, "postgres", phase, "a.sql")


@pytest.mark.parametrize("rule", BAD)
def test_what_a_rule_forbids_is_found_by_it_and_by_no_other(rule: str) -> None:
    """ "Per phase and per dialect; located (file:line:col), with why and with the safe way written out" """
    for phase, sql in each(BAD[rule]):
        findings = found(sql, phase)
        assert rule in {finding.rule for finding in findings} <= {rule, *WITH_OTHERS.get(rule, ())}, (phase, sql, findings)
        assert all(finding.message and finding.file == "a.sql" and finding.line >= 1 <= finding.column for finding in findings), (phase, sql)


def test_what_hurts_nobody_passes_without_a_word() -> None:
    assert {(phase, sql): findings for phase, sql in each(GOOD) if (findings := found(sql, phase))} == {}


def test_an_index_of_only_a_partitioned_table_may_be_right() -> None:
    """ "CREATE INDEX", ON ONLY: it builds nothing there, and CONCURRENTLY cannot be said."""
    (finding,) = found("CREATE INDEX m_idx ON ONLY measurements (x)", "expand")
    assert (finding.rule, finding.severity, finding.fix) == ("index-without-concurrently", "warn", "")


def test_every_rule_has_a_case_and_every_finding_a_rule() -> None:
    assert BAD.keys() == RULES.keys()


@pytest.mark.parametrize(
    ("statement", "rules"),
    [
        ("ALTER TABLE public.n ADD b int NOT NULL", []),
        ("SET LOCAL search_path = app; ALTER TABLE public.n ADD b int NOT NULL", ["session-setting", "add-not-null"]),
        ("DROP TABLE public.n", ["drop-in-expand"]),
        ("TRUNCATE public.n", ["truncate"]),
    ],
)
def test_a_new_table_is_free_by_its_schema_too_but_is_taken_away_only_as_it_was_made(statement: str, rules: list[str]) -> None:
    """ "A table created in the same release is free to change." """
    assert [finding.rule for finding in found(f"CREATE TABLE n (id int); {statement}", "expand")] == rules


def test_whether_a_type_is_a_domain_is_asked_once() -> None:
    """Of a type with thirty columns the same warning was thirty warnings."""
    expand = "ALTER TABLE users ADD a mood, ADD b mood, ADD c age; ALTER TABLE orders ADD a mood, ADD b app.mood"
    findings = lint_release([Script(expand, "expand.sql", "expand"), Script("ALTER TABLE orders ADD c age", "contract.sql", "contract")], "postgres")
    assert [(finding.rule, finding.message.split()[1]) for finding in findings] == [("domain-column", each) for each in ("mood", "age", "app.mood")]


WARNS = {
    *("index-if-not-exists", "partition-of", "replaces", "alter-constraint", "long-query", "delete-in-contract"),
    *("default-partition", "drop-not-null"),
}


@pytest.mark.parametrize("rule", BAD)
def test_only_what_may_be_right_is_a_warning(rule: str) -> None:
    severities = {finding.severity for told, sql in BAD[rule] for phase in phases(told) for finding in found(sql, phase) if finding.rule == rule}
    both = {
        *("domain-column", "row-security", "revoke", "inheritance", "holds-the-old-version", "many-rows", "trigger", "drop-cascade"),
        *("foreign-key", "side-effect", "set-default", "index-without-concurrently", "identity"),
    }
    assert severities == ({"warn"} if rule in WARNS else {"error", "warn"} if rule in both else {"error"})


def _before(sql: str, finding: Finding) -> str:
    """The statements that made what the fix goes on with."""
    at = sum(len(line) + 1 for line in sql.split("\n")[: finding.line - 1]) + finding.column - 1
    return sql[: sql.rfind(";", 0, at) + 1]


def fixes(rule: str) -> set[tuple[Phase, str, str]]:
    return {(phase, _before(sql, finding), finding.fix) for phase, sql in each(BAD[rule]) for finding in found(sql, phase) if finding.fix}


@pytest.mark.parametrize("rule", BAD)
def test_the_safe_way_is_sql_that_the_linter_itself_passes(rule: str) -> None:
    for phase, before, fix in fixes(rule):
        parts = re.split(r"^-- (expand|backfill|contract)\.sql$\n?", fix, flags=re.MULTILINE)
        scripts = [Script(parts[0], "", phase)] if parts[0].strip() else []
        scripts += [Script(text, "", name) for name, text in zip(parts[1::2], parts[2::2], strict=True)]  # type: ignore[arg-type]
        assert scripts, (phase, fix)
        findings = lint_release([Script(before, "before", phase), *scripts], "postgres")
        assert [finding for finding in findings if finding.severity == "error" and finding.file != "before"] == [], (phase, fix)


RIGHTS = "-- GRANT on {} each role what it may do with docs; before PostgreSQL 15, which knows no security_invoker, the policies of docs hide nothing in a view"


@pytest.mark.parametrize(
    ("sql", "fix"),
    [
        (
            "ALTER TABLE users ADD CONSTRAINT u UNIQUE (a) WITH (fillfactor=70) USING INDEX TABLESPACE fast",
            "CREATE UNIQUE INDEX CONCURRENTLY u ON users USING btree (a) WITH (fillfactor=70) TABLESPACE fast;\n"
            "ALTER TABLE users ADD CONSTRAINT u UNIQUE USING INDEX u;",
        ),
        ("ALTER TABLE users ADD UNIQUE (a, at WITHOUT OVERLAPS)", ""),
        (
            "CREATE TABLE p PARTITION OF events DEFAULT",
            "CREATE TABLE p (LIKE events INCLUDING COMMENTS INCLUDING COMPRESSION INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED "
            "INCLUDING INDEXES INCLUDING STATISTICS INCLUDING STORAGE);\nALTER TABLE events ATTACH PARTITION p DEFAULT;",
        ),
        ("ALTER VIEW v RENAME COLUMN a TO b", ""),
        ("REFRESH MATERIALIZED VIEW v WITH NO DATA", ""),
        (
            "ALTER TABLE users ADD a int GENERATED ALWAYS AS (b * 2) VIRTUAL CHECK (a > 0)",
            "ALTER TABLE users ADD COLUMN a int GENERATED ALWAYS AS (b * 2) VIRTUAL;\n"
            "ALTER TABLE users ADD CONSTRAINT users_a_check CHECK (a > 0) NOT VALID;\nALTER TABLE users VALIDATE CONSTRAINT users_a_check;",
        ),
        (
            "ALTER TABLE users ADD a int REFERENCES t DEFERRABLE INITIALLY DEFERRED",
            "ALTER TABLE users ADD COLUMN a int;\nALTER TABLE users ADD CONSTRAINT users_a_fkey FOREIGN KEY (a) REFERENCES t "
            "DEFERRABLE INITIALLY DEFERRED NOT VALID;\nALTER TABLE users VALIDATE CONSTRAINT users_a_fkey;",
        ),
        (
            "ALTER TABLE users ADD a int CHECK (a > 0) NOT ENFORCED UNIQUE",
            "ALTER TABLE users ADD COLUMN a int;\nCREATE UNIQUE INDEX CONCURRENTLY users_a_key ON users USING btree (a);\n"
            "ALTER TABLE users ADD CONSTRAINT users_a_key UNIQUE USING INDEX users_a_key;\n"
            "ALTER TABLE users ADD CONSTRAINT users_a_check CHECK (a > 0) NOT ENFORCED",
        ),
        (
            "ALTER TABLE users ADD a int UNIQUE NULLS NOT DISTINCT DEFERRABLE",
            "-- expand.sql\nALTER TABLE users ADD COLUMN a int;\n-- contract.sql\n"
            "CREATE UNIQUE INDEX CONCURRENTLY users_a_key ON users USING btree (a) NULLS NOT DISTINCT;\n"
            "ALTER TABLE users ADD CONSTRAINT users_a_key UNIQUE USING INDEX users_a_key DEFERRABLE;",
        ),
        (
            "ALTER TABLE users ADD a int GENERATED BY DEFAULT AS IDENTITY (START WITH 100 INCREMENT BY 5)",
            "-- expand.sql\nALTER TABLE users ADD COLUMN a int;\nCREATE SEQUENCE users_a_seq START 100 INCREMENT 5 AS integer OWNED BY users.a;\n"
            "-- GRANT USAGE ON SEQUENCE users_a_seq TO each role that writes users: an identity column asks for no right\n",
        ),
        ('ALTER TABLE users ALTER a TYPE varchar(10) COLLATE "C"', '-- expand.sql\nALTER TABLE users ADD COLUMN a_new varchar(10) COLLATE "C";\n'),
        (
            "ALTER TABLE users ADD a int GENERATED ALWAYS AS (b * 2) VIRTUAL NOT NULL",
            "-- expand.sql\nALTER TABLE users ADD COLUMN a int GENERATED ALWAYS AS (b * 2) VIRTUAL;\n-- contract.sql\n",
        ),
        (
            "ALTER TABLE users ALTER id DROP DEFAULT, ALTER id ADD GENERATED BY DEFAULT AS IDENTITY (INCREMENT 5)",
            "-- NUMBER is to be above all that id has come to by then: "
            "ALTER TABLE users ALTER COLUMN id DROP DEFAULT, ALTER id ADD GENERATED BY DEFAULT AS IDENTITY (INCREMENT 5 START NUMBER",
        ),
        (
            "ALTER TABLE users ADD CONSTRAINT c CHECK (a IS NOT NULL) NOT VALID; "
            "ALTER TABLE users VALIDATE CONSTRAINT c, ALTER a SET NOT NULL, DROP CONSTRAINT c",
            "ALTER TABLE users VALIDATE CONSTRAINT c;\nALTER TABLE users ALTER COLUMN a SET NOT NULL;\nALTER TABLE users DROP CONSTRAINT c;",
        ),
        (
            "ALTER TABLE users DROP CONSTRAINT u, ADD CONSTRAINT u UNIQUE (email) INCLUDE (tenant)",
            "CREATE UNIQUE INDEX CONCURRENTLY u_new ON users USING btree (email) INCLUDE (tenant);\n"
            "ALTER TABLE users DROP CONSTRAINT u, ADD CONSTRAINT u UNIQUE USING INDEX u_new;",
        ),
        (
            "ALTER TABLE users DROP CONSTRAINT a, DROP CONSTRAINT b, ADD CONSTRAINT c UNIQUE (x), ADD CONSTRAINT b UNIQUE (y)",
            "CREATE UNIQUE INDEX CONCURRENTLY c ON users USING btree (x);\nALTER TABLE users DROP CONSTRAINT a, ADD CONSTRAINT c UNIQUE USING INDEX c;",
        ),
        ("ALTER TABLE users DROP CONSTRAINT users_pkey, ADD PRIMARY KEY (a)", "CREATE UNIQUE INDEX CONCURRENTLY users_pkey_new ON users USING btree (a);\n"),
        ("ALTER TABLE users ADD a int; ALTER TABLE users ALTER a TYPE bigint", ""),
        ("ALTER TABLE docs RENAME TO papers", f"{RIGHTS.format('papers')}\nCREATE VIEW papers WITH (security_invoker=true) AS SELECT * FROM docs;"),
        ("ALTER TABLE docs SET SCHEMA app", f"{RIGHTS.format('app.docs')}\nCREATE VIEW app.docs WITH (security_invoker=true) AS SELECT * FROM docs;"),
    ],
)
def test_the_safe_way_leaves_out_nothing_of_the_statement(sql: str, fix: str) -> None:
    """ "the safe way written out for *this* statement": or none, where it cannot be written."""
    written = found(sql, "contract")[0].fix
    assert written.startswith(fix)
    assert bool(written) == bool(fix)


@pytest.mark.parametrize(
    ("phase", "changes", "fixes"),
    [
        (
            "expand",
            "ADD COLUMN x int DEFAULT 1 NOT NULL, ADD COLUMN y serial, DROP COLUMN w, SET (fillfactor = 70)",
            [
                "-- expand.sql\nALTER TABLE users ADD COLUMN x int DEFAULT 1 NOT NULL, SET (fillfactor=70);\nALTER TABLE users ADD COLUMN y int;\n",
                "-- contract.sql\nALTER TABLE users DROP w;",
            ],
        ),
        ("expand", "ADD COLUMN x int, DROP COLUMN w", ["-- expand.sql\nALTER TABLE users ADD COLUMN x int;\n-- contract.sql\nALTER TABLE users DROP w;"]),
        ("expand", "ADD COLUMN x int, ADD UNIQUE (x)", ["ALTER TABLE users ADD COLUMN x int;\nCREATE UNIQUE INDEX CONCURRENTLY users_x_key"]),
        (
            "expand",
            "DROP COLUMN w, ADD COLUMN w int",
            ["-- contract.sql\nALTER TABLE users DROP w;\n-- in a release after that, as the name is taken until then: ALTER TABLE users ADD COLUMN w int"],
        ),
        ("contract", "DROP COLUMN w, ALTER a TYPE text", ["-- expand.sql\nALTER TABLE users ADD COLUMN a_new text;\n"]),
        (
            "contract",
            "ADD CHECK (a > 0), ADD COLUMN x int, ADD FOREIGN KEY (z) REFERENCES y",
            [
                "ALTER TABLE users ADD COLUMN x int;\nALTER TABLE users ADD CONSTRAINT users_a_check CHECK (a > 0) NOT VALID;\n",
                "ALTER TABLE users ADD CONSTRAINT users_z_fkey FOREIGN KEY (z) REFERENCES y NOT VALID;\n",
            ],
        ),
        (
            "contract",
            "ADD CONSTRAINT c CHECK (a > 0) NOT VALID, VALIDATE CONSTRAINT c, VALIDATE CONSTRAINT d, ADD COLUMN x int",
            [
                "ALTER TABLE users ADD COLUMN x int;\nALTER TABLE users ADD CONSTRAINT c CHECK (a > 0) NOT VALID;\nALTER TABLE users VALIDATE CONSTRAINT c;",
                "ALTER TABLE users VALIDATE CONSTRAINT d;",
            ],
        ),
    ],
)
def test_the_first_safe_way_says_the_harmless_parts_of_the_statement_too(phase: Phase, changes: str, fixes: list[str]) -> None:
    """A safe way says all that the statement says"""
    written = [finding.fix for finding in found(f"ALTER TABLE users {changes}", phase) if finding.fix]
    assert [fix[: len(start)] for fix, start in zip(written, fixes, strict=True)] == fixes
    assert "\n".join(written).count("DROP w" if "DROP COLUMN w" in changes else "ADD COLUMN x int") == 1


@pytest.mark.parametrize(
    ("update", "safe"),
    [
        ("UPDATE users u SET a = o.a FROM orders o WHERE o.id = u.id AND o.n = (SELECT count(*) FROM (SELECT * FROM bills) b)", True),
        ("UPDATE users u SET a = o.a FROM orders o WHERE o.id = u.id AND u.n = (SELECT max(n) FROM users WHERE n < u.n)", False),
        ("UPDATE users u SET a = o.a + (SELECT max(n) FROM bills u WHERE u.id = o.id) FROM orders o WHERE o.id = u.id", False),
        ("UPDATE users u SET a = o.a FROM (SELECT * FROM orders) users, orders o WHERE users.id = o.id AND o.id = u.id", False),
        ("UPDATE users u SET a = row_to_json(u) FROM orders o WHERE o.id = u.id", False),
        ("UPDATE users SET a = o.a FROM orders o, users v WHERE o.id = users.id AND v.id = o.id", False),
    ],
)
def test_a_safe_way_is_only_written_where_each_name_goes_on_to_mean_the_same(update: str, safe: bool) -> None:
    """An UPDATE ... FROM whose target loses its alias wrote other rows where a subquery reads the same table."""
    assert [bool(each.fix) for each in found(update, "expand") if each.rule == "update-outside-backfill"] == [safe]


def test_what_has_no_name_gets_one_that_nothing_beside_it_gets() -> None:
    checks = "ALTER TABLE users ADD c int CHECK (c > 0), ADD CHECK (a > 0), ADD CHECK (b > 0), ADD CHECK (a < 9), ADD CHECK (a > b), ADD CHECK (c < 9)"
    indexes = "CREATE INDEX ON users (lower(a)); CREATE INDEX ON users (lower(b)); ALTER TABLE users ADD UNIQUE (a), ADD UNIQUE (a), ADD d int UNIQUE"
    named = re.findall(r"(?:CONSTRAINT|CONCURRENTLY) (\w+) (?:CHECK|ON)", "\n".join(each.fix for each in found(f"{checks}; {indexes}", "contract")))
    assert named == [
        *(f"users_{each}" for each in ("c_check", "a_check", "b_check", "a_check1", "a_b_check", "c_check1")),
        *(f"users_{each}" for each in ("idx", "idx1", "a_key", "a_key1", "d_key")),
    ]


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("a TYPE json", "a::pg_catalog.json"),
        ("a TYPE bigint USING a::bigint", "a::bigint"),
        ("born TYPE date USING born_at", "born_at::date"),
        ("price TYPE numeric(10, 2) USING price / 3.0", "(price / 3.0)::numeric(10, 2)"),
        ("price TYPE numeric(10, 2) USING price::numeric", "price::numeric::numeric(10, 2)"),
        ("name TYPE varchar(3)", "name"),
        ("name TYPE varchar(3) USING upper(name)", "upper(name)"),
        ("name TYPE varchar(3) USING name::varchar(3)", "name::varchar(3)"),
        ("code TYPE char(3)", "code"),
        ("flags TYPE bit(3)", "flags"),
        ("flags TYPE bit varying(3)", "flags"),
        ("names TYPE varchar(3)[]", "names"),
        ("name TYPE app.short", "name"),
    ],
)
def test_a_column_of_another_type_is_filled_with_values_of_that_type_and_compared_with_none(change: str, value: str) -> None:
    """A cast to a length cuts off what ALTER TYPE refuses: none that nobody has written."""
    fix = found(f"ALTER TABLE users ALTER {change}", "contract")[0].fix
    (fill,) = (line for line in fix.splitlines() if line.startswith("UPDATE"))
    assert fill.partition(" = ")[2] == f"{value};"
    assert f'= "{value}"' in fix


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("ALTER FUNCTION app.f(int) SET SCHEMA b", " app.f(int4) "),
        ("ALTER FUNCTION f SET SCHEMA b", " find f in "),
        ("ALTER OPERATOR app.+ (int, int) SET SCHEMA b", " app.+(int4, int4) "),
        ("ALTER LARGE OBJECT 12345 OWNER TO b", " large object 12345 "),
        ("ALTER OPERATOR CLASS o USING btree OWNER TO b", " operator class btree.o "),
    ],
)
def test_a_thing_is_told_as_it_is_written(sql: str, told: str) -> None:
    assert told in found(sql, "expand")[0].message


def _look(phase: Phase = "expand") -> Look:
    return Look("a.sql", phase, Known(), "", Parsed(Statement("", Place(1, 1), 0), pb.Node(), ()))


KINDS = [field for field in pb.Node.DESCRIPTOR.fields if field.message_type is not None and field.message_type.name.endswith("Stmt")]


@pytest.mark.parametrize("field", [field.name for field in KINDS if field.message_type.name not in STATEMENTS])
def test_a_statement_that_no_rule_knows_is_an_error(field: str) -> None:
    """ "What cannot be parsed or understood is an error that says so, never a pass." """
    node: Any = pb.Node()
    getattr(node, field).SetInParent()
    assert [finding.rule for finding in judged(_look(), getattr(node, field))] == ["not-understood"]


def test_every_statement_of_the_list_is_one_of_the_parsers() -> None:
    assert STATEMENTS.keys() <= {field.message_type.name for field in KINDS}


@pytest.mark.parametrize("subtype", sorted({value.name for value in pb.DESCRIPTOR.enum_types_by_name["AlterTableType"].values} - COMMANDS.keys() - MOMENT))
def test_a_part_of_alter_table_that_no_rule_knows_is_an_error(subtype: str) -> None:
    command = pb.AlterTableCmd(subtype=pb.AlterTableType.Value(subtype), name="a")
    statement = pb.AlterTableStmt(relation=pb.RangeVar(relname="users"), cmds=[pb.Node(alter_table_cmd=command)], objtype=pb.OBJECT_TABLE)
    assert [finding.rule for finding in judged(_look(), statement)] == ["not-understood"]


@pytest.mark.parametrize("what", sorted({value.name.removeprefix("OBJECT_") for value in pb.DESCRIPTOR.enum_types_by_name["ObjectType"].values} - set(DROPPED)))
def test_dropping_what_no_rule_knows_is_an_error(what: str) -> None:
    drop = pb.DropStmt(remove_type=pb.ObjectType.Value(f"OBJECT_{what}"), objects=[pb.Node(string=pb.String(sval="a"))], behavior=pb.DROP_RESTRICT)
    assert [[finding.rule for finding in judged(_look(phase), drop)] for phase in phases("both")] == [["not-understood"], ["not-understood"]]


def test_every_statement_and_every_part_that_a_rule_knows_is_tried_by_a_case() -> None:
    """So that the lists of what is known hold nothing that nobody has looked at."""
    cases = [sql for group in (*BAD.values(), GOOD) for _, sql in group]
    nodes = [node for sql in cases for each in _parsed(sql) for _, node in walk(each.node)]
    assert STATEMENTS.keys() - {type(node).DESCRIPTOR.name for node in nodes} == set()
    parts = {pb.AlterTableType.Name(node.subtype) for node in nodes if type(node).DESCRIPTOR.name == "AlterTableCmd"}
    assert (COMMANDS.keys() | MOMENT) - parts == set()
    dropped = {pb.ObjectType.Name(node.remove_type).removeprefix("OBJECT_") for node in nodes if type(node).DESCRIPTOR.name == "DropStmt"}
    assert set(DROPPED) - dropped == set()


def _parsed(sql: str) -> list[Parsed]:
    try:
        return Source(sql).readable()[0]
    except Unreadable:
        return []


@pytest.mark.parametrize(
    ("sql", "places"),
    [
        ("DROP TABLE a", [(1, 1)]),
        ("\n\n  DROP TABLE a", [(3, 3)]),
        ("-- é\n/* ü; */ DROP TABLE é; DROP TABLE ü;", [(2, 10), (2, 24)]),
        ("ALTER TABLE t\n  ADD a int,\n  ADD COLUMN b text DEFAULT f(1, 2),\n  DROP COLUMN c", [(3, 3), (4, 3)]),
        ("SELECT 1;\n  ALTER TABEL x;\nDROP TABLE a", [(2, 9), (3, 1)]),
        ("SELECT 'é\n", [(1, 8)]),
        ("SELECT 'éé', 'é\n", [(1, 14)]),
        ("SELECT 'éééé😀', \n\n  1 FROM WHERE", [(3, 10)]),
        ("SELECT 'é'; SELECT 'éé' FROM WHERE; DROP TABLE a", [(1, 30), (1, 37)]),
        ("SELECT 1;\n\\d users", [(2, 1)]),
        ("UPDATE t SET a = 1\n;\nUPDATE t SET a = 2", [(1, 1), (3, 1)]),
    ],
)
def test_a_finding_stands_where_what_it_finds_begins(sql: str, places: list[tuple[int, int]]) -> None:
    assert [(finding.line, finding.column) for finding in found(sql, "expand")] == places


@pytest.mark.parametrize("part", ["1 + ", "abs(1, 2) || ", "1 UNION SELECT 1, "])
def test_what_is_nested_too_deeply_is_told_and_ends_nothing(part: str) -> None:
    """ "What cannot be parsed or understood is an error that says so, never a pass." """
    (told,) = found(f"DROP TABLE IF EXISTS a;\nSELECT {part * 30_000}1", "contract")
    assert (told.line, told.rule) == (2, "not-understood")
    assert "nested too deeply" in told.message


def test_comments_that_are_nested_too_deeply_are_told_at_once() -> None:
    (told,) = found(f"SELECT 1;\n{'/*' * 37_000}{'*/' * 37_000}", "expand")
    assert (told.line, told.rule) == (2, "not-understood")
    assert "comments are nested too deeply" in told.message
    assert found(f"/*{'=' * 5000}*/ SELECT 1; {'/*' * 500}{'*/' * 500}", "expand") == []


def test_what_is_only_long_is_read() -> None:
    for begin, part, end in [
        ("", "1, abs(1 + 1), ", "1"),
        ("", "a BETWEEN 1 AND 2 OR b AND ", "1"),
        ("", "1; SELECT ", "1"),
        ("CASE", " WHEN a THEN b", " END"),
    ]:
        assert found(f"SELECT {begin}{part * 800}{end}", "expand") == []


ATTACHED = "CREATE TABLE new (id int, kind text) PARTITION BY RANGE (id); ALTER TABLE new ATTACH PARTITION users FOR VALUES FROM (1) TO (9)"


def rules_of(*sql: str) -> list[str]:
    return [finding.rule for finding in lint_release([Script(text, f"{number}.sql", "expand") for number, text in enumerate(sql)], "postgres")]


def test_what_an_earlier_file_of_the_release_made_is_free_to_change() -> None:
    """ "A table created in the same release is free to change." """
    assert rules_of("CREATE TABLE people (a int)", "CREATE INDEX i ON people (a); DROP TABLE people") == []
    assert rules_of("CREATE INDEX i ON people (a)", "CREATE TABLE people (a int)") == ["index-without-concurrently"]


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("CREATE TABLE IF NOT EXISTS t (a int); DROP TABLE t", "drop-in-expand"),
        ("CREATE TABLE app.t (a int); DROP TABLE t", "drop-in-expand"),
        ("CREATE TABLE t (a int); DROP TABLE public.t", "drop-in-expand"),
        ('CREATE TABLE "T" (a int); DROP TABLE t', "drop-in-expand"),
        ("CREATE TABLE t (a int); DROP TABLE t; DROP TABLE t", "drop-in-expand"),
        ("CREATE TABLE t (a int); ALTER TABLE t RENAME TO u; TRUNCATE t", "truncate"),
        ("CREATE TABLE t (a int); DROP TABLE t, users", "drop-in-expand"),
        ("CREATE TABLE t (a int); TRUNCATE t, users", "truncate"),
        ("CREATE TABLE t (a int); TRUNCATE t CASCADE", "truncate"),
        ("CREATE TABLE t AS SELECT 1 AS a; LOCK t, users", "lock-table"),
        ("CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS ''; DROP FUNCTION f(text)", "drop-in-expand"),
        ("CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS ''; DROP FUNCTION app.f", "drop-in-expand"),
        ("CREATE OR REPLACE VIEW v AS SELECT 1; DROP VIEW v", "drop-in-expand"),
        ("ALTER TABLE users ADD COLUMN IF NOT EXISTS a int; ALTER TABLE users DROP a", "drop-in-expand"),
        ("ALTER TABLE users ADD COLUMN a int; ALTER TABLE users ALTER a TYPE bigint", "change-type"),
        ("CREATE TABLE t (a int); INSERT INTO t SELECT a FROM users", "copies-rows"),
        ("CREATE UNLOGGED TABLE t (a int); UPDATE t SET a = 1; UPDATE users SET a = 1", "whole-table-update"),
        ("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON users (a); DROP INDEX i", "drop-in-expand"),
        ("CREATE TEMP TABLE users (a int); DROP TABLE users", "drop-in-expand"),
        ("CREATE TEMP TABLE users AS SELECT 1 AS a; TRUNCATE users", "truncate"),
        ("CREATE TEMP VIEW v AS SELECT 1 AS a; DROP VIEW v", "drop-in-expand"),
        ("CREATE TEMP SEQUENCE s; DROP SEQUENCE s", "drop-in-expand"),
        ("CREATE TABLE p PARTITION OF events DEFAULT; TRUNCATE p", "truncate"),
        ("CREATE TABLE admins (a int) INHERITS (users); TRUNCATE admins", "truncate"),
        ("CREATE TABLE p (a int); ALTER TABLE events ATTACH PARTITION p DEFAULT; TRUNCATE p", "truncate"),
        (f"{ATTACHED}; CREATE INDEX i ON new (id)", "index-without-concurrently"),
        (f"{ATTACHED}; ALTER TABLE new ALTER kind TYPE varchar(20)", "change-type"),
        (f"{ATTACHED}; ALTER TABLE new RENAME COLUMN kind TO sort", "rename"),
        (f"{ATTACHED}; CREATE TRIGGER t BEFORE INSERT ON new EXECUTE FUNCTION f()", "trigger"),
        (f"{ATTACHED}; ALTER TABLE new RENAME TO newer; DROP TABLE newer", "attach-partition"),
        (f"CREATE TABLE top (id int) PARTITION BY RANGE (id); {ATTACHED.replace('(id int, kind text)', 'PARTITION OF top DEFAULT')}; LOCK top", "lock-table"),
        ("CREATE TABLE new (id int); ALTER TABLE users INHERIT new; ALTER TABLE new ALTER id TYPE bigint", "change-type"),
        ("CREATE TABLE audit (a int); CREATE TRIGGER t AFTER INSERT ON users EXECUTE FUNCTION f(); TRUNCATE audit", "truncate"),
        ("CREATE TABLE audit (a int); CREATE RULE r AS ON INSERT TO users DO ALSO INSERT INTO audit VALUES (1); TRUNCATE audit", "truncate"),
        ("CREATE TRIGGER a BEFORE INSERT ON users EXECUTE FUNCTION f(); DROP TRIGGER a ON orders", "drop-in-expand"),
    ],
)
def test_what_is_not_surely_new_is_not_free(sql: str, rule: str) -> None:
    assert rules_of(sql)[-1] == rule


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE new RENAME TO newer",
        "CREATE TABLE more PARTITION OF new DEFAULT; CREATE INDEX i ON more (id)",
        "CREATE TABLE more (LIKE new); ALTER TABLE new ATTACH PARTITION more DEFAULT; CREATE INDEX i ON more (id); DROP TABLE more",
        "CREATE INDEX i ON ONLY new (id)",
        "ALTER TABLE new DETACH PARTITION users; CREATE INDEX i ON new (id); DROP TABLE new",
    ],
)
def test_a_new_table_with_a_partition_in_use_is_free_where_that_is_not_reached(sql: str) -> None:
    assert rules_of(f"{ATTACHED}; {sql}") == ["attach-partition"]


def test_what_expand_made_is_in_use_when_contract_runs() -> None:
    scripts = [
        Script("DROP INDEX i; CREATE INDEX j ON t (a)", "contract.sql", "contract"),
        Script("CREATE TABLE t (a int); CREATE INDEX i ON t (a)", "expand.sql", "expand"),
    ]
    assert [finding.rule for finding in lint_release(scripts, "postgres")] == ["drop-index-without-concurrently", "index-without-concurrently"]


def test_a_check_that_expand_validated_serves_contract() -> None:
    expand = "ALTER TABLE users ADD CONSTRAINT c CHECK (email IS NOT NULL) NOT VALID; ALTER TABLE users VALIDATE CONSTRAINT c"
    contract = Script("ALTER TABLE users ALTER email SET NOT NULL", "", "contract")
    assert [finding.rule for finding in lint_release([Script(expand, "", "expand"), contract], "postgres")] == ["holds-the-old-version"]
    assert [finding.rule for finding in lint_release([contract], "postgres")] == ["set-not-null"]


def test_what_holds_the_old_version_says_for_how_long_and_waits_for_contract() -> None:
    """ "Abort and rollback never run `revert.sql`": what expand refuses, the old version is refused after an abort too."""
    (told,) = found("ALTER TABLE users ADD COLUMN a int;\nALTER TABLE users ADD CONSTRAINT c CHECK (a > b AND c > 0) NOT VALID", "expand")
    assert (told.line, told.severity) == (2, "warn")
    assert "the old version is held to it too, as it writes b, c: " in told.message
    assert "neither abort nor rollback takes it away" in told.message
    assert told.fix == "-- contract.sql\nALTER TABLE users ADD CONSTRAINT c CHECK (a > b AND c > 0) NOT VALID;"


@pytest.mark.parametrize(
    ("check", "severity"),
    [
        ("length(trim(a)) > 0", "error"),
        ("num_nonnulls(a, b) = 2", "error"),
        ("num_nonnulls(VARIADIC ARRAY[a, b]) = 2", "warn"),
        ("fine(a)", "warn"),
        ("a ~ '[a-z]'", "warn"),
    ],
)
def test_what_is_only_over_new_columns_is_told_of_their_defaults(check: str, severity: str) -> None:
    (told,) = found(f"ALTER TABLE users ADD a text DEFAULT '', ADD b int; ALTER TABLE users ADD CONSTRAINT c CHECK ({check}) NOT VALID", "expand")
    assert told.severity == severity
    assert "default" in told.message
    assert "as it writes" not in told.message


def test_a_rollback_in_the_file_makes_nothing_certain() -> None:
    assert rules_of("BEGIN; CREATE TABLE users (a int); ROLLBACK; DROP TABLE users")[-1] == "drop-in-expand"


def test_the_articles_own_example_is_found_where_it_is_wrong() -> None:
    """ "never rename; never drop in expand; never change a type directly" """
    article = "ALTER TABLE users ADD COLUMN full_name VARCHAR(255);\nUPDATE users SET full_name = first_name || ' ' || last_name;\n"
    drops = "ALTER TABLE users DROP COLUMN first_name;\nALTER TABLE users DROP COLUMN last_name;\n"
    assert [(finding.line, finding.rule) for finding in found(article, "expand")] == [(2, "whole-table-update")]
    assert [(finding.line, finding.rule) for finding in found(drops, "expand")] == [(1, "drop-in-expand"), (2, "drop-in-expand")]
    assert found(drops, "contract") == []
