"""A backfill.sql of PostgreSQL: one UPDATE of one table, taken apart."""

from collections.abc import Iterator, Sequence, Set
from typing import Any

from google.protobuf.message import Message
from psycopg import sql

from bleen.database.migration import Backfill
from bleen.database.parser import Source, Token, split
from bleen.database.statements import Place, Unreadable, place


def update(text: str) -> Backfill:
    """Its table, assignments and condition, as they were written, but for comments at their ends. Raises Unreadable for what cannot be done in batches."""
    statements = split(text)
    statement = statements[0] if statements else None
    source = Source(statement.text) if statement else None
    node = source.parsed()[0].node.update_stmt if source else None
    if statement is None or source is None or node is None or len(statements) > 1 or not node.target_list:
        at = statements[min(1, len(statements) - 1)].at if statements else Place(1, 1)
        raise Unreadable("a backfill is one UPDATE of one table, and nothing beside it; other statements go into expand.sql", at)
    for why, offset in _faults(node):
        raise Unreadable(why, place(text, statement.offset + source.characters(max(offset, 0))))
    if node.relation.HasField("alias"):
        return update(_without_alias(source, node))
    words = _Words(statement.text, source.tokens)
    starts = [source.characters(target.res_target.location) for target in node.target_list]
    where = words.where(starts[-1])
    ends = [words.comma(start) for start in starts[1:]] + [where or len(statement.text)]
    assigned = {target.res_target.name: words.between(words.equals(start) + 1, end) for target, start, end in zip(node.target_list, starts, ends, strict=True)}
    relation = node.relation
    table = sql.Identifier(*(part for part in (relation.schemaname, relation.relname) if part)).as_string()
    return Backfill(table, assigned, words.between(where + len("where"), len(statement.text)) if where else "")


class _Words:
    """The tokens of a statement that has been parsed: what stands between two of them is known to be an expression."""

    def __init__(self, text: str, tokens: Sequence[Token]) -> None:
        self._text, self._tokens = text, tokens

    def equals(self, start: int) -> int:
        """Where the = of an assignment stands, which begins at ``start`` with its column."""
        return next(t.begin for t in self._tokens if t.begin > start and t.kind == "ASCII_61")

    def comma(self, start: int) -> int:
        """Where the last comma before ``start`` stands."""
        return max(t.begin for t in self._tokens if t.begin < start and t.kind == "ASCII_44")

    def where(self, start: int) -> int:
        """Where the WHERE of the statement itself stands: the first one behind ``start`` that no bracket holds. 0 if there is none."""
        depth = 0
        for token in self._tokens:
            if token.begin < start:
                continue
            depth += (token.kind in ("ASCII_40", "ASCII_91")) - (token.kind in ("ASCII_41", "ASCII_93"))
            if token.kind == "WHERE" and not depth:
                return token.begin
        return 0

    def between(self, begin: int, end: int) -> str:
        inner = [t for t in self._tokens if begin <= t.begin < end]
        return self._text[inner[0].begin : inner[-1].end]


def _faults(node: Any) -> Iterator[tuple[str, int]]:
    """What stands against batches, with what to write instead, and where: in bytes, or -1."""
    relation = node.relation
    if node.HasField("with_clause"):
        yield "a backfill has no WITH; write what it names as a subquery: SET x = (SELECT …)", node.with_clause.location
    if node.from_clause:
        yield "a backfill has no FROM; write the other table as a subquery: SET x = (SELECT o.x FROM other o WHERE o.id = …)", relation.location
    if node.HasField("returning_clause"):
        yield "a backfill has no RETURNING: nobody would read it", relation.location
    if relation.HasField("alias") and _mistakable(node):
        why = "a backfill names its table without an alias, as it is read in more than one statement"
        yield f"{why}; who is meant by {relation.alias.aliasname} would be another one here: write the table's name", relation.location
    if not relation.inh:
        yield "a backfill has no ONLY; name the table whose rows are meant", relation.location
    if relation.catalogname:
        yield "a backfill names its table without a database", relation.location
    set_twice = set[str]()
    for each in node.target_list:
        target = each.res_target
        if target.val.HasField("multi_assign_ref"):
            yield f"a backfill sets one column at a time: SET {target.name} = …, and so on for each", target.location
        if target.indirection:
            yield f"a backfill sets a whole column: SET {target.name} = …, with the part changed in the expression", target.location
        if target.val.HasField("set_to_default"):
            yield f"a backfill says what it sets: write the default of {target.name} itself", target.location
        if target.name in set_twice:
            yield f"{target.name} is set twice", target.location
        set_twice.add(target.name)
    for message in below(node):
        kind = message.DESCRIPTOR.name
        if kind == "ParamRef":
            yield "there is nobody to give a value for a parameter; write the value itself", message.location
        if kind == "CurrentOfExpr":
            yield "a backfill has no cursor; write the condition itself", relation.location


def _mistakable(node: Any) -> bool:
    """Whether a name may mean another table or column once the table is called by its own name, not by its alias."""
    names = {node.relation.alias.aliasname, node.relation.relname}
    inner = [each for link in below(node) if link.DESCRIPTOR.name == "SubLink" for each in below(link)]
    others = {getattr(each, field) for each in inner for field in ("relname", "aliasname", "ctename") if field in each.DESCRIPTOR.fields_by_name}
    whole = [each for each in _references(node, names) if len(each.fields) != 2 or each.fields[1].HasField("a_star")]
    return bool(others & names or whole)


def _references(node: Any, names: Set[str]) -> list[Any]:
    """What begins with one of these names where a column is meant."""
    return [each for each in below(node) if each.DESCRIPTOR.name == "ColumnRef" and each.fields[0].string.sval in names]


def _without_alias(source: Source, node: Any) -> str:
    """An UPDATE whose table has its name alone, which stands before a column only where a subquery has columns of its own."""
    inner = {each.location for link in below(node) if link.DESCRIPTOR.name == "SubLink" for each in below(link) if each.DESCRIPTOR.name == "ColumnRef"}
    name = sql.Identifier(node.relation.relname).as_string()
    written = {source.characters(each.location): f"{name}." * (each.location in inner) for each in _references(node, {node.relation.alias.aliasname})}
    behind = next(at for at, token in enumerate(source.tokens) if token.kind == "SET")
    alias = behind - 2 if source.tokens[behind - 2].kind == "AS" else behind - 1
    text, end = source.text[: source.tokens[alias].begin], source.tokens[behind].begin
    for token, column in zip(source.tokens, source.tokens[2:], strict=False):
        if token.begin in written:
            text += source.text[end : token.begin] + written[token.begin]
            end = column.begin
    return text + source.text[end:]


def below(message: Message) -> Iterator[Any]:
    """Every node of a syntax tree."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in value if field.is_repeated else (value,):
                yield from below(each)
