"""What two-way sync on MySQL and MariaDB cannot keep in step, or not without harm; each reason with a way."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

from bleen.database.grammar.mysql_column import Column
from bleen.database.migration import Pair, speaks_of
from bleen.database.mysql import statements as mysql_statements
from bleen.database.mysql.columns import BITS, TEXTS, characters
from bleen.database.mysql.needing import of_row
from bleen.database.mysql.server import MySQL
from bleen.database.server import Denied, Server
from bleen.database.statements import Unreadable
from bleen.database.sync import mysql, signature
from bleen.database.sync.mysql import PREFIX, Sync
from bleen.database.sync.mysql_expression import longest
from bleen.database.sync.reach import exceeding
from bleen.database.sync.reasons import called, lossy, missing, undecided
from bleen.database.tokens import words
from bleen.errors import Refused

_STEADY = words("""
    ABS ACOS ASCII ASIN ATAN ATAN2 BIN BIN_TO_UUID BIT_COUNT BIT_LENGTH CAST CEIL CEILING CHAR CHARACTER_LENGTH CHAR_LENGTH COALESCE CONCAT CONCAT_WS CONV
    CONVERT COS COT CRC32 DATE DATEDIFF DATE_ADD DATE_SUB DAYOFMONTH DAYOFWEEK DAYOFYEAR DAY DEGREES ELT EXP EXTRACT FIELD FIND_IN_SET FLOOR FROM_BASE64
    FROM_DAYS GREATEST HEX HOUR IF IFNULL INET6_ATON INET6_NTOA INET_ATON INET_NTOA INSERT INSTR ISNULL JSON_ARRAY JSON_COMPACT JSON_CONTAINS JSON_EXTRACT
    JSON_KEYS JSON_LENGTH JSON_OBJECT JSON_QUOTE JSON_REMOVE JSON_REPLACE JSON_SET JSON_TYPE JSON_UNQUOTE JSON_VALID JSON_VALUE LAST_DAY LCASE LEAST LEFT
    LENGTH LN LOCATE LOG LOG10 LOG2 LOWER LPAD LTRIM MAKEDATE MAKETIME MAKE_SET MD5 MICROSECOND MID MINUTE MOD MONTH NULLIF OCT OCTET_LENGTH ORD PERIOD_ADD
    PERIOD_DIFF PI POSITION POW POWER QUARTER QUOTE RADIANS REGEXP_INSTR REGEXP_REPLACE REGEXP_SUBSTR REPEAT REPLACE REVERSE RIGHT ROUND RPAD RTRIM SECOND
    SEC_TO_TIME SHA SHA1 SHA2 SIGN SIN SOUNDEX SPACE SQRT STRCMP STR_TO_DATE SUBSTR SUBSTRING SUBSTRING_INDEX TAN TIME TIMEDIFF TIMESTAMPADD TIMESTAMPDIFF
    TIME_TO_SEC TO_BASE64 TO_DAYS TO_SECONDS TRIM TRUNCATE UCASE UNHEX UPPER UUID_TO_BIN WEEKDAY YEAR
