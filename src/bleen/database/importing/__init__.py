"""Files of SQL as they were written for one release, as migrations of bleen's: each statement in the phase in which it can run.

What adds is expand, an UPDATE is a backfill, what takes away is contract. Where the backfill makes new columns from old ones that the contract drops, both
say the same while two versions run: a ``[[sync]]``. What is about the same rows keeps its order, or is refused.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from bleen.database import reverting, statements
from bleen.database import tokens as sql_tokens
from bleen.database.deeds import Fill, Names, Part, Rows, read, same
from bleen.database.migration import PHASES, speaks_of
from bleen.database.reverting import way_back
from bleen.database.rules import Script, lint_release
from bleen.database.rules.findings import Finding
from bleen.database.rules.overrides import allows
from bleen.database.statements import Comment, Dialect, Statement, Unreadable
from bleen.database.written import pair_toml, revert_sql, settings
from bleen.errors import UserError

_HALF = re.compile(r"(?:migrate:|\+\w+ +|rambler +|//@)?(?P<which>up|down|undo|rollback)(?: migration)?(?: \w+:\w+| notransaction)?|changeset .*", re.I)
"""A comment that begins a half of an up/down file: of dbmate, goose, sql-migrate, rambler, node-pg-migrate, MyBatis and Liquibase."""

BOOKS = ("alembic_version", "django_migrations", "flyway_schema_history", "databasechangelog", "goose_db_version", "schema_migrations")
"""Tables in which other tools keep what they have done; the SQL that they write out names them."""


class Unfit(UserError):
    """Something that cannot be split between two versions; the text says where it stands, and what would be right."""

    located = True


class Placed(NamedTuple):
    """A part, its comments with it, and the file that it comes from."""

    part: Part
    text: str
    file: str

    @property
    def at(self) -> str:
        line, column = self.part.statement.at
        return f"{self.file}:{line}:{column}"


_RESTRICT = re.compile(r"^\\(?:un)?restrict [A-Za-z0-9]+$", re.MULTILINE)
"""The first and the last command of a dump, since PostgreSQL 13.22, 14.19, 15.14, 16.10 and 17.6 (release notes, CVE-2025-8714)."""


class Imported(NamedTuple):
    """One migration, not written yet."""

    files: Mapping[str, str]
    notes: tuple[str, ...]
    """What a person has to know of it, or do."""


def split(sources: Sequence[tuple[str, str]], dialect: Dialect) -> list[Imported]:
    """The migrations of one release, from the names and texts of its files; more than one if there is more than one UPDATE, or something that runs behind it.

    Raises UserError, located, for what cannot be read, and for what cannot be split between two versions.
    """
    locks = [f"{file}: left out: {found[0]}: it is for psql" for file, text in sources if dialect == "postgres" for found in _RESTRICT.finditer(text)]
    if locks:
        sources = [(file, _RESTRICT.sub(lambda found: _blanks(found[0]), text)) for file, text in sources]
    halves = [(file, *_halves(file, text, dialect)) for file, text in sources]
    placed = [each for file, up, _ in halves for each in _read(file, up, dialect)]
    notes = locks + [f"{each.at}: left out: {why}" for each in placed if (why := _idle(each.part))]
    active = [each for each in placed if not _idle(each.part)]
    placed = _phased(active, dialect)
    notes += [f"{now.at}: {_LATE}" for was, now in zip(active, placed, strict=True) if was.part.phase != now.part.phase == "contract"]
    if not placed:
        which = " that goes up" if any(down.strip() for *_, down in halves) else ""
        raise UserError(f"{', '.join(file for file, _ in sources)}: there is no statement in it{which}")
    fills = [each for each in placed if each.part.phase == "backfill"]
    pairs = [_pairs(each, placed, dialect) for each in fills]
    _apart(fills, pairs)
    made: list[Imported] = []
    homes = _homes(placed)
    for number in range(max(homes) + 1):
        own = [each for each, home in zip(placed, homes, strict=True) if home == number]
        files = {f"{phase}.sql": "".join(f"{each.text}\n" for each in own if each.part.phase == phase) for phase in PHASES}
        fill, kept = (fills[number], pairs[number]) if number < len(fills) else (None, [])
        if fill and _by_pairs(fill, kept):
            files["backfill.sql"] = ""
        hints = [f"{fill.at}: {why}" for why in _to_be_known(fill, kept, dialect)] if fill else _told_behind(own, fills)
        made.append(_whole(files, kept, [*(notes if not made else []), *hints]))
    return _with_way_back(made, [(file, down) for file, _, down in halves], dialect)


def lint(imported: Sequence[tuple[str, Imported]], dialect: Dialect) -> list[Finding]:
    """What the rules say of migrations, by their folders: as plan and deploy will say it."""
    scripts = [Script(text, f"{folder}/{phase}.sql", phase) for folder, each in imported for phase in PHASES if (text := each.files.get(f"{phase}.sql"))]
    found = lint_release(scripts, dialect)
    for (folder, each), heeded in zip(imported, _heeded([each for _, each in imported], dialect), strict=True):
        found += reverting.lint(each.files.get("expand.sql", ""), each.files["revert.sql"], folder, dialect)
        found += way_back.lint(heeded, each.files["revert.sql"], folder, dialect)
    return found


def _heeded(made: Sequence[Imported], dialect: Dialect) -> list[str]:
    """Every expand.sql with those indexes CONCURRENTLY of which the rules want it: their DROP is to be so, too, once somebody has heeded that."""
    texts = [each.files.get("expand.sql", "") for each in made]
    found = lint_release([Script(text, str(number), "expand") for number, text in enumerate(texts)], dialect)
    wanted = {(int(each.file), each.line, each.column) for each in found if each.rule == "index-without-concurrently" and each.severity == "error"}
    for number, text in enumerate(texts):
        for each in reversed(statements.split(text, dialect) if wanted else []):
            if (number, *each.at) in wanted:
                said = re.sub(r"\bINDEX\b", "INDEX CONCURRENTLY", each.text, count=1, flags=re.IGNORECASE)
                texts[number] = texts[number][: each.offset] + said + texts[number][each.offset + len(each.text) :]
    return texts


def without_books(text: str, dialect: Dialect) -> str:
    """A text with blanks instead of what changes no schema: other tools' books, BEGIN and COMMIT. What is left stays where it stood. Raises Unreadable."""
    parts, _ = read(text, dialect)
    for part in parts:
        begin, end = part.statement.offset, part.statement.offset + len(part.statement.text)
        if _idle(part):
            end = re.compile(r"\s*;|").match(text, end).end()  # type: ignore[union-attr] # it matches nothing, too
            text = text[:begin] + _blanks(text[begin:end]) + text[end:]
    return text


