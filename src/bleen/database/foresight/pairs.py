"""What stands against the pairs of a migration, be it in the way of those of another: columns that go, take another name, or have no default."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from bleen.database import reverting, sync
from bleen.database.command import Half
from bleen.database.foresight.prospect import Prospect
from bleen.database.migration import Pair, speaks_of
from bleen.database.pairs import shared
from bleen.database.parts import groups, words
from bleen.database.statements import Statement, bare
from bleen.database.things import called
from bleen.errors import Refused

_TEXT = re.compile(r"'(?:[^'\n]|'')*'")
"""What a function, format() or EXECUTE may make a name of, as it stands there, or fold."""
_RENAMES = re.compile(r"\b(RENAME|CHANGE)\b", re.IGNORECASE)
_UNREAD = re.compile(r"\b(DO|CALL|EXECUTE|search_path)\b", re.IGNORECASE)
"""What may make a table by a name that it does not say, or have one found."""
_MAKES = re.compile(r"\bCREATE\s+(?!(UNIQUE\s+)?INDEX\b)|\b(RENAME|SCHEMA|INTO)\b", re.IGNORECASE)
"""What may make a table by the name that it says."""


def unnamed(it: Prospect) -> Iterator[str]:
    """Pairs whose table could be none by its name: nothing else can be asked of them."""
    for pair in it.migration.pairs:
        try:
            columns = it.server.columns(pair.table)
        except Refused as error:
            yield f"{words(pair)} cannot be kept in step: {error}"
            continue
        if columns and not _read(it, pair.table) and _read(it, quoted := it.server.quoted(pair.table)):
            yield f"{words(pair)} cannot be kept in step: {pair.table} is a word of SQL, and no name of a table without quotes: table = '{quoted}'"


def unkept(it: Prospect) -> Iterator[str]:
    """Pairs that no trigger could keep in step."""
    known = [other for other in it.beside if other not in it.before]  # what comes together is compared before
    for pair in it.migration.pairs:
        for why in sync.foreseen(it.server, pair, it.coming) or _absent(it, pair) or shared(it.server, pair, known):
            yield f"{words(pair)} cannot be kept in step: {why}"


def ungrouped(it: Prospect) -> Iterator[str]:
    """What a contract or a revert cannot do together with the triggers of the pairs."""
    for part in ("contract", "revert"):
        try:
            list(groups(it.server, it.statements(part), it.migration.pairs))
        except Refused as error:
            yield f"{part}.sql: {error}"


def failing(it: Prospect) -> Iterator[str]:
    """What may fail somebody's write while a pair is kept in step."""
    for pair in it.migration.pairs:
        for each in sync.risks(it.server, pair, it.said("expand")):
            yield f"{words(pair)}: {each}"


def requiring(it: Prospect) -> Iterator[str]:
    """New columns that are NOT NULL, already while the old version runs or by the contract, and of which forward makes NULL where its columns are."""
    for pair, name, free in _required(it):
        if _null(it, pair, pair.forward[name], free):
            may = f"{words(pair)}: {name} is NOT NULL from expand on, and what forward makes of {', '.join(free)} may be NULL"
            yield f"{may}: a write of the old version fails then; {_without_null(name)}"
    for pair, name, free in _required(it, "contract"):
        if _null(it, pair, pair.forward[name], free):
            count = _counted(it, f"SELECT count(*) FROM {pair.table} WHERE (\n{pair.forward[name]}\n) IS NULL")
            may = f"{words(pair)}: contract.sql makes {name} NOT NULL, and what forward makes of {', '.join(free)} may be NULL (by now of {count} rows)"
            yield f"{may}: it is refused then, after the window; give these a value before, or let forward say coalesce(..., '') and backward nullif(..., '')"


def emptied(it: Prospect) -> Iterator[str]:
    """Rows whose old columns are NULL, of which forward makes NULL for a new column that is NOT NULL from expand on, or backward, undeclared, something else.
    Once it is begun, its expand tells: the old version may have written such rows since, which does no harm.
    """
    if it.ledger.entry(it.migration.name):
        return
    for pair, name, free in _required(it):
        rows = f"have NULL in {' or '.join(free)}, and {name} is NOT NULL from expand on"
        if count := _counted(it, f"SELECT count(*) FROM {pair.table} WHERE (\n{pair.forward[name]}\n) IS NULL"):
            yield f"{words(pair)}: {count} rows {rows}, but forward makes NULL of them: {_without_null(name)}, or give these rows a value first"
        elif not pair.lossy and (count := _counted(it, _unreturned(it, pair, free))):
            way = "let backward say nullif(..., '') if it may, give these rows a value first, or declare it with lossy = true"
            yield f"{words(pair)}: {count} rows {rows}, but backward makes another value of what they become: {way}"