""")
"""Functions of MySQL and MariaDB that depend on nothing but what they are given: neither on ``time_zone`` nor on ``lc_time_names`` (DATE_FORMAT, DAYNAME),
``default_week_format`` (WEEK) or who asks.
"""

_NO_TEXT = 20
"""Characters that a number or a date may have as a text."""
_VARCHAR = 16_384
"""Characters of four bytes that are more than a row of 65,535 bytes has."""


def foreseen(server: Server, pair: Pair, coming: str | None = "") -> list[str]:
    """Implements ``sync.foreseen``. What comes first is asked first: no reason is given that only follows from another."""
    given = cast(MySQL, server)
    try:
        if not server.columns(pair.table):
            return []
        sync = mysql.of(server, "", 0, pair, {})
        return (
            _table(given, sync)
            or [*_columns(given, sync, coming or ""), *_others(given, sync), *_rights(given, sync), *_enums(given, sync, coming), *undecided(pair)]
            or called(sync.forward(), sync.backward(), lambda name: _function(given, name, coming))
        )
    except Refused as error:
        return [str(error)]


def refusals(server: Server, pair: Pair) -> list[str]:
    """Implements ``sync.refusals``, in the same order."""
    given = cast(MySQL, server)
    try:
        sync = mysql.of(server, "", 0, pair, {})
    except Refused as error:
        return [str(error)]
    return foreseen(server, pair) or missing(pair, sync.table, sync.shapes) or _expressions(given, sync) or _values(given, sync)


def risks(server: Server, pair: Pair, expand: str) -> list[str]:
    """Implements ``sync.risks``: triggers that read the old side before ours, which fires last, has made it; and new columns that take fewer characters than
    forward may make, or hold what the old ones do not.
    """
    given = cast(MySQL, server)
    if not server.columns(pair.table):
        return []
    try:
        sync = mysql.of(server, "", 0, pair, {})
    except Refused:  # as ``foreseen`` says
        return []
    found = []
    for trigger in sync.there:
        reads = [name for name in pair.old if of_row(name, "NEW").search(trigger.body)]
        if reads and not trigger.name.startswith(PREFIX):
            what = f"the trigger {trigger.name}, BEFORE {trigger.event}, says NEW.{', NEW.'.join(reads)}, and fires before ours"
            found.append(f"{what}: when the new version writes, it does not see what {', '.join(pair.new)} makes of that; let the application do it")
    coming = {name: column.type for name, column in _coming(given, sync, expand).items()}
    types = {**coming, **{name.lower(): shape.type for name, shape in sync.shapes.items()}}
    ours = {name: types[name.lower()] for name in (*pair.old, *pair.new) if name.lower() in types}
    return [*found, *_narrow(given, sync, types), *(exceeding(pair, ours) if given.strict else _cut(sync, types)), *_undefaulted(given, sync)]


def _undefaulted(server: MySQL, sync: Sync) -> Iterator[str]:
    """What columns beside the pair are given no more by MariaDB without a strict ``sql_mode``, as it makes them NULL for the trigger."""
    if not server.mariadb or server.strict or _triggered(sync):
        return
    given = (*sync.pair.old, *sync.pair.new, *server.key(sync.named(sync.table)))
    if names := [name for name, shape in sync.shapes.items() if shape.demanded and name not in given and "auto_increment" not in shape.definition.lower()]:
        yield (
            f"{', '.join(names)} of {sync.table}, NOT NULL without a default: once the table has a trigger, MariaDB fails an INSERT that says DEFAULT, and"
            " one that leaves a TIMESTAMP out gets the time; let expand give a default first (ALTER TABLE ... ALTER ... SET DEFAULT)"
        )


def _triggered(sync: Sync) -> bool:
    """Whether somebody else's trigger makes of INSERTs already what ours would."""
    return any(each.event == "INSERT" and not each.name.startswith(PREFIX) for each in sync.there)


def _cut(sync: Sync, types: Mapping[str, str]) -> Iterator[str]:
    """What a server without a strict ``sql_mode`` cuts of a pair, for whoever writes; its backfill, too."""
    lacking = []
    for name, text in {**sync.pair.forward, **sync.pair.backward}.items():
        side = sync.pair.old if name in sync.pair.forward else sync.pair.new
        type, given = types.get(name.lower(), ""), [types[of.lower()] for of in side if of.lower() in types and speaks_of(text, of)]
        if type and any(_lacks(type, of) for of in given):
            lacking.append(f"{name} ({type}) cannot hold of {text}")
    if lacking:
        yield (
            f"the server's sql_mode is not strict: what {', or '.join(lacking)}, is cut, or turned into 0, '' or no date, without a word, of each row and"
            " each write; let it hold all, or look for such values first"
        )


def _lacks(type: str, given: str) -> bool:
    """Whether a type may not hold all of another; a text holds what is none, if it is long enough for a number or a date."""
    (kind, *_), (other, *_) = re.findall(r"\w+", type.lower()), re.findall(r"\w+", given.lower())
    most, least = characters(type), characters(given)
    if most:
        return most < (least or _NO_TEXT)
    if kind in BITS and other in BITS:
        return BITS[kind] < BITS[other] or ("unsigned" in type.lower()) != ("unsigned" in given.lower())
    return type.lower() != given.lower()