def _halves(file: str, text: str, dialect: Dialect) -> tuple[str, str]:
    """What goes up in a file, and what takes it back, each where it stands, with blanks in place of the other. Raises UserError, located."""
    if file.endswith(".down.sql"):
        return "", text
    up, down, begin, goes_down = "", "", 0, False
    try:
        marks = [(each, found) for each in _comments_of(text, dialect) if _alone(text, each) and (found := _HALF.fullmatch(each.text))]
    except Unreadable as error:
        raise Unfit(f"{file}:{error.at.line}:{error.at.column}: {error}") from None
    for end, after, which in [*((mark.begin, mark.end, found["which"]) for mark, found in marks), (len(text), len(text), "")]:
        piece, mark = text[begin:end], _blanks(text[end:after])
        up, down = up + (_blanks(piece) if goes_down else piece) + mark, down + (piece if goes_down else _blanks(piece)) + mark
        begin, goes_down = after, (which or "up").lower() != "up"
    return up, down


def _comments_of(text: str, dialect: Dialect) -> list[Comment]:
    if dialect == "postgres":
        from bleen.database import parser

        return parser.comments(text)
    return sql_tokens.comments(text, dialect)


def _alone(text: str, comment: Comment) -> bool:
    """Whether a comment begins its line."""
    return not text[text.rfind("\n", 0, comment.begin) + 1 : comment.begin].strip()


