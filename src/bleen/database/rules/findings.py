"""What the linter says, and what it remembers on its way through a release."""

from typing import Any, Literal, NamedTuple

from bleen.database.migration import Phase

Severity = Literal["error", "warn"]

IRREVERSIBLE = "irreversible"
"""The rule of expand.sql and revert.sql together, which ``database.reverting`` looks at."""


class Finding(NamedTuple):
    """One thing that is wrong with a statement.

    ``fix`` is the safe way, written out for *this* statement; empty if there is none. It is SQL that the linter itself passes, in the phase of
    the finding; a line that is only ``-- expand.sql``, ``-- backfill.sql`` or ``-- contract.sql`` says that what follows belongs in that file.
    """

    file: str
    line: int
    column: int
    rule: str
    severity: Severity
    message: str
    fix: str = ""


class Known:
    """What a release has made so far, statement by statement over all its files: free to change, since nobody uses it yet.

    A thing is a kind and its names, as the dialect compares them: ``made("table", "public", "users")``. What one phase made is in use in the next,
    and not free any more; a *fact* (a CHECK was validated) stays true.
    """

    def __init__(self) -> None:
        self._phase: Phase | None = None
        self._made: dict[tuple[str, ...], Any] = {}
        self._facts: dict[tuple[str, ...], Any] = {}
        self._ever: dict[tuple[str, ...], Any] = {}
        """Whatever became of it."""
        self._transactions: tuple[tuple[int, int], ...] = ()
        self._holds = -1

    def enters(self, phase: Phase, transactions: tuple[tuple[int, int], ...] = ()) -> None:
        """The statements that follow run in ``phase``, those of ``transactions`` (from character to character of their file) as one each."""
        self._transactions, self._holds = transactions, -1
        if phase != self._phase:
            self._made.clear()
        self._phase = phase

    def locks(self, offset: int) -> None:
        """The statement there has locks, which are held until its transaction ends."""
        self._holds = offset

    def locked(self, offset: int) -> bool:
        """Whether the statement there runs under the locks of another one."""
        return any(begin <= self._holds < offset < end for begin, end in self._transactions)

    def makes(self, kind: str, *names: str, what: Any = None) -> None:
        """``what`` is whatever the dialect wants to see again, by ``of``."""
        self._made[kind, *names] = self._ever[kind, *names] = what

    def made(self, kind: str, *names: str) -> bool:
        return (kind, *names) in self._made

    def of(self, kind: str, *names: str) -> Any:
        """What was said when it was made, or learned; None if it was not."""
        return self._made.get((kind, *names), self._facts.get((kind, *names)))

    def below(self, kind: str, *names: str) -> list[Any]:
        """What was said of everything of a kind that is named below: of the columns of a table."""
        return [what for each, what in self._made.items() if each[0] == kind and each[1:-1] == names]

    def forgets(self, kind: str, *names: str) -> None:
        """It was dropped or renamed, and everything with it that is named, or known, below it: the columns of a table."""
        below = 1 + len(names)
        self._made = {each: what for each, what in self._made.items() if each != (kind, *names) and not (each[1:below] == names and len(each) > below)}
        self._facts = {each: what for each, what in self._facts.items() if each[1:below] != names}

    def takes_back(self, kind: str, last: str) -> None:
        """It is not made any more, whatever stands before the last of its names."""
        self._made = {each: what for each, what in self._made.items() if each[0] != kind or each[-1] != last}

    def goes_back(self) -> None:
        """The statements that follow undo those before them: what was made is theirs to take, whatever uses it by now."""
        self._made = dict(self._ever)

    def uses(self) -> None:
        """A trigger on a table in use may use, from now on, anything that the release made."""
        self._made.clear()

    def undo(self) -> None:
        """Somebody rolled back: nothing is known for certain any more."""
        self._made.clear()
        self._facts.clear()

    def learns(self, fact: str, *names: str, what: Any = None) -> None:
        self._facts[fact, *names] = what

    def knows(self, fact: str, *names: str) -> bool:
        return (fact, *names) in self._facts

    def facts(self, fact: str) -> list[tuple[str, ...]]:
        """The names of which it is known."""
        return [each[1:] for each in self._facts if each[0] == fact]

    def unlearns(self, fact: str, *names: str) -> None:
        self._facts.pop((fact, *names), None)