def _narrow(server: MySQL, sync: Sync, types: Mapping[str, str]) -> Iterator[str]:
    lengths = {name.lower(): length for name in sync.pair.old if (length := characters(types.get(name.lower(), "")))}
    for name, text in sync.pair.forward.items():
        made, takes = longest(text, lengths), characters(types.get(name.lower(), ""))
        if made and 0 < takes < min(made, TEXTS["longtext"]):
            way = f"varchar({made})" if made < _VARCHAR else next((kind for kind, most in TEXTS.items() if made <= most), "longtext")
            then = "a write of the old version fails whose value does not fit" if server.strict else "what does not fit is cut"
            yield f"{name} takes {takes} characters, and what forward makes may have {made}: {then}; let it be {way}"


def _coming(server: MySQL, sync: Sync, expand: str) -> dict[str, Column]:
    """The columns that statements add to the table, by name, in lower case."""
    try:
        altered = [each for each in map(mysql_statements.added, server.split(expand)) if each]
    except Unreadable:  # as the rules say
        return {}
    return {each.name.identifier.lower(): each for of, columns in altered if server.qualified(of) == (sync.schema, sync.table) for each in columns}


def _table(server: MySQL, sync: Sync) -> list[str]:
    kind, engine = server.rows(
        "SELECT table_type, coalesce(engine, '') FROM information_schema.tables WHERE table_schema = %s AND table_name = %s", [sync.schema, sync.table]
    )[0]
    if kind != "BASE TABLE":
        return [f"{sync.table} is {kind.lower()}, which has no triggers of this kind: name the table that holds the rows; expand without sync"]
    if engine not in ("InnoDB", "ROCKSDB"):
        return [f"{sync.table} is kept by {engine}, without transactions: a statement that fails half way leaves rows out of step; ENGINE=InnoDB first"]
    return []


def _columns(server: MySQL, sync: Sync, expand: str) -> list[str]:
    ours = [name for name in (*sync.pair.old, *sync.pair.new) if name in sync.shapes]
    columns = server.columns(sync.named(sync.table))
    coming = {name: column for name, column in _coming(server, sync, expand).items() if name not in map(str.lower, sync.shapes)}
    made = {name: coming[name.lower()] for name in sync.pair.new if name.lower() in coming}
    computed = [name for name in ours if columns[name].generated] + [name for name, each in made.items() if each.generated or each.auto_increment]
    found = [f"{name} is generated, or counts by itself, which a trigger cannot set: pair the columns that it is made from" for name in computed]
    stamped = [name for name in ours if "on update" in sync.shapes[name].definition.lower()] + [name for name, each in made.items() if "ON" in each.written()]
    found += [f"{name} changes by itself (ON UPDATE CURRENT_TIMESTAMP), as if every UPDATE wrote that side: leave it out of the pair" for name in stamped]
    if len({sync.shapes[name].base == "timestamp" for name in ours} | {each.timestamp for each in made.values()}) > 1:
        found.append("a TIMESTAMP is another text in every session's time_zone, which a trigger does not keep: pair it with a TIMESTAMP, or use DATETIME")
    keys = server.rows(
        "SELECT constraint_name, table_name, column_name, coalesce(referenced_column_name, ''), coalesce(referenced_table_name, '')"
        " FROM information_schema.key_column_usage WHERE (table_schema = %s AND table_name = %s"
        " AND (constraint_name = 'PRIMARY' OR referenced_table_name IS NOT NULL)) OR (referenced_table_schema = %s AND referenced_table_name = %s)"
        " ORDER BY constraint_name, column_name",
        [sync.schema, sync.table, sync.schema, sync.table],
    )
    for constraint, holder, column, referenced, to in keys:
        words = "the primary key" if constraint == "PRIMARY" else f"the foreign key {constraint} of {holder}"
        named = [column] * (holder == sync.table) + [referenced] * (to == sync.table)
        for name in dict.fromkeys(each for each in named if each in ours):
            found.append(f"{name} is in {words}: a write that seems to leave it alone would change it; leave it out of the pair")
    parts = server.rows(
        "SELECT DISTINCT concat_ws(', ', partition_expression, subpartition_expression) FROM information_schema.partitions"
        " WHERE table_schema = %s AND table_name = %s AND partition_name IS NOT NULL",
        [sync.schema, sync.table],
    )
    for (expression,) in parts:
        found += [
            f"{name} is in what {sync.table} is partitioned by ({expression}): a trigger must not move a row to another partition; leave it out of the pair"
            for name in ours
            if server.quoted(name).lower() in expression.lower()
        ]
    return found


