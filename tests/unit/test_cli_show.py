"""What people get to see of a failure."""

import pytest

from bleen.cli.show import evidence_lines, span
from bleen.plan import duration

FAILED = {
    "test": "The shop answers",
    "result": "fail",
    "why": "the status was 500, not 200 or 204",
    "request": {"method": "POST", "url": "http://127.0.0.1:8081/", "headers": [["Authorization", "[redacted]"]], "body": '{"a": 1}'},
    "answer": {"status": 500, "headers": [["Content-Type", "text/html"]], "body": "<p>\n\x1b[2Jgröße\n", "bytes": 16},
    "expected": {"status": [200, 204], "body_contains": ["größe", "two"], "header": {"Content-Type": "text/html"}, "json": {"a.b": {"c": 3}}},
}


def test_a_failed_smoke_test_is_shown_as_http_writes_it_and_with_nothing_that_a_terminal_obeys() -> None:
    """The report shows the request, the answer and the expectation."""
    assert (
        "\n".join(evidence_lines([FAILED, {"test": "fine", "result": "pass"}]))
        == """\
  The shop answers: the status was 500, not 200 or 204
    request: POST http://127.0.0.1:8081/
      Authorization: [redacted]

      {"a": 1}
    answer: 500, 16 bytes
      Content-Type: text/html

      <p>
      \\x1b[2Jgröße
    expected: status 200 or 204; body contains "größe" and "two"; header Content-Type "text/html"; json a.b {"c": 3}"""
    )


def test_a_smoke_test_that_could_not_be_sent_or_got_no_answer_shows_what_there_is() -> None:
    """The report shows the request, the answer and the expectation."""
    away = {
        "test": "away",
        "result": "fail",
        "why": "no whole answer within 5 s",
        "request": {"method": "GET", "url": "http://a/", "headers": []},
        "expected": {},
    }
    assert evidence_lines([away]) == ["  away: no whole answer within 5 s", "    request: GET http://a/"]
    unsent = {"test": "unsent", "result": "inconclusive", "why": "${NAME} has no value", "expected": {"status": [200]}}
    assert evidence_lines([unsent]) == ["  unsent: ${NAME} has no value", "    expected: status 200"]


@pytest.mark.parametrize(
    ("seconds", "written", "told"),
    [
        (0, "0ms", "0s"),
        (0.04, "40ms", "40ms"),
        (0.25, "250ms", "250ms"),
        (1.55, "1.55s", "1.6s"),
        (90, "90s", "1m30s"),
        (900, "15m", "15m"),
        (86400, "1d", "24h00m"),
        (1000001, "1000001s", "277h46m"),
    ],
)
def test_a_length_of_time_is_written_out_and_told_as_far_as_it_matters(seconds: float, written: str, told: str) -> None:
    assert (duration(seconds), span(seconds)) == (written, told)
