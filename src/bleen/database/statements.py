"""SQL text as statements that know where they stand in their file."""

import re
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, NamedTuple

Dialect = Literal["postgres", "mysql", "sqlite"]
"""``mysql`` is MariaDB too."""

DIALECTS: tuple[Dialect, ...] = ("postgres", "mysql", "sqlite")


class Place(NamedTuple):
    """A position in a text: line and column, both from 1; a column counts characters."""

    line: int
    column: int


class Statement(NamedTuple):
    """One statement: its text, without the terminator and what stands before its first word, and where that word stands in its file."""

    text: str
    at: Place
    offset: int
    """Of the first character of ``text``, in characters from the beginning of the file."""

    @property
    def brief(self) -> str:
        """For messages: where it stands, if it stands in a file, and as much of it as a line has room for."""
        text = in_a_line(self.text)
        return f"{f'line {self.at.line}, ' if self.at.line else ''}{text if len(text) <= 80 else f'{text[:77]}...'}"


class Comment(NamedTuple):
    """A comment of a file: what it says, without its marks and the white space around it, and where its marks stand, in characters."""

    text: str
    begin: int
    end: int


class Unreadable(Exception):
    """A text that cannot be split or parsed; ``str()`` says why, ``at`` where."""

    def __init__(self, why: str, at: Place) -> None:
        super().__init__(why)
        self.at = at


def in_a_line(text: str) -> str:
    """A text without its line ends, and with single spaces."""
    return " ".join(text.split())


def place(text: str, offset: int) -> Place:
    """Line and column of a character of ``text``."""
    lines = _lines(text)
    line = bisect_right(lines, offset)
    return Place(line, offset - lines[line - 1] + 1)


@lru_cache(maxsize=4)
def _lines(text: str) -> list[int]:
    """Where each line begins: a file may have a hundred thousand statements."""
    return [0, *(match.end() for match in re.finditer("\n", text))]


def split(text: str, dialect: Dialect = "postgres") -> list[Statement]:
    """The statements of a text, in order; raises ``Unreadable`` if they cannot be told apart for certain."""
    if dialect == "postgres":
        from bleen.database import parser

        return parser.split(text)
    from bleen.database import tokens

    return tokens.split(text, dialect)


@lru_cache(maxsize=64)
def bare(text: str, dialect: Dialect) -> str:
    """A text without its comments; raises ``Unreadable``."""
    if dialect == "postgres":
        from bleen.database.parser import comments

        found = comments(text)
    else:
        from bleen.database import tokens

        found = tokens.comments(text, dialect)
    kept = zip([0, *(each.end for each in found)], [*(each.begin for each in found), len(text)], strict=True)
    return " ".join(text[begin:end] for begin, end in kept)


def whole(expression: str, dialect: Dialect) -> bool:
    """Whether a text stays one expression within the parentheses that are put around it: `a) OR (b` does not."""
    text = f"(\n{expression}\n)"
    try:
        if dialect == "postgres":
            from bleen.database.parser import Source

            words = [text[each.begin : each.end] for each in Source(text).tokens]
        else:
            from bleen.database import tokens

            sentences = tokens.read(text, dialect).sentences
            words = [each.word for each in sentences[0].tokens] if len(sentences) == 1 else []
    except Unreadable:
        return False
    return closed(words[1:-1])


def closed(words: Iterable[str]) -> bool:
    """Whether there are words, their parentheses match, and no comma parts them."""
    depth, some = 0, False
    for word in words:
        some = True
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(word, 0)
        if depth < 0 or (not depth and word in (",", ";")):
            return False
    return some and not depth