def lacking(it: Prospect) -> Iterator[str]:
    """What the contract of another migration drops, the table to rebuild it included, and a pair of this one is over, or names; a line each."""
    for other in it.beside:
        for statement in it.statements("contract", other):
            for pair in it.migration.pairs:
                if it.server.drops(statement, pair):
                    way = f"say it in a release after the contract of {other.name}"
                    yield f"{words(pair)} is of what contract.sql of {other.name} takes away ({statement.brief}): {way}"
                elif _needs(it, pair, statement):
                    way = f"let it do without, or drop that in a release after the contract of {it.migration.name}"
                    yield f"{words(pair)} names what contract.sql of {other.name} takes away ({statement.brief}): {way}"


def pulled(it: Prospect, statement: Statement) -> str:
    """That a statement gives another name to, or drops, a column that the pair of another migration keeps in step by its name, or drops what an expression
    of such a pair names; empty if it does not.
    """
    for other in it.beside:
        for pair in other.pairs:
            renames = _RENAMES.search(statement.text) and speaks_of(statement.text, pair.table.rpartition(".")[2])
            named = it.server.drops(statement, pair) or (renames and any(speaks_of(statement.text, name) for name in (*pair.old, *pair.new)))
            if named or _needs(it, pair, statement):
                way = f"say it in {other.name}, if no database has seen that yet, or in a release after its contract"
                by = "these names" if named else "an expression that names what this takes away"
                return f"{statement.brief}: {words(pair)} is kept in step for {other.name}, by {by}; {way}"
    return ""


def hampered(it: Prospect) -> Iterator[str]:
    """What its expand makes of the table of a pair, be it of another migration, that no pair could be of when that was expanded."""
    for statement in it.statements("expand"):
        for other in (it.migration, *it.beside):
            for pair in other.pairs:
                if why := it.server.catalogue.hampers(statement, pair):
                    way = f"say it in a release after the contract of {other.name}"
                    yield f"expand.sql: {statement.brief}: {words(pair)} is kept in step for {other.name}, and {why}; {way}"


def defaultless(it: Prospect) -> Iterator[str]:
    """Pairs whose old side has a default, and the new one none: what the new version leaves out is NULL, or refused, on both."""
    for pair in it.migration.pairs:
        columns = it.server.columns(pair.table)
        given = [name for name in pair.old if name in columns and columns[name].default]
        said = any((name in columns and columns[name].default) or defaults(it.said("expand"), name) for name in pair.new)
        if given and not said:
            lacks, where = ", ".join(pair.new), "expand.sql, with ALTER TABLE ... ALTER COLUMN ... SET DEFAULT behind the ADD COLUMN"
            if it.server.dialect == "sqlite":
                where = "expand.sql, in the ADD COLUMN"
            if it.ledger.entry(it.migration.name):  # its files do not change any more
                where = "a new migration"
            yield (
                f"{', '.join(given)} of {pair.table} has a default, and {lacks} none: an INSERT of the new version that leaves {lacks} out says NULL, on"
                f" both sides until contract; give it one in {where}"
            )


def imposing(it: Prospect) -> Iterator[str]:
    """Pairs whose new side has a default, and the old one none: where nobody says who writes, ``on_conflict`` decides what the old version leaves out."""
    for pair in it.migration.pairs:
        try:
            columns = it.server.columns(pair.table)
        except Refused:  # as in ``_required``
            continue
        open_ = all(name in columns and columns[name].nullable and not columns[name].default for name in pair.old)
        given = {name: value for name in pair.new if (value := _said_default(it.said("expand"), name))} if open_ else {}
        given = {name: value for name, value in given.items() if _null(it, pair, pair.forward[name], pair.old)}
        if pair.on_conflict != "old" and given and not (len(pair.new) == 1 and _unsaid(it, pair, given)):
            old, values = ", ".join(pair.old), ", ".join(given.values())
            does = "fails" if pair.on_conflict == "error" else f"has {values} on both sides"
            who = "" if it.server.dialect == "sqlite" else ", or have its sessions say who they are"
            way = f"let forward say coalesce(..., {values}) and backward nullif(..., {values}){who}"
            yield f"{', '.join(given)} of {pair.table} has a default, and {old} none: an INSERT of the old version that gives {old} no value {does}; {way}"


