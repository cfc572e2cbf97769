"""Figures, what they are compared with, and whether they are what issue 2 asks for."""

from collections.abc import Iterable
from statistics import median
from typing import Any, NamedTuple


class Row(NamedTuple):
    """One thing that was measured, usually several times."""

    what: str
    values: tuple[float, ...]
    unit: str
    base: float | None = None
    """The median of what it is compared with, from the same run."""
    limit: float | None = None
    """At most so many times the base; without a base, at most so much."""

    @property
    def middle(self) -> float:
        return median(self.values)

    @property
    def ratio(self) -> float | None:
        return self.middle / self.base if self.base else None

    @property
    def met(self) -> bool | None:
        """Whether the limit is kept; None without one."""
        if self.limit is None:
            return None
        return (self.middle if self.ratio is None else self.ratio) <= self.limit


class Table:
    """The rows of one benchmark; each is printed when it is there."""

    def __init__(self, name: str, quiet: bool) -> None:
        self.name, self._quiet = name, quiet
        self.rows: list[Row] = []
        self.say(f"\n{name:82} {'n':>5} {'median':>10} {'min':>10} {'max':>10}        ratio  limit")

    def add(self, what: str, values: Iterable[float], unit: str = "ms", base: Row | None = None, limit: float | None = None) -> Row:
        row = Row(what, tuple(values), unit, base.middle if base else None, limit)
        self.rows.append(row)
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
        bound = "" if limit is None else f"{limit:g}{'x' if base else ''}"
        verdict = {None: "", True: "kept", False: "MISSED"}[row.met]
        figures = " ".join(f"{_short(figure):>10}" for figure in (row.middle, min(row.values), max(row.values)))
        self.say(f"  {what:80} {len(row.values):5} {figures} {unit:6} {ratio:>6} {bound:>6} {verdict}".rstrip())
        return row

    def say(self, line: str) -> None:
        """Something for people."""
        if not self._quiet:
            print(line, flush=True)

    @property
    def missed(self) -> list[str]:
        return [f"{self.name}: {row.what}" for row in self.rows if row.met is False]

    def to_json(self) -> list[dict[str, Any]]:
        return [{**row._asdict(), "median": row.middle, "ratio": row.ratio, "met": row.met} for row in self.rows]


def _short(figure: float) -> str:
    return f"{figure:,.0f}" if figure == int(figure) or abs(figure) >= 1000 else f"{figure:.3g}" if abs(figure) < 1 else f"{figure:.2f}"
