"""PostgreSQL's own parser (libpg_query, of PostgreSQL 18) over a file: its statements, their syntax trees and its comments, in characters of the file.

libpg_query counts bytes, ends a text at its first NUL, and takes leading white space and comments into a statement: none of that leaves this module.
"""

from bisect import bisect_left
from itertools import accumulate
from typing import NamedTuple

from google.protobuf.message import DecodeError
from postgast import PgQueryError, parse, scan
from postgast import pg_query_pb2 as pb

from bleen.database.statements import Comment, Place, Statement, Unreadable, place


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
        self.text = text
        try:
            self._bytes_before = None if text.isascii() else [0, *accumulate(len(character.encode()) for character in text)]
            scanned = scan(text).tokens
        except UnicodeEncodeError as error:
            raise Unreadable("there is half a surrogate pair, which is no character", place(text, error.start)) from None
        except PgQueryError as error:
            raise Unreadable(error.message, self.place_of(error)) from None
        self.tokens: list[Token] = []
        self.comments: list[Comment] = []
        for each in scanned:
            begin, end, kind = self.characters(each.start), self.characters(each.end), pb.Token.Name(each.token)
            if kind == "SQL_COMMENT":
                self.comments.append(Comment(text[begin + 2 : end].strip(), begin, end))
            elif kind == "C_COMMENT":
                self.comments.append(Comment(text[begin + 2 : end - 2].strip(), begin, end))
            else:
                self.tokens.append(Token(kind, begin, end))

    def characters(self, offset: int) -> int:
        """An offset in bytes as one in characters."""
        return offset if self._bytes_before is None else bisect_left(self._bytes_before, offset)

    def place_of(self, error: PgQueryError) -> Place:
        return place(self.text, self.characters(max(error.cursorpos - 1, 0)))

    def parsed(self) -> list[Parsed]:
        """Every statement of the file. Raises ``Unreadable`` if one of them is no SQL of PostgreSQL."""
        try:
            trees = parse(self.text).stmts
        except PgQueryError as error:
            raise Unreadable(self._explained(error), self.place_of(error)) from None
        except DecodeError:
            raise Unreadable("an expression is nested too deeply to be read; write it with fewer levels, or as several", place(self.text, 0)) from None
        found, at = [], 0
        for tree in trees:
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

    def _explained(self, error: PgQueryError) -> str:
        begin = self.characters(max(error.cursorpos - 1, 0))
        if self.text[begin : begin + 1] == "\\":
            return f"{error.message}: a command of psql; bleen runs SQL and nothing else"
        if self.text[begin : begin + 1] == "\ufeff":
            return "the file begins with a byte order mark; save it without"
        return error.message


def split(text: str) -> list[Statement]:
    """The statements of a text, in order. Raises ``Unreadable``."""
    return [each.statement for each in Source(text).parsed()]


def comments(text: str) -> list[Comment]:
    """The comments of a text, in order. Raises ``Unreadable``."""
    return Source(text).comments
