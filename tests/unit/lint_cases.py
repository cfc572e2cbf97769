"""What the cases of each dialect's rules have in common: in which phases one is looked at, and what a fix is for which file."""

from collections.abc import Iterable, Iterator

from bleen.database.migration import Phase
from bleen.database.rules import Script, lint
from bleen.database.statements import Dialect


def phases(told: str) -> list[Phase]:
    return ["expand", "contract"] if told == "both" else [told]  # type: ignore[list-item]


def each(cases: Iterable[tuple[str, str]]) -> Iterator[tuple[Phase, str]]:
    """Every case, in each phase that it is of."""
    return ((phase, sql) for told, sql in cases for phase in phases(told))


def fixes(dialect: Dialect, cases: Iterable[tuple[str, str]]) -> set[tuple[Phase, str]]:
    """The ways out that are named of cases."""
    return {(phase, finding.fix) for phase, sql in each(cases) for finding in lint(sql, dialect, phase, "a.sql") if finding.fix}


def parts(fix: str, phase: Phase) -> list[Script]:
    """A fix by the files that it names."""
    found = [Script("", "", phase)]
    for line in fix.splitlines():
        if line in ("-- expand.sql", "-- backfill.sql", "-- contract.sql"):
            found.append(Script("", line, line[3:-4]))  # type: ignore[arg-type]
        else:
            found[-1] = found[-1]._replace(text=f"{found[-1].text}{line}\n")
    return found
