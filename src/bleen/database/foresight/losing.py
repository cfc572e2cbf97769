"""What is gone for good once a contract has dropped the old columns of a pair, and the new ones have not: what rules and indexes they have, and values."""

import json
import re
from collections.abc import Iterator

from bleen.database import parts
from bleen.database.catalogue import Going
from bleen.database.foresight.pairs import defaults
from bleen.database.foresight.prospect import Prospect
from bleen.database.migration import Pair, speaks_of
from bleen.database.statements import bare
from bleen.database.things import taken_in_words
from bleen.database.wording import Wording, wording
from bleen.errors import Refused

_GIVES = {
    "UNIQUE": re.compile(r"\bUNIQUE\b|\bPRIMARY\s+KEY\b", re.IGNORECASE),
    "INDEX": re.compile(r"\b(INDEX|KEY|UNIQUE)\b", re.IGNORECASE),
    "CHECK": re.compile(r"\bCHECK\b(?!\s*\(+\s*[\w\"`]+\s+IS\s+NOT\s+NULL\s*\))", re.IGNORECASE),
    "EXCLUDE": re.compile(r"\bEXCLUDE\b", re.IGNORECASE),
}
"""What says such a thing; a CHECK that is the safe way to NOT NULL is none."""
_TRIGGER = re.compile(r"\bTRIGGER\b", re.IGNORECASE)
_INDEXED = re.compile(r"\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*\)")
"""What an index is over, before its INCLUDE, WHERE and WITH."""
_CALL = re.compile(r"\b[a-z_]\w*(?=\()")
_REWORDED = frozenset(["btrim", "cast", "char", "date_part", "json_extract", "json_unquote", "timezone", "varying"])
"""What a catalogue makes of TRIM, EXTRACT, ->>, AT TIME ZONE and such: who wrote that has said none of these."""
_TYPES = {"postgres": "text", "mysql": "char", "sqlite": "text"}


def unruled(it: Prospect) -> Iterator[str]:
    """Constraints and indexes that go with the old columns of a pair in contract, without a word of the server's, and that nothing gives the new ones: while
    both versions run the old ones hold for both, so that nobody misses them before.
    """
    pairs = [(pair, gone) for pair in (_catalogued(it, each) for each in it.migration.pairs) if (gone := _dropped(it, pair))]
    if not pairs or (it.coming is None and not it.ledger.entry(it.migration.name)) or any(m.command.expand for m in it.behind):
        return  # what another tool makes is not known before it is there
    contract = it.statements("contract")
    later = [each for m in it.behind for part in ("expand", "contract") for each in it.statements(part, m)]
    given = [bare(each.text, it.server.dialect) for each in (*it.past["contract"], *contract, *later)]
    dropped = [thing for statement in contract for thing in it.server.takes(statement)]
    knowing = {thing.names[-1].lower() for thing in dropped if thing.kind in ("INDEX", "CONSTRAINT")}
    things = it.server.catalogue.going(list(dict.fromkeys(pair.table for pair, _ in pairs)))
    for pair, gone in pairs:
        has = [*given, *(f"{each.kind} {each.body}" for each in things if each.table == pair.table)]
        for each in things:
            taken = [name for name in gone if name in each.columns] if each.table == pair.table else []
            if taken and each.name.lower() not in knowing and not any(_gives(text, each, pair) for text in has):
                what = " ".join(word for word in (each.kind, each.name, each.body) if word)
                yield f"contract.sql drops {', '.join(taken)} of {pair.table}, and with it {what}; {_again(it, pair, each)}"
        yield from _loosened(it, pair, gone, "\n".join(given))


def widowed(it: Prospect) -> Iterator[str]:
    """What holds several columns together, and goes with one of them that contract drops, without a word of PostgreSQL's; MySQL and SQLite refuse that. Of the
    columns of pairs ``unruled`` tells.
    """
    if it.server.dialect != "postgres":
        return
    contract = it.statements("contract")
    knowing = {thing.names[-1].lower() for statement in contract for thing in it.server.takes(statement) if thing.kind in ("INDEX", "CONSTRAINT")}
    altered = [thing.names[0] for statement in contract for thing in sorted(taken_in_words(statement.text, "postgres")) if thing.kind == "COLUMN"]
    for table in dict.fromkeys(altered):
        gone = parts.dropped(it.server, it.migration, table, [*it.server.columns(table)])
        paired = {name for pair in it.migration.pairs for name in pair.old}
        for each in it.server.catalogue.going([table]):
            taken, stay = [name for name in each.columns if name in gone], [name for name in each.columns if name not in gone]
            if taken and stay and each.name.lower() not in knowing and not paired.intersection(taken):
                what = f"{each.kind} {each.name} {each.body}".rstrip()
                way = f"if {', '.join(stay)} should be held by one without it, let expand.sql make that; else drop this one by name before"
                yield f"contract.sql drops {', '.join(taken)} of {parts.plain(table)}, and with it {what}: {way}"


