"""What holds the old version too, though nobody is locked out: from expand on its writes are refused, and neither abort nor rollback takes that away.

Source: PostgreSQL 18, "ALTER TABLE", NOT VALID: "the constraint will still be enforced against subsequent inserts or updates"; what was there before the
release is what the old version writes, and of what this release adds it writes the default.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from postgast import pg_query_pb2 as pb
from postgast import walk

from bleen.database.grammar.postgres import Message, expression, inner, kind, quoted, type_name, words
from bleen.database.rules.findings import Finding
from bleen.database.rules.postgres_look import FREE, Look, functions
from bleen.database.rules.postgres_made import GRANTED, NAME
from bleen.database.rules.postgres_values import Row, Unsure, Value, as_type, has_room, relation_said, value
from bleen.database.rules.sentences import BY_DEFAULT, HELD
from bleen.database.statements import Place

_TOTAL = frozenset(
    """
    abs btrim ceil ceiling char_length character_length concat concat_ws date_part date_trunc extract floor hashtext initcap json_extract_path
    json_extract_path_text json_typeof jsonb_extract_path jsonb_extract_path_text jsonb_typeof left length lower lpad ltrim md5 nullif octet_length
    regexp_replace replace reverse right round rpad rtrim sha256 sign similar_to_escape split_part starts_with strpos timezone to_jsonb to_tsvector
    translate trim upper
    """.split()
)
"""Functions of PostgreSQL that fail for no value of a column, used as an index uses them."""

_TOTAL_BY = {"date_part": (0,), "date_trunc": (0, 2), "regexp_replace": (1, 3, 4, 5), "similar_to_escape": (0, 1), "split_part": (2,), "timezone": (0,)}
"""Which arguments of those have to be constants for that: a unit, a pattern, a zone."""

_PATTERNS = frozenset("~ ~* !~ !~* ~~ ~~* !~~ !~~*".split())
"""Operators that fail for some patterns, LIKE among them."""

_OF_THE_SESSION = frozenset(("currval", "lastval"))
"""They fail in a session that has had no number yet."""

_TOTAL_CASTS = frozenset("text varchar bpchar char citext name date timestamp timestamptz time timetz interval".split())
"""Types to which a cast fails for no value; to date and time, in an index, only one from another such type: from text it is not IMMUTABLE."""


class Added(NamedTuple):
    """What ``Known`` says of a column that this expand has added to a table in use."""

    given: Value
    """What it is in the old version's rows."""
    type: Message | None
    required: bool


class Holding(NamedTuple):
    """A constraint or a unique index of a table in use; ``fix`` is the same in contract."""

    name: str
    parts: tuple[Message, ...]
    """Expressions, the parts of an index, or names of columns."""
    fix: str
    what: str = "check"
    """Or foreign, or unique."""
    where: Message | None = None
    whole: bool = False
    """NULLs are values like others: NULLS NOT DISTINCT, MATCH FULL."""


def check(constraint: Message, fix: str) -> Holding:
    return Holding(constraint.conname, tuple(constraint.keys or [constraint.raw_expr]), fix)


def foreign_key(constraint: Message, fix: str) -> Holding:
    return Holding(constraint.conname, tuple(constraint.fk_attrs), fix, "foreign", whole=constraint.fk_matchtype == "f")


def unique_index(index: Message, fix: str) -> Holding:
    where = index.where_clause if index.HasField("where_clause") else None
    return Holding(index.idxname, tuple(index.index_params), fix, "unique", where, index.nulls_not_distinct)


def held(look: Look, table: tuple[str, ...], it: Holding, at: Place | None = None) -> Iterator[Finding]:
    """An error where it refuses every INSERT of the old version, a warning where it may refuse one."""
    if not look.expanding:
        return
    look.known.makes("holding", *table, it.name or it.fix, what=it)
    columns = list(columns_of(it))
    before = [name for name in dict.fromkeys(columns) if not look.known.made("column", *table, name)]
    refuses = _refuses(look, table, it)
    told, fix = quoted(*table), f"-- contract.sql\n{it.fix}" if it.fix else ""
    missing = [name for name in never_null(it.parts) if look.known.made("column", *table, name) and look.known.of("column", *table, name).given is None]
    if refuses and it.what == "check" and missing:
        why = f"every INSERT of the old version fails from here on: it does not know {', '.join(map(quoted, missing))}, which has no default"
        yield look.finding("not-null-in-expand", f"{why}; require it in contract", fix, at=at)
    elif refuses:
        over, every = ", ".join(quoted(name) for name in dict.fromkeys(columns)) or "it", "every INSERT of the old version"
        fails = f"{every} but one fails: it leaves {over} at the same default" if it.what == "unique" else f"{every} fails: what {over} is by default breaks it"
        why = f"{told}: from here on {fails}; add it in contract"
        yield look.finding("holds-the-old-version", why, fix, at=at)
    elif before or not columns or refuses is None:
        over = ", ".join(quoted(name) for name in before or dict.fromkeys(columns)) or "its rows"
        why = HELD if before or not columns else BY_DEFAULT
        yield look.warning("holds-the-old-version", f"{told}: {why.format(over=over)}", fix, at=at)


