"""Overrides: a comment that names a rule and a reason, ``-- bleen: allow RULE reason``, before a statement, inside it, or behind it on its last line.

A statement that cannot be parsed cannot be overridden: where it ends is not known either.
"""

import difflib
import re
from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple, Protocol

from bleen.database.rules.findings import IRREVERSIBLE, Finding, Severity
from bleen.database.statements import Comment, Statement, Unreadable, place

RULES = {
    "bad-override": "A `-- bleen: allow RULE reason` names a rule that exists, and a reason.",
    "unused-override": "An override whose statement does not break the rule hides the next one that does: remove it.",
}

_ALLOW = re.compile(r"bleen:\s*allow\s+(?P<rule>\S+?):?(?:\s+(?P<reason>.*\w.*))?", re.DOTALL)


class Reader(Protocol):
    """What is asked of a dialect."""

    def split(self, text: str) -> list[Statement]: ...
    def comments(self, text: str) -> list[Comment]: ...


class Override(NamedTuple):
    """A rule that is allowed for one statement; without one, it stands behind the last."""

    rule: str
    comment: Comment
    statement: Statement | None


def allows(text: str, rules: Container[str]) -> bool:
    """Whether a text with its comments has an override of one of these rules, whatever the reason."""
    return any(said["rule"] in rules for said in re.finditer(r"bleen:\s*allow\s+(?P<rule>[\w-]+)", text))


def applied(findings: Sequence[Finding], text: str, file: str, dialect: Reader, rules: Iterable[str], unasked: Container[str] = ()) -> list[Finding]:
    """What is left of the findings in a file, and what is wrong with its overrides; ``rules`` are those that may be named, ``unasked`` those of them of which
    nobody knows here whether a statement breaks them.
    """
    try:
        comments, statements = dialect.comments(text), dialect.split(text)
    except Unreadable:
        return list(findings)  # says so already
    allowed, left = [], list(findings)
    for comment in comments:
        if not comment.text.lower().startswith("bleen:"):
            continue
        said = _ALLOW.fullmatch(comment.text)
        fault = _fault(said, rules)
        if said is None or fault:
            left.append(_finding(file, text, comment, "bad-override", "error", fault))
        else:
            allowed.append(Override(said["rule"], comment, _statement_of(comment, comments, statements, text)))
    for override in allowed:
        hit = {finding for finding in findings if finding.rule == override.rule and _stands_in(finding, override.statement, text)}
        left = [finding for finding in left if finding not in hit]
        if not hit and override.rule not in unasked:
            why = f"allows {override.rule}, which its statement does not break; remove it"
            left.append(_finding(file, text, override.comment, "unused-override", "warn", why))
    return left


def _fault(said: re.Match[str] | None, rules: Iterable[str]) -> str:
    if said is None:
        return "not understood; write `-- bleen: allow RULE reason`"
    if said["rule"] not in rules:
        if said["rule"] == IRREVERSIBLE:
            return f"no statement may be {IRREVERSIBLE} by itself; write `-- bleen: {IRREVERSIBLE} REASON` in revert.sql"
        near = difflib.get_close_matches(said["rule"], list(rules), 1)
        meant = f"; did you mean {near[0]}?" if near else "; `bleen migrate lint --rules` lists them"
        return f"there is no rule {said['rule']}{meant}"
    return "" if said["reason"] else f"says no reason; write `-- bleen: allow {said['rule']} why it is safe here`"


def _statement_of(comment: Comment, comments: Iterable[Comment], statements: Sequence[Statement], text: str) -> Statement | None:
    """The statement that the comment stands in, or behind on its last line with no other one following there; else the next one.

    It stands in a statement until that ends, with a semicolon.
    """
    before = [each for each in statements if each.offset < comment.begin]
    after = next((each for each in statements if each.offset > comment.begin), None)
    if not before:
        return after
    last = before[-1]
    end = last.offset + len(last.text)
    between = [each for each in comments if end <= each.begin < comment.begin]
    begins, ends = [*(each.begin for each in between), comment.begin], [end, *(each.end for each in between)]
    if comment.begin < end or not any(text[behind:before].strip() for behind, before in zip(ends, begins, strict=True)):
        return last
    rest_of_line = text.find("\n", comment.end)
    next_is_here = after is not None and (rest_of_line < 0 or after.offset < rest_of_line)
    return last if "\n" not in text[end : comment.begin] and not next_is_here else after


def _stands_in(finding: Finding, statement: Statement | None, text: str) -> bool:
    return statement is not None and statement.at <= (finding.line, finding.column) < place(text, statement.offset + len(statement.text))


def _finding(file: str, text: str, comment: Comment, rule: str, severity: Severity, why: str) -> Finding:
    at = place(text, comment.begin)
    return Finding(file, at.line, at.column, rule, severity, f"this override {why}" if rule == "unused-override" else f"the override {why}")
