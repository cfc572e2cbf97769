"""An expression of a pair, as a dialect has read it."""

from collections.abc import Callable
from typing import NamedTuple


class Reference(NamedTuple):
    """Where an expression names a column, in characters."""

    column: str
    begin: int
    end: int


class Expression(NamedTuple):
    """A SQL expression over columns of one row."""

    text: str
    references: tuple[Reference, ...]
    functions: tuple[tuple[str, ...], ...]
    """The names of the functions that it calls, each perhaps with a schema."""
    types: tuple[str, ...] = ()
    """The types that it casts to, without their schemas; told on PostgreSQL alone."""

    def over(self, name: Callable[[str], str]) -> str:
        """The expression, in parentheses, with ``name(column)`` where it names a column."""
        parts, at = [], 0
        for column, begin, end in self.references:
            parts += [self.text[at:begin], name(column)]
            at = end
        return f"({''.join(parts)}{self.text[at:]})"
