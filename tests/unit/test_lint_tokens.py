"""The rules of MySQL and of SQLite, which are read by tokens, case by case: what each finds, what it lets pass, and that the way out which it names is one."""

import lint_cases_sqlite as of_sqlite
import pytest
from lint_cases import each, fixes, parts

import lint_cases_mysql as of_mysql
from bleen.database.migration import Phase
from bleen.database.rules import Finding, lint, lint_release, mysql, sqlite
from bleen.database.statements import Dialect

BAD = {"mysql": of_mysql.BAD, "sqlite": of_sqlite.BAD}
WITH_OTHERS = {"mysql": of_mysql.WITH_OTHERS, "sqlite": of_sqlite.WITH_OTHERS}
WARN = {"mysql": of_mysql.WARN, "sqlite": of_sqlite.WARN}
CASES = [(dialect, rule) for dialect, rules in BAD.items() for rule in rules]


def found(sql: str, dialect: Dialect, phase: Phase) -> list[Finding]:
    return lint(sql, dialect, phase, "a.sql")


@pytest.mark.parametrize(("dialect", "rule"), CASES)
def test_what_a_rule_forbids_is_found_by_it_and_by_no_other(dialect: Dialect, rule: str) -> None:
    """ "Per phase and per dialect; located (file:line:col), with why and with the safe way written out" """
    for phase, sql in each(BAD[dialect][rule]):
        findings = found(sql, dialect, phase)
        assert rule in {finding.rule for finding in findings} <= {rule, *WITH_OTHERS[dialect].get(rule, ())}, (phase, sql, findings)
        assert all(finding.message and finding.file == "a.sql" and finding.column >= 1 for finding in findings), (phase, sql)
        assert max(finding.line for finding in findings) == sql.count("\n") + 1, (phase, sql)
        assert rule in WARN[dialect] or all(finding.severity == "error" for finding in findings if finding.rule == rule), (phase, sql)


@pytest.mark.parametrize(("dialect", "good"), [("mysql", of_mysql.GOOD), ("sqlite", of_sqlite.GOOD)])
def test_what_hurts_nobody_passes_without_a_word(dialect: Dialect, good: list[tuple[str, str]]) -> None:
    assert {(phase, sql): findings for phase, sql in each(good) if (findings := found(sql, dialect, phase))} == {}


def test_every_rule_has_a_case_and_every_finding_a_rule() -> None:
    assert BAD["mysql"].keys() == mysql.RULES.keys()
    assert BAD["sqlite"].keys() == sqlite.RULES.keys()


@pytest.mark.parametrize(("dialect", "rule"), CASES)
def test_the_safe_way_passes_itself(dialect: Dialect, rule: str) -> None:
    """ "with the safe way written out for *this* statement" """
    for phase, fix in fixes(dialect, BAD[dialect][rule]):
        assert [finding for finding in lint_release(parts(fix, phase), dialect) if finding.severity == "error"] == [], (phase, fix)