def demanding(it: Prospect) -> Iterator[str]:
    """Columns that every INSERT has to give, and the new version does not know: those that contract drops, and those of a pair that it leaves."""
    expand, contract = it.said("expand"), it.statements("contract")
    for table in dict.fromkeys(reverting.altered(each.text) for each in contract):
        for name in _demanded(it, table) if table else ():
            gone = [each for each in contract if it.server.drops(each, _of(table, name))]
            if (
                gone
                and not speaks_of(expand, name)
                and not any(name.lower() in map(str.lower, p.old) and it.server.drops(gone[0], p) for p in it.migration.pairs)
            ):
                alter = f"ALTER TABLE {table} ALTER COLUMN {it.server.quoted(name)}"
                way = f"let expand.sql say {alter} SET DEFAULT, and revert.sql DROP DEFAULT"
                if it.server.dialect == "sqlite":
                    way = "SQLite gives one to no column that is there, so rebuild the table in a release before this one"
                yield f"contract.sql drops {name} of {table}, NOT NULL without a default: until then an INSERT fails that does not give it; {way}"
    if it.server.dialect != "postgres" or it.migration.command.contract:  # MySQL's sync leaves a default behind, and SQLite's refuses such a pair
        return
    for pair in it.migration.pairs:
        for name in _demanded(it, pair.table):
            left = name in pair.old and not any(it.server.drops(each, _of(pair.table, name)) for each in contract)
            # what only drops speaks of it by a name that is misspelt
            others = [bare(each.text, it.server.dialect) for each in contract if not it.server.takes(each)]
            if left and not speaks_of("\n".join([expand, *others]), name):
                way = f"drop it there, or say ALTER TABLE {pair.table} ALTER COLUMN {it.server.quoted(name)} DROP NOT NULL"
                yield f"contract.sql leaves {name} of {pair.table}, NOT NULL without a default: after it an INSERT fails that does not give it; {way}"


def _required(it: Prospect, by: Half = "expand") -> Iterator[tuple[Pair, str, list[str]]]:
    """New columns that are NOT NULL by the expand, while the old version runs, or by the contract; each with its pair and the old columns that may be NULL."""
    for pair in it.migration.pairs:
        columns = it.server.columns(pair.table)
        free = [name for name in pair.old if name in columns and columns[name].nullable]
        for name in pair.forward if free else ():
            early = (name in columns and not columns[name].nullable) or _said_required(it.said("expand"), name)
            if early if by == "expand" else not early and _said_required(it.said("contract"), name):
                yield pair, name, free


def _without_null(name: str) -> str:
    return f"let {name} be NULL until contract, or forward say coalesce(..., '') and backward nullif(..., '')"


def _unreturned(it: Prospect, pair: Pair, free: Sequence[str]) -> str:
    """Counts the rows of which old -> new -> old makes a value where they have NULL."""
    q = it.server.quoted
    made = ", ".join([*map(q, pair.old), *(f"(\n{forward}\n) AS {q(name)}" for name, forward in pair.forward.items())])
    back = " OR ".join(f"({q(name)} IS NULL AND (\n{pair.backward[name]}\n) IS NOT NULL)" for name in free)
    return f"SELECT count(*) FROM (SELECT {made} FROM {pair.table}) AS {pair.table.rpartition('.')[2]} WHERE {back}"


def _counted(it: Prospect, query: str) -> int:
    """0 where that cannot be tried: see ``_null``."""
    try:
        return int(it.server.rows(query)[0][0])
    except Refused:
        return 0


def _said_required(expand: str, name: str) -> bool:
    """Of a column that is added or altered; what an index or another word says of its name is something else."""
    verb = r"\b(?:ADD|ALTER|CHANGE|MODIFY)\s+(?:COLUMN\s+)?(?:IF\s+NOT\s+EXISTS\s+)?[\"`\[]?"
    return bool(re.search(rf"{verb}{re.escape(name)}[\"`\]]?\s(?:\([^)]*\)|[^,();])*?(?<!\bIS )\bNOT\s+NULL\b", expand, re.IGNORECASE))


def defaults(expand: str, name: str) -> bool:
    """Whether a column is added or altered with a default, whatever it is."""
    said = rf"\b(?:ADD|ALTER|CHANGE|MODIFY)\s(?:[^,;()]*\s)?[\"`\[]?{re.escape(name)}[\"`\]]?\s(?:\((?:[^()]|\([^()]*\))*\)|[^,();])*?(?<!\bDROP )\bDEFAULT\b"
    return bool(re.search(said, expand, re.IGNORECASE))


def _said_default(expand: str, name: str) -> str:
    """The default of a column that is added, if it is a constant; empty if it has none, or NULL."""
    added = rf"\bADD\s+(?:COLUMN\s+)?(?:IF\s+NOT\s+EXISTS\s+)?[\"`\[]?{re.escape(name)}[\"`\]]?\s(?:\([^)]*\)|[^,();])*?"
    found = re.search(rf"{added}\bDEFAULT\s+('(?:[^']|'')*'|[-+]?[\w.]+)", expand, re.IGNORECASE)
    return "" if not found or found[1].upper() == "NULL" else found[1]


