"""PostgreSQL's own parser (libpg_query, of PostgreSQL 18) over a file: its statements, their syntax trees and its comments, in characters of the file.

libpg_query counts bytes (of an error, characters), ends a text at its first NUL, and takes leading white space and comments into a statement: none of that
leaves this module.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from textwrap import shorten
from typing import NamedTuple

from google.protobuf.message import DecodeError
from postgast import PgQueryError, parse, scan
from postgast import pg_query_pb2 as pb

from bleen.database.statements import Comment, Statement, Unreadable, place

_KINDS = {number: value.name for number, value in pb.Token.DESCRIPTOR.values_by_number.items()}
"""A character that PostgreSQL has no use for is a token of its own, without a name."""

_TOO_DEEP = "an expression is nested too deeply to be read; write it with fewer levels"
_DEEPEST = 2000
"""Levels, far more than can be read: those of protobuf end at a hundred."""
_SIGNS = re.compile(r"/\*[-~!@#^&|`?+*/%<>=]{2000,}")
"""The scanner reads such a run anew, to its end, for each comment that begins in it."""
_OPENS, _CLOSES = frozenset("ASCII_40 ASCII_91 CASE".split()), frozenset("ASCII_41 ASCII_93 END_P".split())
_JOINS = frozenset("UNION INTERSECT EXCEPT JOIN".split())
_BEGINS = _JOINS | frozenset("ASCII_44 ASCII_59 AND OR WHEN THEN ELSE".split())
"""Before what is no part of the expression that stands before it; AND and OR in a row are one level."""


class Token(NamedTuple):
    """A token, comments excepted: its kind as PostgreSQL's grammar calls it, and where it stands, in characters."""

    kind: str
    begin: int
    end: int


class Parsed(NamedTuple):
    """A statement, its syntax tree and its tokens."""

    statement: Statement
    node: pb.Node
    tokens: tuple[Token, ...]


class Source:
    """A file as the scanner sees it: its tokens and comments. Raises ``Unreadable`` where a string, a name or a comment has no end."""

    def __init__(self, text: str) -> None:
        nul = text.find("\0")
        if nul >= 0:
            raise Unreadable("there is a NUL character; PostgreSQL knows none", place(text, nul))
        for signs in _SIGNS.finditer(text):
            if signs[0].count("/*") > _DEEPEST:
                raise Unreadable("comments are nested too deeply to be read; write them with fewer levels", place(text, signs.start()))
        self.text = text
        try:
            text.encode()
            self._bytes_before = _bytes_before(text)
            scanned = scan(text).tokens
        except UnicodeEncodeError as error:
            raise Unreadable("there is half a surrogate pair, which is no character", place(text, error.start)) from None
        except PgQueryError as error:
            raise Unreadable(shorten(error.message, 200), place(text, max(error.cursorpos - 1, 0))) from None
        self.tokens: list[Token] = []
        self.comments: list[Comment] = []
        self.joined = text
        """As libpg_query takes it: with blanks for the comments within a string that goes on in another line, over which PostgreSQL passes."""
        within: list[Comment] = []
        behind = 0  # the first comment after the last token
        for each in scanned:
            begin, end, kind = self.characters(each.start), self.characters(each.end), _KINDS.get(each.token, "")
            if kind == "SQL_COMMENT":
                self.comments.append(Comment(text[begin + 2 : end].strip(), begin, end))
            elif kind == "C_COMMENT":
                self.comments.append(Comment(text[begin + 2 : end - 2].strip(), begin, end))
            else:
                if kind == "SCONST" and self.tokens and self.tokens[-1].kind == kind and text[begin] == text[self.tokens[-1].begin] == "'":
                    within += (comment for comment in self.comments[behind:] if text.startswith("--", comment.begin))
                self.tokens.append(Token(kind, begin, end))
                behind = len(self.comments)
        if within:
            kept = zip([0, *(each.end for each in within)], [*within, None], strict=True)
            self.joined = "".join(f"{text[end : each.begin]}{' ' * (each.end - each.begin)}" if each else text[end:] for end, each in kept)
            self._bytes_before = _bytes_before(self.joined)

    def characters(self, offset: int) -> int:
        """An offset in bytes as one in characters."""
        return offset if self._bytes_before is None else bisect_left(self._bytes_before, offset)

    def parsed(self) -> list[Parsed]:
        """Every statement of the file. Raises ``Unreadable`` if one of them is no SQL of PostgreSQL."""
        found, at = [], 0
        for tree in self._trees(0, len(self.text)):
            begin = self.characters(tree.stmt_location)
            end = self.characters(tree.stmt_location + tree.stmt_len) if tree.stmt_len else len(self.text)
            while self.tokens[at].begin < begin or self.tokens[at].kind == "ASCII_59":
                at += 1
            first = at
            while at < len(self.tokens) and self.tokens[at].begin < end and not (tree.stmt_len == 0 and self.tokens[at].kind == "ASCII_59"):
                at += 1
            tokens = tuple(self.tokens[first:at])
            offset = tokens[0].begin
            found.append(Parsed(Statement(self.text[offset : tokens[-1].end], place(self.text, offset), offset), tree.stmt, tokens))
        return found

    def readable(self) -> tuple[list[Parsed], list[Unreadable]]:
        """The statements that can be read, and what is wrong with the others. If there are others, it is only likely where each ends: nothing to be run."""
        try:
            return self.parsed(), []
        except Unreadable:
            found: list[Parsed] = []
            faults: list[Unreadable] = []
            for tokens in self._pieces():
                begin, end = tokens[0].begin, tokens[-1].end
                try:
                    found += [Parsed(Statement(self.text[begin:end], place(self.text, begin), begin), tree.stmt, tokens) for tree in self._trees(begin, end)]
                except Unreadable as fault:
                    faults.append(fault)
            return found, faults

    def _pieces(self) -> Iterator[tuple[Token, ...]]:
        """What stands between semicolons, those of BEGIN ATOMIC ... END and in parentheses excepted."""
        piece: list[Token] = []
        atomic = depth = 0
        for token in self.tokens:
            if token.kind == "ATOMIC" and piece and piece[-1].kind == "BEGIN_P":
                atomic = 1
            elif atomic and token.kind in ("CASE", "END_P"):
                atomic += 1 if token.kind == "CASE" else -1
            depth = max(0, depth + (token.kind == "ASCII_40") - (token.kind == "ASCII_41"))
            if token.kind != "ASCII_59" or atomic or depth:
                piece.append(token)
            elif piece:
                yield tuple(piece)
                piece = []
        if piece:
            yield tuple(piece)

    def _trees(self, begin: int, end: int) -> Sequence[pb.RawStmt]:
        """The syntax trees of a part of the file."""
        first, behind = (bisect_left(self.tokens, offset, key=lambda token: token.begin) for offset in (begin, end))
        if behind - first > _DEEPEST < _levels(self.tokens[first:behind]):
            raise Unreadable(_TOO_DEEP, place(self.text, begin))
        try:
            return list(parse(self.joined[begin:end]).stmts)
        except PgQueryError as error:
            at = begin + max(error.cursorpos - 1, 0)
            raise Unreadable(self._explained(error.message, at), place(self.text, at)) from None
        except DecodeError:
            raise Unreadable(_TOO_DEEP, place(self.text, begin)) from None

    def _explained(self, message: str, begin: int) -> str:
        message = shorten(message, 200)
        if self.text[begin : begin + 1] == "\\":
            return f"{message}: a command of psql; bleen runs SQL and nothing else"
        if self.text[begin : begin + 1] == "\ufeff":
            return "a byte order mark stands here, inside of the text; take it out"
        return message


