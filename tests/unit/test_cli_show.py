"""What people get to see of a failure."""

import time
from argparse import Namespace
from pathlib import Path

import pytest

from bleen.cli import main
from bleen.cli.access import Access
from bleen.cli.addresses import changes
from bleen.cli.migrating import unfinished
from bleen.cli.picture import apart, lines
from bleen.cli.show import Lines, Waiting, event_line, evidence_lines, span
from bleen.cli.verbs import deploy
from bleen.database.ledger import Entry, State
from bleen.host import clock
from bleen.lifecycle import Event, Phase, Release, ReleaseId
from bleen.model import Environment, Result, Routing, Target, Verdict
from bleen.plan import Plan, Probe, Step, duration
from bleen.testing.service import FakeService

PLAN = Plan("shop", "1.1", "green", None, "", 0, {"kind": "fake"}, Probe(), (), (Step(100, 5.0),), "auto", 60, "abort", 900, 30, 0)

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
    ("counts", "said"),
    [
        ({"unreadable": 0}, "1.1 wrote 3 rows of a pair, and 1.0 reads them all"),
        ({"unreadable": 2, "lost": 0}, "1.1 wrote 3 rows of a pair, and 1.0 reads all but 2"),
        (
            {"unreadable": 0, "lost": 1, "such": "id = 2"},
            "1.1 wrote 3 rows of a pair; 1 row says more in the new columns than 1.0 sees (such as id = 2): where it updates the old ones, that is overwritten",
        ),
        (
            {"unreadable": 1, "lost": 2, "such": ""},
            "1.1 wrote 3 rows of a pair, and 1.0 reads all but 1; 2 rows say more in the new columns than 1.0 sees: where it updates the old ones, that is"
            " overwritten",
        ),
    ],
)
def test_an_account_says_what_the_old_version_cannot_read_and_what_it_would_overwrite(counts: dict[str, int | str], said: str) -> None:
    event = Event(9, 0.0, Phase.ROLLED_BACK, 0, True, "", "UNDOING done", {"written": {"a pair": {"written": 3, **counts}}})
    assert event_line(event, PLAN._replace(old_version="1.0")).endswith(f"; {said}")


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


def test_why_a_release_is_halted_is_not_told_as_what_it_waits_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    waiting, release = Waiting(Namespace(json=False)), Release(ReleaseId("shop", 2), PLAN, Phase.ROLLING_BACK, why="1.0 to be healthy")
    now = 5.0
    waiting.told(release, ())
    now = 10.0
    waiting.told(release._replace(why="1.0 is not healthy", halted="1.0 is not healthy"), ())
    assert capsys.readouterr().err == "ROLLING_BACK: waits for 1.0 to be healthy\n"


