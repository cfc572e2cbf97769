"""What the linter says."""

from typing import Literal, NamedTuple

Phase = Literal["expand", "contract"]
Severity = Literal["error", "warn"]


class Finding(NamedTuple):
    """One thing that is wrong with a statement. ``fix`` is the safe way, written out for *this* statement where it can be; empty if there is none."""

    file: str
    line: int
    column: int
    rule: str
    severity: Severity
    message: str
    fix: str = ""
