"""What the backfill of every dialect does alike: which rows it fills, and what it refuses."""

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol

from bleen.database.backfill import Rows
from bleen.database.migration import Backfill, Pair
from bleen.database.server import Server
from bleen.errors import Refused


class Group(NamedTuple):
    """Columns that are filled together: those of a pair, or those of none."""

    filled: Mapping[str, str]
    """Column to expression."""
    differs: str
    """Which rows want it, in SQL."""


class Known(Protocol):
    """A column as a dialect has it."""

    @property
    def generated(self) -> bool: ...


class Common(Rows, Protocol):
    """What a dialect adds is how it looks up, compares and fills."""

    TABLE: ClassVar[str]
    """Where a table may come from that is not there."""
    GENERATED: ClassVar[str]
    """What a column is that the server fills itself."""
    KEYS: ClassVar[str]
    """What it can go along."""

    _server: Server
    _columns: Mapping[str, Known]
    """Those of the table, by name, in their order; none if there is no such table."""
    _backfill: Backfill
    _late: bool
    """See ``run``."""
    _set: Mapping[str, str]
    """All that is filled: ``given``, and the columns of ``pairs`` as their triggers make them. A row that was filled otherwise would be taken for one that the
    new version wrote, and its old columns, which the old version reads, made from that.
    """
    _keys: Collection[tuple[str, ...]]
    _key: tuple[str, ...]
    """The one that it goes along; empty if there is none."""

    def __init__(self, backfill: Backfill, pairs: Sequence[Pair], late: bool) -> None:
        """To be called when the server and the columns are known."""
        self.table, self._backfill, self._late = backfill.table, backfill, late
        self.given = {self._column(name): expression for name, expression in backfill.set.items()}
        self.pairs = [pair for pair in pairs if self._is(pair.table)]
        self._set = {**self.given, **{name: expression for pair in self.pairs for name, expression in pair.forward.items()}}
        self._keys = self._unique()
        wanted = tuple(self._shown(self._column(name)) for name in backfill.key)
        self._key = next((key for key in self._keys if key == wanted or not wanted), ())

    def check(self) -> None:
        for name, expression in self.given.items():
            self._steady(f"{name} = {expression}", expression, clocks=False)
        if self._backfill.where:
            self._steady(f"WHERE {self._backfill.where}", self._backfill.where, clocks=True)

    def ready(self) -> None:
        if not self._columns:
            raise Refused(f"backfill: there is no table {self.table}; {self.TABLE}")
        for name in self._set:
            if name not in self._columns:
                raise Refused(f"backfill of {self.table}: it has no column {name}; it has {', '.join(self._columns)}")
            if self._columns[name].generated:
                raise Refused(f"backfill of {self.table}: {name} is {self.GENERATED}")
        self.along()
        if moved := {*self._key} & {*map(self._shown, self._set)}:
            raise Refused(f"backfill of {self.table}: it changes {', '.join(sorted(moved))}, which is of the key that it goes along; name another key")

    def along(self) -> None:
        if not self._key:
            wrong = f"({', '.join(self._backfill.key)}) is none of its keys" if self._backfill.key else "it has no key to go along"
            known = "; it has " + " and ".join(f"({', '.join(key)})" for key in self._keys) if self._keys else ""
            raise Refused(f"backfill of {self.table}: {wrong}{known}. {self.KEYS}")

    def number(self, condition: str) -> int:
        return int(self._server.rows(f"SELECT count(*) FROM {self._full} WHERE {condition}")[0][0])

    def as_added(self, condition: str) -> str:
        quoted = self._server.quoted
        columns = [f"{self._added(name)} AS {quoted(name)}" if name in self.given else quoted(name) for name in self._columns]
        added = f"(SELECT {', '.join([*self._hidden, *columns])} FROM {self._full}) AS {self._alias}"
        return f"({self._names()}) IN (SELECT {self._names()} FROM {added} WHERE {condition}\n)"

    def unwritten(self, names: Collection[str]) -> str:
        plain, empty, same = {name: self.default(name) for name in names}, dict.fromkeys(names, "NULL"), self.same
        return same(plain) if plain == empty else f"({' AND '.join(f'({same({n: plain[n]})} OR {same({n: empty[n]})})' for n in names)})"

    def _groups(self) -> list[Group]:
        """What is filled, and where.

        Where a pair holds, a row is also in step if the old side says what the new one does, as its writer wrote the new one; but not as ADD COLUMN left it,
        when nobody wrote it (with its default, or with NULL where that came later: SET DEFAULT changes no row): such a row is filled even if WHERE leaves it
        out, as the new version would read nothing there.
        """
        paired, where = {name for pair in self.pairs for name in pair.new}, self._backfill.where
        found = []
        for names, backward in [({*self._set} - paired, None), *((pair.new, pair.backward) for pair in self.pairs)]:
            if some := {name: expression for name, expression in self._set.items() if name in names}:
                unwritten, wants = self.unwritten(some), [f"NOT {self.same(some)}"]
                if self._late:
                    wants.append(unwritten)
                if backward is not None:
                    wants.append(f"NOT {self.same(backward)}" if self._late else f"(NOT {self.same(backward)} OR {unwritten})")
                if where:
                    wants.append(f"({where}\n)" if backward is None else f"(({where}\n) OR {unwritten})")
                found.append(Group(some, f"({' AND '.join(wants)})"))
        return found

    def _out_of_step(self) -> str:
        return f"({' OR '.join(differs for _, differs in self._groups())})"

    def _refused(self, said: str, what: str, way: str = "a constant") -> Refused:
        return Refused(f"backfill of {self.table}: {said}: {what} says something else each time, so that no row would ever be in step; write {way}")

    @property
    def _full(self) -> str:
        """The table, wherever one looks from."""
        return self.table

    def _column(self, name: str) -> str:
        """A name as the catalogue has it; case does not matter."""
        return next((each for each in self._columns if each.lower() == name.lower()), name)

    def _shown(self, name: str) -> str:
        """A column as keys name it."""
        return name

    def _is(self, table: str) -> bool:
        """Whether it is this table that is meant."""
        ...

    def _unique(self) -> Collection[tuple[str, ...]]:
        """The columns of each key that tells all rows apart and goes up along every column, the best to go along first."""
        ...

    def _steady(self, said: str, expression: str, clocks: bool) -> None:
        """Raises Refused unless this is one expression that says the same for the same row whenever it is asked."""
        ...

    def _names(self) -> str:
        """The columns of the key, as rows are put in order by them."""
        ...

    @property
    def _alias(self) -> str:
        """By what expressions may name the table."""
        ...

    @property
    def _hidden(self) -> Sequence[str]:
        """What of the key is no column of the table."""
        return ()

    def _added(self, name: str) -> str:
        """``default``, of the column's type."""
        return self.default(name)