def test_a_release_that_takes_long_is_not_silent_in_a_log_and_does_not_chatter(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lines, release = Lines(), Release(ReleaseId("shop", 2), PLAN, Phase.EXPANDING)
    said = []
    for second in range(200):
        now = float(second)
        lines.told(release._replace(why=f"the backfill: {min(second, 30)} of 30 rows"), ())
        if out := capsys.readouterr().out:
            said.append((second, out.partition("EXPANDING")[2].strip()))
    assert said == [(at, f"waits for the backfill: {min(at, 30)} of 30 rows") for at in (10, 20, 30, 90, 150)]


def test_drift_of_nothing_but_addresses_names_them() -> None:
    """It read "the router says 100 % to green-2, we last confirmed 100 % to green-2"."""
    here, there, green = Target("127.0.0.1", 1), Target("127.0.0.1", 2), Environment("green", 2)
    confirmed = Routing({green: 100}, None, {green: (here, there)})
    assert apart(confirmed._replace(targets={green: (there,)}), confirmed) == "100 % to green-2 at 127.0.0.1:2"
    assert apart(confirmed, confirmed._replace(targets={})) == "100 % to green-2 at 127.0.0.1:1, 127.0.0.1:2"
    assert apart(confirmed._replace(targets={}), confirmed) == "100 % to green-2 at no address"
    assert apart(confirmed._replace(shares={}), confirmed) == "nothing is served"


def test_a_change_of_the_routers_settings_is_told_in_words() -> None:
    was = {"kind": "envoy", "tls": None, "keep_alive": 2.0}
    assert changes(was, was) == ""
    now = {"kind": "envoy", "tls": {"certificate": "/tls/shop.pem", "key": "/tls/shop.key"}, "keep_alive": None, "trusted": ["10.0.0.0/8", "fc00::/7"]}
    tls = "tls: none -> certificate /tls/shop.pem and key /tls/shop.key"
    assert changes(was, now) == f"keep_alive: 2s -> none, {tls}, trusted: none -> 10.0.0.0/8 and fc00::/7"


def test_an_expand_of_nothing_does_not_say_that_it_changes_the_schema() -> None:
    event = Event(1, 0.0, Phase.EXPANDING, 0, False, "", "PLANNED done")
    assert event_line(event, PLAN._replace(database={"expands": ["0007"]})).endswith("changes the schema so that both versions understand it")
    assert event_line(event, PLAN._replace(database={"expands": []})).endswith("nothing: the database has every migration of it")


def test_a_failure_of_many_lines_is_told_once_and_is_one_line_in_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service = FakeService(tmp_path, Verdict(Result.FAIL, "`alembic upgrade 7` ended with 1:\n  Traceback\n  RuntimeError: seven"))
    release = service.deploy("1.0")
    monkeypatch.setenv("BLEEN_STATE", str(tmp_path))
    main(["history", "--service", "shop"])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("`alembic upgrade 7` ended with 1 ...")
    main(["history", "1", "--service", "shop"])
    assert "\n  RuntimeError: seven\n" in capsys.readouterr().out
    deploy._end(Namespace(json=False), Access(service.place, service.journal), release)
    assert capsys.readouterr().err.splitlines() == [f"aborted, users saw nothing: {line.split('  ')[-1]}"]
    deploy._end(Namespace(json=True), Access(service.place, service.journal), release)
    assert "RuntimeError: seven" in capsys.readouterr().out
    service.close()


def test_requests_that_were_cut_are_told_of_the_phase_that_drained() -> None:
    event = Event(1, 0.0, Phase.CONTRACTING, 0, True, "", "RETIRING done", {"cut": 2})
    first, second = (line.split("  ", 1)[1] for line in event_line(event, PLAN).splitlines())
    assert first == "RETIRING            2 requests in flight had not ended in time, and were cut"
    assert second == "CONTRACTING         nothing: no database is configured"


@pytest.mark.parametrize(("old", "said"), [(Environment("blue", 1), "the new version serves, the old one is given up"), (None, "the new version serves")])
def test_a_first_release_gives_up_no_old_version(old: Environment | None, said: str) -> None:
    event = Event(1, 0.0, Phase.COMPLETED, 0, False, "", "CONTRACTING done", {})
    assert event_line(event, PLAN._replace(old=old)).endswith(f"COMPLETED           {said}")


@pytest.mark.parametrize(("service", "name"), [("shop", "0001_name"), ("desk", "0001_name of desk")])
def test_a_contract_that_stays_pending_is_told_as_that_of_its_service(service: str, name: str) -> None:
    pending = {"migration": "0001_name", "service": service, "waits": ["a reason"]}
    event = Event(1, 0.0, Phase.COMPLETED, 0, False, "", "CONTRACTING done", {"pending": [pending]})
    assert event_line(event, PLAN).endswith(f"; {name} stays pending: a reason")


def test_what_somebody_was_killed_at_goes_on_from_the_service_whose_it_is() -> None:
    entry = Entry("0001_name", "", State.CONTRACTING, "desk", 1, 0.0, {})
    assert unfinished(entry, "desk") == "`bleen migrate contract` goes on"
    assert unfinished(entry, "shop") == "it is of desk, with whose bleen.yaml `bleen migrate contract` goes on"
    assert unfinished(entry._replace(state=State.EXPANDED), "shop") == ""


def test_a_contract_that_many_sessions_keep_waiting_is_a_line_all_the_same() -> None:
    pending = {"migration": "0001_name", "since": clock.wall() - 90, "asked": clock.wall() - 30, "waits": [f"session {n}" for n in range(9)], "window": None}
    environment = {"environment": "blue", "version": "1.0", "release": 1, "running": True}
    router = {"answers": True, "listens": True, "listen": "", "shares": {}, "certificate": None}
    picture = {"service": "shop", "up": True, "active": environment, "router": router, "environments": {}, "release": None, "drift": None, "lacking": []}
    rest = {"rollback": {"ready": False, "reason": "none"}, "engine": {"hung": False, "watches": True}}
    said = lines({**picture, **rest, "pending": [pending]})[-1]
    assert said.endswith("for: session 0; session 1; session 2; and 6 more, `bleen migrate status` tells them"), said
    said = lines({**picture, **rest, "pending": [{**pending, "waits": [], "window": "the rollback window is open"}]})[-1]
    assert said.endswith("ago, waits for: the rollback window is open"), said
    said = lines({**picture, **rest, "pending": [{**pending, "waits": [], "service": "desk"}]})[-1]
    assert said.endswith("ago, for desk to contract"), said