def computed(look: Look, table: tuple[str, ...], index: Message, fix: str) -> Iterator[Finding]:
    """A warning where an index computes, for each row that the old version writes, what fails for some values."""
    parts = [*(each.index_elem.expr for each in index.index_params if each.index_elem.HasField("expr")), *_where(index)]
    failing = [part for part in parts if may_fail(part)]
    over = [name for name in columns_of(Holding("", tuple(failing), "")) if not look.known.made("column", *table, name)]
    if look.expanding and over:
        told, written = ", ".join(expression(part) for part in failing), ", ".join(map(quoted, dict.fromkeys(over)))
        why = f"from here on a write of the old version fails where {told} fails for what it writes to {written}; build it in contract"
        yield look.warning("holds-the-old-version", f"{quoted(*table)}: {why}", f"-- contract.sql\n{fix}")


def virtual(look: Look, table: tuple[str, ...], it: Message, at: Place) -> Iterator[Finding]:
    """A warning where a VIRTUAL column, which a SELECT * of the old version computes too, fails for what that version writes."""
    columns = list(columns_of(Holding("", (it.raw_expr,), "")))
    before = [name for name in columns if not look.known.made("column", *table, name)]
    over = before or (columns if value(it.raw_expr, _row(look, table)) is Unsure.UNKNOWN else [])
    if look.expanding and over and may_fail(it.raw_expr):
        why = f"a SELECT * of the old version fails from here on where {expression(it.raw_expr)} fails for what a row has in"
        how = "let it be NULL there, as a / NULLIF(b, 0) is"
        yield look.warning("holds-the-old-version", f"{quoted(*table)}: {why} {', '.join(map(quoted, dict.fromkeys(over)))}; {how}", at=at)


def _where(index: Message) -> list[Message]:
    return [index.where_clause] if index.HasField("where_clause") else []


def refuses_inserts(look: Look, table: tuple[str, ...], column: str, default: Message, at: Place) -> Iterator[Finding]:
    """What the default of a new column does to the old version's INSERTs, which do not know the column: an error where it does not fit in it, a warning
    where it calls what may fail.
    """
    new = look.known.of("column", *table, column)
    if look.expanding and new is not None and new.type is not None and not has_room(value(default), new.type):
        why = f"{expression(default)} does not fit in {quoted(column)}: if PostgreSQL takes it here, every INSERT of the old version"
        yield look.finding("set-default", f"{why} into {quoted(*table)} fails from here on", at=at)
    tree = pb.ResTarget(val=default)
    settings = [node for _, node in walk(tree) if kind(node) == "FuncCall" and words(node.funcname)[-1] == "current_setting" and len(node.args) == 1]
    calls = [*functions(tree, FREE - _OF_THE_SESSION), *("current_setting" for _ in settings[:1])]
    numbers = [relation_said(node.args[0]) for _, node in walk(tree) if kind(node) == "FuncCall" and words(node.funcname)[-1] == "nextval" and node.args]
    granted = any(look.known.knows(GRANTED, last) for last in ("", *(name[-1] for name in numbers if name)))
    if look.expanding and not granted and any(look.known.made(NAME, *name) for name in numbers):
        told = ", ".join(quoted(*name) for name in numbers)
        why = f"every INSERT of the old version into {quoted(*table)} takes a number from {told} from here on, and fails if its role may not"
        yield look.warning("set-default", f"{why}; GRANT USAGE ON SEQUENCE {told} before, to each that writes {quoted(*table)} and does not own {told}", at=at)
    if look.expanding and calls:
        why = f"every INSERT of the old version into {quoted(*table)} calls {', '.join(calls)}() for {quoted(column)} from here on, and fails if that fails"
        unnumbered = "; it fails in a session that has had no number yet" if functions(tree, FREE - _OF_THE_SESSION) != functions(tree, FREE) else ""
        how = "; current_setting(name, true) is NULL where nobody has set it" if settings else unnumbered
        yield look.warning("set-default", f"{why}{how}", at=at)


def may_fail(tree: Message) -> bool:
    """Whether an expression may fail for some value of its columns: a cast, a division, a function that is not known never to."""
    return any(_fails(node) for _, node in walk(tree))