def _others(server: MySQL, sync: Sync) -> list[str]:
    """Whoever else has a hand in the table's rows, and whether we may have."""
    found = []
    for trigger in sync.there:
        both = _shared(trigger.body, sync.pair) if trigger.name.startswith(PREFIX) and signature(sync.pair).replace("*/", r"*\/") not in trigger.body else []
        if both:
            found.append(f"{', '.join(both)}: kept in step by {trigger.name} already; contract that migration first")
    logs, trusted = server.rows("SELECT @@log_bin, @@log_bin_trust_function_creators")[0]
    if logs and not trusted and not _super(server):
        found.append(
            "the server keeps a binary log, and lets nobody without SUPER make a trigger: SET GLOBAL log_bin_trust_function_creators = 1, which row-based"
            " replication makes harmless"
        )
    return found


def _rights(server: MySQL, sync: Sync) -> list[str]:
    """What our triggers may not do, as they do what the user may that makes them, without its roles: each write of the table would fail, whoever's it is."""
    table, found = sync.named(sync.table), []
    there = [server.quoted(name) for name in (*sync.pair.old, *sync.pair.new) if name in sync.shapes]
    ungiven = [name for name in mysql.sequences(sync.name) if name not in sync.counting] if sync.counts else []
    looks = [text for name in ungiven for text in (f"EXPLAIN SELECT 1 FROM {sync.named(name)}", f"EXPLAIN INSERT INTO {sync.named(name)} VALUES (1)")]
    with _without_roles(server) as roles:
        unwritten = bool(there) and _denied(server, f"EXPLAIN UPDATE {table} SET {', '.join(f'{name} = {name}' for name in there)} LIMIT 1")
        unfired = bool(roles) and not server.rows(_TRIGGER_RIGHT, [sync.schema, sync.schema, sync.table])[0][0]
        uncounted = any(_denied(server, look) for look in looks)
    whose = f"that role itself, as {roles} gives its triggers nothing" if roles else "that role"
    if unwritten or unfired:
        rights = "SELECT, UPDATE, TRIGGER" if unfired else "SELECT, UPDATE"
        found.append(f"triggers do what the role may that makes them, and it may not write {sync.table}: GRANT {rights} ON {table} TO {whose}")
    if uncounted:
        what = "triggers do what the role may that makes them, and it may not count by the sequences that it makes"
        found.append(f"{what}: GRANT SELECT, INSERT ON {server.quoted(sync.schema)}.* TO {whose}")
    return found


_TRIGGER_RIGHT = """SELECT EXISTS (
    SELECT 1 FROM information_schema.user_privileges WHERE privilege_type = 'TRIGGER' AND grantee = me.grantee
    UNION ALL SELECT 1 FROM information_schema.schema_privileges
      WHERE privilege_type = 'TRIGGER' AND grantee = me.grantee AND %s LIKE table_schema
    UNION ALL SELECT 1 FROM information_schema.table_privileges
      WHERE privilege_type = 'TRIGGER' AND grantee = me.grantee AND table_schema = %s AND table_name = %s)
  FROM (SELECT concat(quote(left(whole, char_length(whole) - char_length(host) - 1)), '@', quote(host)) AS grantee
    FROM (SELECT current_user() AS whole, substring_index(current_user(), '@', -1) AS host) AS parts) AS me"""


@contextmanager
def _without_roles(server: MySQL) -> Iterator[str]:
    """The roles that are on in this session; they are off meanwhile."""
    said = server.rows("SELECT current_role()")[0][0]
    roles = "" if said in (None, "NONE") else str(said)
    if roles:
        server.rows("SET ROLE NONE")
    try:
        yield roles
    finally:
        if roles:
            server.rows(f"SET ROLE {server.quoted(roles) if server.mariadb else roles}")