def _unsaid(it: Prospect, pair: Pair, given: Mapping[str, str]) -> bool:
    """Whether backward makes NULL of these values, as it is where the old version says nothing."""
    row = ", ".join(f"{value} AS {it.server.quoted(name)}" for name, value in given.items())
    said = " AND ".join(f"({pair.backward[name]}) IS NULL" for name in pair.old)
    try:
        return bool(it.server.rows(f"SELECT {said} FROM (SELECT {row}) AS {pair.table.rpartition('.')[2]}")[0][0])
    except Refused:
        return False


def _null(it: Prospect, pair: Pair, forward: str, free: Sequence[str]) -> bool:
    """Whether an expression makes NULL of a row whose ``free`` columns are; not if that cannot be tried, as a function is still to be made, say."""
    columns, of = it.server.columns(pair.table), pair.table.rpartition(".")[2]
    typed = {name: f"CAST(NULL AS {columns[name].type})" if it.server.dialect == "postgres" else "NULL" for name in free}
    row = ", ".join(f"{typed.get(name, it.server.quoted(name))} AS {it.server.quoted(name)}" for name in pair.old)
    some = "" if len(free) == len(pair.old) else f" FROM {pair.table} LIMIT 1"
    try:
        return any(null for (null,) in it.server.rows(f"SELECT ({forward}) IS NULL FROM (SELECT {row}{some}) AS {of}"))
    except Refused:
        return False


def _absent(it: Prospect, pair: Pair) -> list[str]:
    """Says that the table of a pair is not there, or which columns it has not, and that what is coming does not speak of that; a line, or none."""
    known, coming = it.server.columns(pair.table), it.coming
    if coming is None:
        return []
    if not known:
        spoken = [s.text for s in it.past["revert"] if speaks_of(s.text, pair.table.rpartition(".")[2].strip('"`[]'))]
        altered = next((name for name in map(reverting.altered, spoken) if name and it.server.columns(name)), "")
        if _UNREAD.search(coming) or any(map(_MAKES.search, spoken)) or (spoken and not altered):
            return []
        way = f"it alters {altered}, so say table = '{altered}'" if altered else "write its name as the catalogue has it"
        return [f"there is no table {pair.table}, and expand.sql makes none; {way}"]
    absent = [name for name in (*pair.old, *pair.new) if name not in known]
    if gone := [name for name in absent if name.lower() not in map(str.lower, known) and not speaks_of(coming, name)]:
        return [f"{pair.table} has no column {', '.join(gone)}, and expand.sql adds none; it has {', '.join(known)}"]
    spelt = {name: spelling for name in absent if (spelling := _spelt(it, name, coming, known)) != name}
    return [f"it names {name}, and the catalogue {spelling}: write it so" for name, spelling in spelt.items()][:1]


def _spelt(it: Prospect, name: str, coming: str, known: Collection[str]) -> str:
    """How the catalogue has, or will have, the name of a column that it does not have as it is given: a trigger finds it by its letters."""
    if there := next((each for each in known if each.lower() == name.lower()), ""):
        return there
    written = re.compile(rf"([\"`\[]?)(?<!\w)({re.escape(name)})(?!\w)", re.IGNORECASE)
    given = {spelling for text in _TEXT.findall(coming) for _, each in written.findall(text) for spelling in (each, each.lower())}
    said = written.findall(_TEXT.sub("", coming))
    folded = [each.lower() if it.server.dialect == "postgres" and not quote else each for quote, each in said]
    return name if name in (*given, *folded) or not folded else folded[0]


def _read(it: Prospect, table: str) -> bool:
    """Whether SQL takes a name for that of a table which has the columns that the catalogue says."""
    try:
        it.server.rows(f"SELECT {it.server.quoted(next(iter(it.server.columns(table))))} FROM {table} WHERE 1 = 0")
    except Refused:
        return False
    return True


def _needs(it: Prospect, pair: Pair, statement: Statement) -> bool:
    """Whether a statement drops a function, a type or a collation that an expression of a pair names: its triggers are a text to the server, which lets it
    go. Of one that has several signatures, it may be another.
    """
    return called(it.server.takes(statement), pair.said)


def _demanded(it: Prospect, table: str) -> list[str]:
    return [name for name, each in it.server.columns(table).items() if not (each.nullable or each.default or each.generated)]


def _of(table: str, column: str) -> Pair:
    """A column as ``Server.drops`` is asked for it."""
    return Pair(table, (column,), (), {}, {})