def emptying(it: Prospect) -> Iterator[str]:
    """Rows whose old columns say something of which forward makes NULL, and backward nothing again, of a pair that is declared lossy, for another loss
    perhaps; undeclared, expand refuses them.
    """
    for pair in it.migration.pairs:
        if not pair.lossy or not _dropped(it, pair):
            continue
        q, type = it.server.quoted, _TYPES[it.server.dialect]
        made = ", ".join([*map(q, pair.old), *(f"(\n{forward}\n) AS {q(name)}" for name, forward in pair.forward.items())])
        null = " AND ".join(f"{q(name)} IS NULL" for name in pair.new)
        lost = " OR ".join(f"(trim(CAST({q(name)} AS {type})) <> '' AND (\n{pair.backward[name]}\n) IS NULL)" for name in pair.old)
        known = it.server.columns(pair.table)
        unwritten = " AND ".join(f"{q(name)} IS NULL" for name in pair.new if name in known) or "1 = 1"  # else the new version has said it
        query = f"SELECT count(*) FROM (SELECT {made} FROM {pair.table} WHERE {unwritten}) AS {pair.table.rpartition('.')[2]} WHERE {null} AND ({lost})"
        try:
            count = int(it.server.rows(query)[0][0])
        except Refused:  # a function of an expression is still to be made, say
            continue
        if count:
            new = ", ".join(pair.new)
            way = f"let forward make something of it (coalesce(COLUMN, '') of a text that may be NULL), or, once it is expanded, write {new} of these rows"
            if it.ledger.entry(it.migration.name):
                way = f"write {new} of these rows before"
            lose = f"{count} rows have something in {' or '.join(pair.old)}, and forward makes NULL of it for {new}"
            yield f"{lose}: the new version does not see it, and contract takes it away for good; {way}"


def behind(it: Prospect) -> Iterator[str]:
    """What one version writes and the other does not see, where a backfill makes new columns of old ones and no pair follows."""
    for filling in it.fillings:
        if not (found := parts.unkept(it.server, filling, it.migration)):
            continue
        fill, gone = found
        if it.ledger.entry(filling.name) and not parts.there(it.server, fill):
            continue
        old, new, table = ", ".join(gone), ", ".join(fill.set), parts.plain(fill.table)
        if {*gone} <= {*it.server.columns(fill.table)}:
            way = f"a [[sync]] in migration.toml keeps them in step: old = {json.dumps(gone)}, new = {json.dumps([*fill.set])}, with forward and backward"
        else:
            way = (
                "no [[sync]] goes across tables: let the new version write both, and contract once no old version runs and a last backfill has filled the rest"
            )
        if it.ledger.entry(it.migration.name):
            way = f"look at those rows, and write {new} of them, before"
        lost = "unless each version writes both, what the old one writes behind the backfill is lost, and after a rollback what the new one wrote is unseen"
        yield f"contract.sql takes {old} away, by which the backfill makes {new} of {table}, and nothing follows: {lost}; {way}"


def unfilled(it: Prospect) -> Iterator[str]:
    """New columns that a backfill fills, and nothing else: rows that the version which serves writes behind it have nothing there."""
    if parts.unkept(it.server, it.migration, it.migration) or (filled := parts.unpaired(it.server, it.migration)) is None:
        return  # what it is made of goes: see ``behind``
    expand, known = it.coming, it.server.columns(filled.table)
    if not known or expand is None or _TRIGGER.search(expand):
        return
    if new := [name for name in filled.set if name.lower() not in map(str.lower, known) and not defaults(expand, name)]:
        what = ", ".join(new)
        lacks = f"nothing but the backfill fills {what} of {parts.plain(filled.table)}: rows that the old version writes behind it have NULL there"
        way = f"`bleen migrate backfill {it.migration.name}` fills these"
        yield f"{lacks}; once no old version runs, {way}; from the beginning a DEFAULT does, or, if old columns say the same, a [[sync]] in migration.toml"