def _bytes_before(text: str) -> list[int] | None:
    """Each character; None where it is as many as characters."""
    return None if text.isascii() else [0, *accumulate(len(character.encode()) for character in text)]


def _levels(tokens: Sequence[Token]) -> int:
    """At most so many levels come of what is written in a row: operators, casts, UNION, JOIN. Each takes from the stack of the library, whose end is the
    end of the process; what is nested by parentheses and the like its grammar bounds.
    """
    deepest = run = joined = between = most = 0
    around: list[tuple[int, int, int, int]] = []
    for token in tokens:
        if token.kind in _OPENS:
            around.append((run, joined, between, most))
            run = joined = between = most = 0
        elif token.kind in _CLOSES and around:
            inside = most
            run, joined, between, most = around.pop()
            run += 1 + inside
        elif token.kind == "AND" and between:
            between, run = between - 1, run + 1
        elif token.kind in _BEGINS:
            run = between = 0
            joined = 0 if token.kind == "ASCII_59" else joined + (token.kind in _JOINS)
        else:
            between, run = between + (token.kind == "BETWEEN"), run + 1
        most = max(most, run + joined)
        deepest = max(deepest, most)
    return deepest


def split(text: str) -> list[Statement]:
    """The statements of a text, in order. Raises ``Unreadable``."""
    return [each.statement for each in Source(text).parsed()]


def comments(text: str) -> list[Comment]:
    """The comments of a text, in order. Raises ``Unreadable``."""
    return Source(text).comments


def added(text: str, table: str) -> dict[str, str]:
    """The columns that these statements add to a table, written as SQL does, and their types as the parser calls them: ``varchar(255)``. Raises
    ``Unreadable``.
    """
    name = Source(f"TABLE {table}").parsed()[0].node.select_stmt.from_clause[0].range_var.relname
    found = {}
    for node in (each.node.alter_table_stmt for each in Source(text).parsed() if each.node.HasField("alter_table_stmt")):
        for command in (each.alter_table_cmd for each in node.cmds if node.relation.relname == name):
            column = getattr(command, "def").column_def
            if names := column.type_name.names:
                most = ",".join(str(each.a_const.ival.ival) for each in column.type_name.typmods)
                found[column.colname] = names[-1].string.sval + (f"({most})" if most else "") + "[]" * bool(column.type_name.array_bounds)
    return found


STALE = 'will fail ("cached plan must not change result type"); name the columns, or have drivers prepare again'
"""What becomes of a `SELECT *` that was prepared on an open connection, of a table that is reshaped, and the way out."""


def reshaped(text: str) -> list[str]:
    """The tables that get or lose a column by these statements, those that they make themselves excepted. A `SELECT *` that was prepared before fails
    afterwards (PostgreSQL manual, PREPARE: the columns of the result must not change).
    """
    made, found = set[tuple[str, str]](), list[str]()
    for node in (each.node for each in Source(text).parsed()):
        if node.HasField("create_stmt"):
            made.add((node.create_stmt.relation.schemaname, node.create_stmt.relation.relname))
        elif node.HasField("alter_table_stmt"):
            relation = node.alter_table_stmt.relation
            changes = any(command.alter_table_cmd.subtype in (pb.AT_AddColumn, pb.AT_DropColumn) for command in node.alter_table_stmt.cmds)
            if changes and (relation.schemaname, relation.relname) not in made and relation.relname not in found:
                found.append(relation.relname)
    return found