def _denied(server: MySQL, text: str) -> bool:
    """Whether the role may not run a statement, which the server looks at first: what fails otherwise, as it names what is not there yet, it may."""
    try:
        server.rows(text)
    except Denied:
        return True
    except Refused:
        return False
    return False


def _enums(server: MySQL, sync: Sync, coming: str | None) -> list[str]:
    """MariaDB puts the first member into an ENUM that is NOT NULL and that an INSERT leaves out, in strict mode too; but not where a table has a trigger for
    INSERT, with which that fails. MySQL does it all the same.
    """
    if not server.mariadb or _triggered(sync):
        return []
    bare = {name: shape for name, shape in sync.shapes.items() if shape.base == "enum" and shape.demanded and name not in sync.pair.new}
    return [
        f"{name} is an ENUM, NOT NULL, without a default: with any trigger for INSERT on {sync.table}, MariaDB fails an INSERT that leaves it out, and puts"
        f" {shape.members[0]} there no more; say so first: ALTER TABLE {sync.named(sync.table)} ALTER {server.quoted(name)} SET DEFAULT {shape.members[0]}"
        for name, shape in bare.items()
        if not (coming and speaks_of(coming, name))
    ]


def _super(server: MySQL) -> bool:
    """SUPER; on MySQL and MariaDB 10.5 and later SET_USER_ID, BINLOG ADMIN and such are not enough."""
    return any(" SUPER" in grant or "ALL PRIVILEGES ON *.*" in grant for (grant,) in server.rows("SHOW GRANTS"))


def _shared(body: str, pair: Pair) -> list[str]:
    """The columns that a trigger of ours keeps in step, too."""
    begin = body.find("/* ")
    try:
        other = json.loads(body[begin + 3 : body.index(" */", begin)])
        theirs = {*other["old"], *other["new"]}
    except (ValueError, KeyError, TypeError):
        return []  # it only takes leave of columns that go
    return sorted(theirs & {*pair.old, *pair.new})


def _expressions(server: MySQL, sync: Sync) -> list[str]:
    """What can be said of the expressions without a row."""
    found = []
    for what, expressions in (("forward of", sync.forward()), ("backward of", sync.backward())):
        for column, expression in expressions.items():
            over = expression.over(lambda name: f"t.{server.quoted(name)}")
            found += _tried(server, f"SELECT {over} FROM {sync.named(sync.table)} t LIMIT 0", f"{what} {column}")
    return found


def _function(server: MySQL, name: tuple[str, ...], coming: str | None) -> str:
    """What speaks against a function; empty if nothing does, or if it is not the server's own and may be made or changed by what is ``coming``."""
    shown = ".".join(name)
    if len(name) == 1 and name[0].upper() in _STEADY:
        return ""
    if coming is None or speaks_of(coming, name[-1]):
        return ""
    schema, routine = server.qualified(name)
    rows = server.rows(
        "SELECT is_deterministic FROM information_schema.routines WHERE routine_schema = %s AND routine_name = %s AND routine_type = 'FUNCTION'",
        [schema, routine],
    )
    if not rows:
        return f"calls {shown}(), of which bleen does not know that it gives the same for the same row, in every session: use another, or a constant"
    if rows[0][0] != "YES":
        return f"calls {shown}(), which may give another value every time: a row would never be in step; make it DETERMINISTIC if it is"
    return ""


def _values(server: MySQL, sync: Sync) -> list[str]:
    """Whether the expressions hold for the rows that there are. What a column refuses, the backfill finds, which names the row."""
    if sync.pair.lossy:
        return _tried(server, sync.diverged(), "forward or backward fails for a row of the table")
    key = server.key(sync.named(sync.table))
    example = f"min(concat_ws(', ', {', '.join(f'made.{server.quoted(name)}' for name in key)}))" if key else "NULL"
    counted = f"SELECT count(*), {example} {sync.unreadable_rows(tuple(name for name in key if name not in sync.pair.old))}"
    if failed := _tried(server, counted, "forward or backward fails for a row of the table"):
        return failed
    return lossy(sync.pair, ", ".join(key), *server.rows(counted)[0])


def _tried(server: MySQL, query: str, what: str) -> list[str]:
    try:
        server.rows(query)
    except Refused as error:
        return [f"{what}: {str(error).removeprefix('the database says: ')}"]
    return []