def _blanks(text: str) -> str:
    return re.sub(r"\S", " ", text)


def _with_way_back(made: list[Imported], downs: Sequence[tuple[str, str]], dialect: Dialect) -> list[Imported]:
    """Migrations with their revert.sql: derived, or what goes down. Raises Unfit where that takes back more than one expand, as no revert.sql can."""
    firsts: list[str] = []
    texts: list[str] = []
    for file, text in downs:
        try:
            found = statements.split(text, dialect)
        except Unreadable as error:
            raise Unfit(f"{file}:{error.at.line}:{error.at.column}: {error}") from None
        if found:
            firsts.append(f"{file}:{found[0].at.line}:{found[0].at.column}")
            texts.insert(0, "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n")
    if not firsts:
        backs = [revert_sql(reverting.derived(text, dialect)) for text in _heeded(made, dialect)]
        return [Imported({**each.files, "revert.sql": back}, each.notes) for each, back in zip(made, backs, strict=True)]
    if len(made) > 1 or "contract.sql" in made[0].files:
        more = "more than one migration" if len(made) > 1 else "what contract takes away, too"
        why = f"what goes down takes back {more}, and revert.sql takes back one expand: leave this half out, and revert.sql is derived"
        raise Unfit(f"{firsts[0]}: {why}")
    notes = [f"{at}: what goes down is revert.sql, which is run before contract, while the old version serves: read it" for at in firsts]
    return [Imported({**made[0].files, "revert.sql": f"-- Undoes expand.sql, until contract.\n{''.join(texts)}"}, (*made[0].notes, *notes))]


def _read(file: str, text: str, dialect: Dialect) -> Iterator[Placed]:
    """Every part of a file, in its order, with the comments before it and behind it on its line."""
    try:
        parts, comments = read(text, dialect)
    except Unreadable as error:
        raise Unfit(f"{file}:{error.at.line}:{error.at.column}: {error}") from None
    statements = list(dict.fromkeys(part.statement for part in parts))
    for number, statement in enumerate(statements):
        before, behind = _comments(text, comments, statements, number)
        of_it = [part for part in parts if part.statement == statement]
        for part in of_it:
            head = "".join(f"{text[each.begin : each.end].rstrip()}\n" for each in (before if part is of_it[0] else ()))
            end = statement.offset + len(statement.text)
            tail = "".join(f"{_gap(text[end : each.begin])}{text[each.begin : each.end].rstrip()}" for each in (behind if part is of_it[-1] else ()))
            yield Placed(part, f"{head}{part.text};{tail}", file)


def _comments(text: str, comments: Sequence[Comment], statements: Sequence[Statement], number: int) -> tuple[list[Comment], list[Comment]]:
    """The comments that belong before a statement, and those behind it: on its last line, or at the end of the file."""
    statement = statements[number]
    begin, end = statement.offset, statement.offset + len(statement.text)
    last = statements[number - 1] if number else None
    last_end = last.offset + len(last.text) if last else 0
    following = statements[number + 1].offset if number + 1 < len(statements) else len(text) + 1
    before = [each for each in comments if last_end <= each.begin < begin and not (last and "\n" not in text[last_end : each.begin])]
    behind = [each for each in comments if end <= each.begin < following and ("\n" not in text[end : each.begin] or following > len(text))]
    return before, behind


def _idle(part: Part) -> str:
    """Why a part is left out; empty if it is not."""
    named = {name[-1].lower() for name in (part.table, *part.makes) if name}
    book = next((each for each in BOOKS if each in named), "")
    return f"{book} is another tool's book: have it written there when this is expanded (alembic stamp, migrate --fake)" if book else part.idle