def _catalogued(it: Prospect, pair: Pair) -> Pair:
    """With its old columns by the names that the catalogue has, where their case is all one."""
    if it.server.dialect == "postgres":
        return pair
    try:
        known = {name.lower(): name for name in it.server.columns(pair.table)}
    except Refused:  # as in ``parts.dropped``
        return pair
    return pair._replace(old=tuple(known.get(name.lower(), name) for name in pair.old))


def _dropped(it: Prospect, pair: Pair) -> list[str]:
    """The old columns of a pair that contract drops from a table that stays."""
    return parts.dropped(it.server, it.migration, pair.table, pair.old)


def _gives(text: str, thing: Going, pair: Pair) -> bool:
    """Whether a statement says for the new columns what a thing says for the old ones, as far as its words tell: of an expression, the functions. The rest the
    catalogue has in words of its own: whoever was told of it would make the index twice.
    """
    if not (_GIVES[thing.kind].search(text) and any(speaks_of(text, name) for name in pair.new)):
        return False
    if thing.kind in ("UNIQUE", "INDEX") and len(pair.old) == len(pair.new) == 1:
        indexed = _INDEXED.search(thing.body)
        calls = set(_CALL.findall(re.sub(r"'(?:[^']|'')*'", "", indexed[0]))) - _REWORDED if indexed else ()
        if not all(speaks_of(text, word) for word in calls):
            return False
    return all(speaks_of(text, name) for name in thing.columns if name not in pair.old)


def _again(it: Prospect, pair: Pair, thing: Going) -> str:
    """What gives the new column the same, where it is one for one and the dialect can."""
    new = ", ".join(pair.new)
    if len(pair.old) > 1 or len(pair.new) > 1 or thing.kind == "EXCLUDE":
        return f"nothing says that of {new}: let {_file(it, 'expand.sql')} say what of it is to hold on"
    say, table = wording(it.server.dialect, it.said("expand")), parts.plain(pair.table)
    said = _renamed(thing.body, pair, say)
    others = [pair.new[0] if name in pair.old else name for name in thing.columns]
    if thing.kind != "CHECK":
        made = say.over(table, say.called(table, *others, "key" if thing.kind == "UNIQUE" else "idx"), said, thing.kind == "UNIQUE")
    elif it.server.dialect == "postgres":
        made = say.check(table, say.called(table, *others, "check"), said)
    else:
        return f"nothing says that of {new}: let the ADD COLUMN of expand.sql say CHECK ({said})"
    return f"nothing says that of {new}: let {_file(it, 'expand.sql')} say {' '.join(made)}"


def _file(it: Prospect, file: str) -> str:
    """Where it may still be said: what a database has seen does not change."""
    return "a new migration" if it.ledger.entry(it.migration.name) else file


def _loosened(it: Prospect, pair: Pair, gone: list[str], given: str) -> Iterator[str]:
    """NOT NULL of one column that another takes the place of."""
    columns, new = it.server.columns(pair.table), pair.new[0]
    if len(pair.old) > 1 or len(pair.new) > 1 or columns[gone[0]].nullable or (new in columns and not columns[new].nullable):
        return
    if re.search(rf"(?<!\w){re.escape(new)}(?!\w)(?:\([^)]*\)|[^,;])*?(?<!\bIS )\bNOT\s+NULL\b", given, re.IGNORECASE):
        return
    if it.server.dialect == "sqlite":
        way = "let the ADD COLUMN of expand.sql say NOT NULL with a default, as SQLite makes no column so later"
        if it.ledger.entry(it.migration.name):
            way = "let the application see to it, as SQLite makes no column so later"
    else:
        type = columns[new].type if new in columns else "TYPE"  # as MySQL has it said once more
        made = wording(it.server.dialect).require(parts.plain(pair.table), new, type)
        way = f"let {_file(it, 'contract.sql')} say {' '.join(line for line in made if not line.startswith('--'))}"
    may = f"contract.sql drops {gone[0]} of {pair.table}, which is NOT NULL, and {new} may be NULL from then on"
    yield f"{may}: if it is not to be, {way}"


def _renamed(text: str, pair: Pair, say: Wording) -> str:
    """The one old column by the name of the new one, as it has to be written, but in a text."""
    old, new = re.escape(pair.old[0]), say.name(pair.new[0])
    return re.sub(rf"('(?:[^']|'')*')|([\"`]?)(?<!\w){old}(?!\w)\2", lambda found: found[1] or new, text)