def _fails(node: Message) -> bool:
    match kind(node):
        case "TypeCast":
            return kind(inner(node.arg)) != "A_Const" and type_name(node.type_name) not in _TOTAL_CASTS
        case "FuncCall":
            name = words(node.funcname)
            by = [node.args[at] for at in _TOTAL_BY.get(name[-1], ()) if at < len(node.args)]
            return name[-1] not in _TOTAL or not (len(name) == 1 or name[0] == "pg_catalog") or not all(map(_constant, by))
        case "A_Expr" if node.kind in (pb.AEXPR_OP, pb.AEXPR_LIKE, pb.AEXPR_ILIKE, pb.AEXPR_SIMILAR):
            operator = words(node.name)[-1]
            return (operator in ("/", "%") and not _never_zero(node.rexpr)) or (operator in _PATTERNS and not _constant(node.rexpr))
    return False


def _constant(tree: Message) -> bool:
    return not any(kind(node) == "ColumnRef" for _, node in walk(tree))


def _never_zero(divisor: Message) -> bool:
    """A number, or NULL instead of zero: NULLIF(a, 0)."""
    it = inner(divisor)
    if kind(it) == "A_Expr" and it.kind == pb.AEXPR_NULLIF:
        return value(it.rexpr) == 0
    return value(divisor) not in (0, None, *Unsure)


def default_changes(look: Look, table: tuple[str, ...], column: str, expression: Message | None, at: Place) -> Iterator[Finding]:
    """What holds the old version once a column that this expand has added has another default; None without one."""
    was, over = look.known.of("column", *table, column), [it for it in look.known.below("holding", *table) if column in list(columns_of(it))]
    told = {(each.rule, each.severity, each.message) for it in over for each in held(look, table, it, at)}
    given = value(expression) if expression is not None else None
    look.known.makes("column", *table, column, what=was._replace(given=as_type(given, was.type) if was.type is not None else given))
    yield from (each for it in over for each in held(look, table, it, at) if (each.rule, each.severity, each.message) not in told)


def drops(look: Look, table: tuple[str, ...], column: str) -> None:
    """What is over a column goes with it."""
    for it in look.known.below("holding", *table):
        if column in list(columns_of(it)):
            look.known.forgets("holding", *table, it.name or it.fix)


def never_null(parts: Iterable[Message]) -> list[str]:
    """The columns that a constraint says are not null: CHECK (a IS NOT NULL AND NOT b IS NULL), NOT NULL a."""
    found, left = [], list(parts)
    while left:
        node = left.pop()
        term = inner(node) if kind(node) == "Node" else node
        negated = kind(term) == "BoolExpr" and term.boolop == pb.NOT_EXPR
        test = inner(term.args[0]) if negated else term
        if kind(term) == "String":
            found.append(term.sval)
        elif kind(term) == "BoolExpr" and term.boolop == pb.AND_EXPR:
            left += term.args
        elif kind(test) == "NullTest" and test.nulltesttype == (pb.IS_NULL if negated else pb.IS_NOT_NULL) and kind(inner(test.arg)) == "ColumnRef":
            found.append(_column(inner(test.arg)))
    return found


def _row(look: Look, table: tuple[str, ...]) -> Row:
    """A row of the old version, as far as this release adds its columns."""

    def row(column: Message) -> Value:
        return look.known.of("column", *table, _column(column)).given if look.known.made("column", *table, _column(column)) else Unsure.UNKNOWN

    return row


def _refuses(look: Look, table: tuple[str, ...], it: Holding) -> bool | None:
    """Whether it refuses an INSERT of the old version, going by the columns that this release adds; None if that cannot be told."""
    row = _row(look, table)
    given = [value(_expression(part), row) for part in it.parts]
    if it.what == "foreign":
        return False if (all if it.whole else any)(each is None for each in given) else None
    if it.what == "unique":
        counts = True if it.where is None else value(it.where, row)
        if counts in (None, False) or Unsure.NEW in given or (None in given and not it.whole):
            return False
        return True if counts is True and not {Unsure.UNKNOWN, Unsure.FILLED} & set(given) else None
    if any(kind(inner(part)) == "String" for part in it.parts):  # NOT NULL a
        return True if None in given else None if Unsure.UNKNOWN in given else False
    return None if any(isinstance(each, Unsure) for each in given) else any(each is False for each in given)


def _expression(part: Message) -> Message:
    """Of a part of a constraint or of an index."""
    it = inner(part)
    if kind(it) == "IndexElem" and it.HasField("expr"):
        return it.expr
    name = it.name if kind(it) == "IndexElem" else it.sval if kind(it) == "String" else ""
    return pb.Node(column_ref=pb.ColumnRef(fields=[pb.Node(string=pb.String(sval=name))])) if name else part


def _column(reference: Message) -> str:
    """Of ``a.b`` the last."""
    return reference.fields[-1].string.sval or "*"


def columns_of(it: Holding) -> Iterator[str]:
    """The columns that it is over."""
    for part in it.parts:
        if part.WhichOneof("node") == "string":
            yield part.string.sval
        for _, node in walk(part):
            if kind(node) == "ColumnRef":
                yield _column(node)
            elif kind(node) == "IndexElem" and node.name:
                yield node.name