def _phased(placed: Sequence[Placed], dialect: Dialect) -> list[Placed]:
    """The parts with their phases, now that it is known what the release itself makes: it is free to change. Raises UserError where something that is dropped
    is made again, or whose name is given to another: the old version needs the one, the new version the other, and both have one name.
    """
    made: set[Names] = set()
    dropped: dict[Names, Placed] = {}
    emptied: list[Placed] = []
    late: list[Placed] = []
    found = []
    for each in placed:
        part = each.part
        if part.phase == "backfill" and allows(each.text, _UPDATES):
            part = part._replace(phase="expand", fill=None)
        for thing in (*part.makes, *part.brings, *(new for _, new in part.renames)):
            if thing not in made and (gone := next((drop for name, drop in dropped.items() if _may_be_one(thing, name)), None)):
                why = f"makes {_told(thing)} again, which {gone.at} drops: while both versions run, both need theirs"
                rebuilt = dialect == "sqlite" and thing[0] == "table" and any(thing == new for _, new in part.renames)
                way = _REBUILT if rebuilt else "give the new one another name, or leave the DROP out if there is none yet"
                raise Unfit(f"{each.at}: {why}; {way}")
        own = (("table", *part.table) in made) if part.table else bool(part.drops) and all(thing in made for thing in part.drops)
        if own:
            part = part._replace(phase="expand", fill=None)
        elif part.phase == "contract":
            dropped.update(dict.fromkeys(part.drops, each))
            emptied += [each] if part.rows.writes else []
        if part.phase != "contract" and (before := next((gone for gone in emptied if _waits(part, gone.part)), None)):
            if not _holds(part, before.part):
                raise Unfit(f"{each.at}: {_OVERTAKES.format(before=before.at, phase=part.phase)}")
            if any(thing[0] == "column" for thing in part.makes):
                why = f"holds rows to something once {before.at} has run, in contract"
                raise Unfit(f"{each.at}: {why}: write the columns that it adds as a statement before it")
            part = part._replace(phase="contract")
            late.append(each)
        elif part.phase != "contract" and (before := next((other for other in late if _needs(part, other.part)), None)):
            raise Unfit(f"{each.at}: {_TOO_EARLY.format(before=before.at, phase=part.phase)}")
        made = part.leaves(made)
        found.append(each._replace(part=part))
    return found


_UPDATES = ("update-outside-backfill", "whole-table-update", "second-table")
"""The rules that would have an UPDATE be a backfill: one that an override allows runs where it stands."""

_OVERTAKES = (
    "is about rows of which {before} takes some first; but that goes to contract, and this to {phase}, which runs before it: write it before that if it comes"
    " to the same, else leave one of the two to another release"
)


_TOO_EARLY = (
    "needs what {before} makes; but that holds rows to what a DELETE before it makes true, so it goes to contract, and this to {phase}, which runs before it:"
    " leave the DELETE to a release before this one, or this to one after it"
)


_LATE = "holds rows to what a DELETE before it makes true, so it is in contract, behind that: the new version does without it until then"


def _waits(part: Part, gone: Part) -> bool:
    """Whether it ends otherwise if it runs before what takes rows: an UPDATE does not, of columns by which they are not picked."""
    if part.fill and part.fill.set:
        picked = _meet(part.rows.writes, gone.rows.all) and not gone.picks.isdisjoint(column.lower() for column in part.fill.set)
        return picked or _meet(part.rows.reads, gone.rows.writes)
    return _meet(part.rows.all, gone.rows.writes) or _meet(part.rows.writes, gone.rows.reads)


def _holds(part: Part, gone: Part) -> bool:
    """Whether it only holds rows to something, so that contract is early enough."""
    return not part.rows.writes and not _meet(part.rows.reads, gone.rows.writes) and not part.renames


def _needs(part: Part, late: Part) -> bool:
    """Whether it names what another one makes, or refers to columns that are unique by it."""
    made = any(speaks_of(part.text, thing[-1]) for thing in (*late.makes, *late.brings))
    refers = [
        [column.strip(' "`[]') for column in columns.split(",")]
        for table, columns in _REFERENCES.findall(part.text)
        if any(table.rpartition(".")[2].strip('"`[]').lower() == held[-1].lower() for held in late.rows.holds)
    ]
    return made or any(speaks_of(late.text, column) for columns in refers for column in columns)


_REFERENCES = re.compile(r"\bREFERENCES\s+([^\s(]+)\s*\(([^)]*)\)", re.IGNORECASE)


def _meet(some: Sequence[Names], others: Sequence[Names]) -> bool:
    return any(_may_be_one(one, other) for one in some for other in others)


