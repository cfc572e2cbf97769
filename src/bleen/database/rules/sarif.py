"""Findings as SARIF 2.1.0 (OASIS), for what shows them beside the code: GitHub code scanning, editors."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from bleen import __version__
from bleen.database.rules.findings import Finding

_LEVELS = {"error": "error", "warn": "warning"}


def log(findings: Sequence[Finding], rules: Mapping[str, str]) -> dict[str, Any]:
    """One run, with every rule that could have found something. Columns count characters (``unicodeCodePoints``), as ours do."""
    names = list(rules)
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {"name": "bleen", "version": __version__, "rules": [{"id": name, "shortDescription": {"text": rules[name]}} for name in names]}
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, names) for finding in findings],
            }
        ],
    }


def _result(finding: Finding, names: list[str]) -> dict[str, Any]:
    fix = f"\n\nThe safe way:\n\n{finding.fix}" if finding.fix else ""
    place = {"artifactLocation": {"uri": quote(finding.file)}, "region": {"startLine": finding.line, "startColumn": finding.column}}
    return {
        "ruleId": finding.rule,
        "ruleIndex": names.index(finding.rule),
        "level": _LEVELS[finding.severity],
        "message": {"text": finding.message + fix},
        "locations": [{"physicalLocation": place}],
    }