_REBUILT = (
    "it is SQLite's table rebuild, as Django and Alembic write it: write what changes instead, as ADD COLUMN or DROP COLUMN; where a column changes,"
    " that is a new one, an UPDATE that fills it, and DROP COLUMN for the old one"
)


def _may_be_one(one: Names, other: Names) -> bool:
    """As ``same``, in any case: nobody has said yet whether the server minds it."""
    return same(*((kind, *(each.lower() for each in names)) for kind, *names in (one, other)))


class _Pair(NamedTuple):
    """A pair that an UPDATE suggests."""

    fill: Fill
    new: tuple[str, ...]
    old: tuple[str, ...]

    @property
    def backward(self) -> dict[str, str]:
        """By old column; empty where a person has to say it."""
        return {old: next((self.fill.set[new].back for new in self.new if self.fill.set[new].reads == (old,)), "") for old in self.old}


def _by_pairs(fill: Placed, own: Sequence[_Pair]) -> bool:
    """Whether pairs fill all that an UPDATE does, and not by its words, as it leaves out rows: a backfill that says something else than its pair is refused."""
    told = fill.part.fill
    assert told is not None, "it is a backfill"
    return told.set.keys() <= {name for pair in own for name in pair.new} and any(told.forward(name) != of.expression for name, of in told.set.items())


def _pairs(fill: Placed, placed: Sequence[Placed], dialect: Dialect) -> list[_Pair]:
    """The pairs of an UPDATE: new columns and the old ones that they are made from, one of which is dropped; those that share an old one are one pair. Where
    the file adds columns, no other one is new: the version that serves reads and writes it, and a trigger would write over that.
    """
    told = fill.part.fill
    assert told is not None, "it is a backfill"
    gone = {name[-1] for each in placed if each.part.phase == "contract" for name in each.part.drops if name[:-1] == ("column", *told.names)}
    if ("table", *told.names) in (name for each in placed for name in each.part.drops) or told.given is None:
        return []
    added = {name[-1] for each in placed for name in each.part.makes if name[:-1] == ("column", *told.names)}
    pairs: list[_Pair] = []
    for column, assigned in told.set.items():
        if assigned.beyond or column in assigned.reads or not gone & set(assigned.reads):
            continue
        if added and (column not in added or added & set(assigned.reads)):
            continue
        if told.given and (told.given.keys() - set(assigned.reads) or _has_default(("column", *told.names, column), placed)):
            continue  # in the rows left out, it is not NULL
        reads = assigned.reads if dialect == "postgres" else tuple(name for name in assigned.reads if name in gone)  # else words of all kinds
        shared = [pair for pair in pairs if set(pair.old) & set(reads)]
        new = (*(name for pair in shared for name in pair.new), column)
        old = dict.fromkeys((*(name for pair in shared for name in pair.old), *reads))
        pairs = [pair for pair in pairs if pair not in shared] + [_Pair(told, new, tuple(old))]
    return pairs


def _has_default(column: Names, placed: Sequence[Placed]) -> bool:
    return any(column in each.part.makes and re.search(r"\bDEFAULT\b", each.part.text, re.IGNORECASE) for each in placed)


def _apart(fills: Sequence[Placed], pairs: Sequence[Sequence[_Pair]]) -> None:
    """Raises UserError if two UPDATEs fill from the same old columns: only one pair can keep a column in step."""
    for number, fill in enumerate(fills):
        for before in range(number):
            for one in pairs[before]:
                for two in pairs[number]:
                    both = [name for name in one.old if name in two.old]
                    if both and one.fill.names == two.fill.names:
                        sets = ", ".join(f"{column} = {each.expression}" for pair in (one, two) for column, each in pair.fill.set.items())
                        why = f"fills from {', '.join(both)}, as {fills[before].at} does, and one pair keeps a column in step"
                        raise Unfit(f"{fill.at}: {why}: write UPDATE {one.fill.table} SET {sets}")


def _behind(placed: Sequence[Placed]) -> int:
    """Where those parts of expand begin that run after the last UPDATE, as one of them is about the same rows; all of them, as one may need another."""
    last = max((at for at, each in enumerate(placed) if each.part.phase == "backfill"), default=len(placed))
    filled = placed[last].part.rows if last < len(placed) else Rows()
    late = (at for at, each in enumerate(placed) if at > last and each.part.phase == "expand" and _follows(each.part, filled))
    return next(late, len(placed))


def _follows(part: Part, filled: Rows) -> bool:
    renamed = [("table", *old[1:-1]) if old[0] == "column" else old for old, _ in part.renames]
    return _meet((*part.rows.all, *renamed), filled.writes) or _meet(part.rows.writes, filled.reads)


def _homes(placed: Sequence[Placed]) -> list[int]:
    """Of each part the migration that it is in: expand with the UPDATE that it comes before, what is dropped with the last that reads it, and what takes
    rows, or holds them to something, not behind what is done to that table after it.
    """
    fills = [each for each in placed if each.part.phase == "backfill"]
    behind = _behind(placed)
    last = max(len(fills) - 1, 0) + (behind < len(placed))
    homes = [min(sum(one.part.phase == "backfill" for one in placed[:at]), last if at >= behind else max(len(fills) - 1, 0)) for at in range(len(placed))]
    for at in range(len(placed) - 1, -1, -1):
        if placed[at].part.phase == "contract":
            own = max((number for number, fill in enumerate(fills) if _reads(fill, placed[at])), default=last)
            later = (homes[each] for each in range(at + 1, len(placed)) if placed[each].part.phase == "contract" and _alike(placed[at], placed[each]))
            homes[at] = min(own, *later, last)
    return homes


def _alike(one: Placed, later: Placed) -> bool:
    """Whether a part is about rows of what a later one changes."""
    changed = (("table", *later.part.table), *later.part.drops, *later.part.rows.all)
    return _meet(one.part.rows.all, changed)


def _told_behind(own: Sequence[Placed], fills: Sequence[Placed]) -> list[str]:
    first = next((each for each in own if each.part.phase == "expand"), None)
    return [f"{first.at}: is about rows that {fills[-1].at} changes first, so it is in a migration behind that backfill"] if first and fills else []


def _reads(fill: Placed, drop: Placed) -> bool:
    told = fill.part.fill
    return told is not None and any(("column", *told.names, name) in drop.part.drops for each in told.set.values() for name in each.reads)


def _to_be_known(fill: Placed, pairs: Sequence[_Pair], dialect: Dialect) -> Iterator[str]:
    """What a person has to know of a backfill: what it lacks, and what is easily overlooked."""
    told = fill.part.fill
    assert told is not None, "it is a backfill"
    if dialect == "mysql" and any("||" in each.expression for each in told.set.values()):
        yield "|| is OR in MySQL, unless sql_mode has PIPES_AS_CONCAT: CONCAT(a, b) joins strings"
    columns = [column for column in told.set if not any(column in pair.new for pair in pairs)]
    if columns or not told.set:
        yield (
            f"nothing keeps {', '.join(columns) or 'what it sets'} of {told.table} in step: rows that the old version writes after the backfill lack"
            f" {'it' if len(columns) < 2 else 'them'}; a [[sync]] in migration.toml does, if old columns say the same"
        )
    for pair in pairs:
        if open_ := [old for old, made in pair.backward.items() if not made]:
            yield f"to be written in migration.toml, as backward: how {', '.join(open_)} of {told.table} can be made from {', '.join(pair.new)}"


def _whole(files: dict[str, str], pairs: Sequence[_Pair], notes: Sequence[str]) -> Imported:
    """One migration, with its migration.toml."""
    files["migration.toml"] = settings([pair_toml(p.fill.table, p.old, p.new, {n: p.fill.forward(n) for n in p.new}, p.backward) for p in pairs])
    return Imported({name: text for name, text in files.items() if text}, tuple(notes))


def _gap(between: str) -> str:
    return "\n" if "\n" in between else "  "


def _told(thing: Names) -> str:
    return f"the {thing[0]} {'.'.join(thing[1:])}".replace(".(", "(")
