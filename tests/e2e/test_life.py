"""The life of a service through the command line, over each router, under load: what issue 2 lets a person do, and every exit code."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bleen.cli import VERBS, exits, main
from bleen.testing.load import Problem
from bleen.testing.site import until
from shop import ROUTERS, Shop


@pytest.fixture(params=ROUTERS)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with Shop(tmp_path, request.param, process={"replicas": 2}) as made:
        yield made


def test_a_service_lives_from_its_first_release_to_the_end_of_production_without_one_failed_request(shop: Shop) -> None:
    """ "A switch cuts nothing." """
    assert "is good" in shop.bleen("check").out
    assert "503 until a first release" in shop.bleen("up").out
    assert shop.serves() == "503"
    for version in ("1.0", "1.1", "1.2"):
        shop.ship(version)
    assert shop.bleen("deploy", "1.0").out.endswith("1.0 is released\n")
    with shop.load() as users:
        users.wait(100)
        _promote_and_return(shop)
        users.wait(50)
        _refuse_a_smoke_test(shop)
        users.wait(50)
        _wait_for_a_person(shop)
        _make_way(shop)
        users.wait(50)
    report = users.report()
    assert not report.failures, str(report)
    assert report.who().keys() == {"1.0", "1.1"}
    _tell_the_time(shop)
    _end_and_begin_again(shop)


def _promote_and_return(shop: Shop) -> None:
    deployed = shop.bleen("deploy", "1.1").out
    assert "1.1 serves; 1.0 stays warm" in deployed
    assert shop.serves() == "1.1"
    seen = shop.status()
    assert seen["service"] == "shop"
    assert (seen["active"]["environment"], seen["active"]["version"]) == ("green", "1.1")
    assert (seen["idle"]["environment"], seen["idle"]["version"]) == ("blue", "1.0")
    assert seen["idle"]["running"] is True
    release = seen["release"]
    assert (release["number"], release["version"], release["phase"], release["halted"]) == (2, "1.1", "HOLDING", None)
    assert release["since"].endswith("Z")
    assert release["waiting"]["until"].endswith("Z")
    assert "1.0 stays warm" in release["waiting"]["why"]
    assert seen["rollback"] == {"ready": True, "to": "1.0", "reason": None}
    assert (seen["drift"], seen["pending"]) == (None, [])
    assert "1.0 serves again" in shop.bleen("rollback").out
    assert shop.serves() == "1.0"
    assert "already on 1.0" in shop.bleen("rollback").out
    assert shop.bleen("wait", "2", code=4).text
    assert "rolled back" in shop.bleen("history", "2").out or "rollback by" in shop.bleen("history", "2").out
    assert shop.bleen("history").out.splitlines()[0].split()[:4] == ["2", "1.1", "green", "ROLLED_BACK"]
    assert "1.0 1.0 listens on" in shop.bleen("logs").out
    assert "1.1 1.1 listens on" in shop.bleen("logs", "green").out
    assert shop.bleen("logs", "-n", "0").out == ""
    planned = shop.bleen("plan", "1.1").out
    assert "from 1.0 (blue) to 1.1 (green)" in planned
    assert "  program    " in planned


def _refuse_a_smoke_test(shop: Shop) -> None:
    """ "Any failure aborts: green stays idle, blue goes on serving, and the report shows the request, the answer and the expectation." """
    health = dict(shop.settings["checks"])
    shop.smoke({"name": "Home", "url": "/", "expect_body_contains": "${VERSION}"}, {"name": "Checkout", "url": "/status?code=500", "expect_status": 200})
    said = shop.bleen("deploy", "1.2", code=3)
    assert "note: release 2 (1.1) was rolled back" in said.out
    assert "Checkout" in said.out
    assert "/status?code=500" in said.out
    assert "the status was 500, not 200" in said.err
    assert "1 of 2 passed" in said.text
    assert "expected: status 200" in said.out
    assert "users saw nothing" in said.err
    assert shop.serves() == "1.0"
    shop.configure(checks=health)


def _wait_for_a_person(shop: Shop) -> None:
    shop.configure(promotion={"mode": "manual", "deadline": "1h"})
    assert "1.1 waits for `bleen promote`" in shop.bleen("deploy", "1.1", code=7).out
    assert (shop.serves(), shop.serves(preview=True)) == ("1.0", "1.1")
    assert "still in AWAITING_PROMOTION" in shop.bleen("wait", "--timeout", "100ms", code=1).err
    waiting = shop.start("wait")
    assert "--replace" in shop.bleen("deploy", "1.2", code=6).err
    assert shop.bleen("promote").out == "1.1 is promoted\n"
    waiting.ended(0)
    assert shop.serves() == "1.1"
    assert shop.bleen("promote").out == "1.1 is promoted already\n"
    held = shop.bleen("plan", "1.2").out
    assert "note: `deploy` would be refused now (exit 6): release 4 (1.1) keeps 1.0 warm for " in held, held
    assert "keeps 1.0 warm" in shop.bleen("deploy", "1.2", code=6).err
    assert "`bleen rollback` returns to 1.0" in shop.bleen("abort", code=2).err
    shop.bleen("retire")
    assert "`bleen deploy 1.0`" in shop.bleen("rollback", code=2).err
    assert shop.bleen("wait", "--until", "completed").code == 0


def _make_way(shop: Shop) -> None:
    assert "nothing to do" in shop.bleen("deploy", "1.1").out
    shop.bleen("deploy", "1.2", code=7)
    shop.bleen("deploy", "1.0", "--replace", code=7)
    assert shop.story(shop.release.id.number - 1)[-1] == "ABORTED"
    shop.bleen("promote")
    assert "--end-window" in shop.bleen("deploy", "1.1", code=6).err
    shop.configure(promotion={"mode": "auto"})
    assert "1.0 is released" not in shop.bleen("deploy", "1.1", "--end-window").out
    assert shop.serves() == "1.1"


def _tell_the_time(shop: Shop) -> None:
    """People are told the host's own time with its offset, programs UTC."""
    here = {"TZ": "IST-5:30"}
    for told in (shop.bleen("history", environ=here).out, shop.bleen("history", "1", environ=here).out):
        assert all(re.search(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+0530(  |$)", line) for line in told.splitlines()), told
    of_one = shop.bleen("history", "1", "--json", environ=here).json
    assert all(time.endswith("Z") for time in (of_one["since"], *(event["at"] for event in of_one["events"])))


def _end_and_begin_again(shop: Shop) -> None:
    """ "`down` ends production: it asks, or wants `--yes`." """
    assert "--yes" in shop.bleen("down", code=2).err
    assert shop.serves() == "1.1"
    assert "is down" in shop.bleen("down", "--yes").out
    assert not shop.processes()
    assert "rollback: not ready: shop is down; `bleen up` starts 1.0 too" in shop.bleen("status").out
    with pytest.raises(Problem, match="refused"):
        shop.serves()
    assert "1.1 serves" in shop.bleen("up").out
    assert shop.serves() == "1.1"
    assert shop.status()["rollback"]["ready"] is True
    shop.bleen("rollback")
    assert shop.serves() == "1.0"


def test_every_verb_prints_one_json_document(tmp_path: Path) -> None:
    """ "Every verb has `--json`." """
    with Shop(tmp_path) as shop:
        for version in ("1.0", "1.1", "1.2"):
            shop.ship(version)
        tests = tmp_path / "tests.yml"
        tests.write_text(json.dumps({"tests": [{"name": "Home", "url": "/"}]}))
        said = {
            "init": shop.bleen("init", "--json", "-f", "other.yaml"),
            "check": shop.bleen("check", "--json"),
            "schema": shop.bleen("schema", "--json"),
            "up": shop.bleen("up", "--json"),
            "deploy": shop.bleen("deploy", "1.0", "--json"),
            "doctor": shop.bleen("doctor", "--json"),
            "plan": shop.bleen("plan", "1.1", "--json"),
            "smoke": shop.bleen("smoke", str(tests), "--url", f"http://{shop.listen}", "--json"),
            "deploy again": shop.bleen("deploy", "1.0", "--json"),
            "logs": shop.bleen("logs", "--json"),
        }
        shop.configure(promotion={"mode": "manual"})
        said |= {
            "deploy manual": shop.bleen("deploy", "1.1", "--json", code=7),
            "abort": shop.bleen("abort", "--json"),
            "wait": shop.bleen("wait", "--json", code=3),
            "deploy once more": shop.bleen("deploy", "1.1", "--json", code=7),
            "promote": shop.bleen("promote", "--json"),
            "status": shop.bleen("status", "--json"),
            "rollback": shop.bleen("rollback", "--json"),
            "resume": shop.bleen("resume", "--json"),
            "close": shop.bleen("close", "--json", code=2),
            "retire": shop.bleen("retire", "--json", code=2),
            "history": shop.bleen("history", "--json"),
            "history of one": shop.bleen("history", "1", "--json"),
            "completion": shop.bleen("completion", "bash", "--json"),
            "migrate lint": shop.bleen("migrate", "lint", "--dialect", "sqlite", "--rules", "--json"),
            "down": shop.bleen("down", "--yes", "--json"),
        }
        for what, each in said.items():
            assert isinstance(each.json, dict | list), what
        assert {name.split()[0] for name in said} == VERBS.keys()
        for what in ("promote", "status"):  # which 1.1 holds
            assert said[what].json["release"]["waiting"].keys() == {"until", "seconds", "why"}
            assert 0 < said[what].json["release"]["waiting"]["seconds"] <= 900, what


def test_a_refusal_is_one_json_document_too(tmp_path: Path) -> None:
    with Shop(tmp_path) as shop:
        for words in (("status",), ("deploy", "1.0"), ("deploy", "../../x")):
            said = shop.bleen(*words, "--json", code=2)
            assert said.json["ok"] is False, words
            assert said.json["text"], words


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([verb, "--help"], ["help", verb]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        said = capsys.readouterr().out
        assert ended.value.code == 0
        assert said.startswith(f"usage: bleen {verb}")
        assert "--json" in said
        assert len(said.splitlines()) >= 8


USAGE = {
    "history --limit -3": "argument --limit: '-3' is not a number from 1 on; `bleen history --help` says what is right",
    "logs -n -1": "argument -n/--lines: '-1' is not a number from 0 on; `bleen logs --help` says what is right",
    "wait --timeout nan": "argument --timeout: 'nan' is no length of time: write 20s, 15m or 2h; `bleen wait --help` says what is right",
    "deploy": "the following arguments are required: version; `bleen deploy --help` says what is right",
    "migrate mend": "argument SUBVERB: invalid choice: 'mend'",
    "deplyo": "there is no verb 'deplyo' (did you mean `deploy`?)",
}


@pytest.mark.parametrize(("words", "fault"), USAGE.items())
def test_what_is_wrong_with_a_command_line_is_said_in_a_line_or_as_json(words: str, fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit codes: 2 usage. Every verb has `--json`."""
    assert main(words.split()) == exits.USAGE
    said = capsys.readouterr().err
    assert said.startswith(f"bleen: {fault}")
    assert said.count("\n") == 1
    assert main([*words.split(), "--json"]) == exits.USAGE
    assert json.loads(capsys.readouterr().out)["text"].startswith(fault)


def test_the_front_page_names_every_verb_and_exit_code(tmp_path: Path) -> None:
    with Shop(tmp_path) as shop:
        page = shop.bleen().out
        assert page == shop.bleen("--help").out == shop.bleen("help").out
        assert all(f"\n  {verb} " in page for verb in VERBS)
        assert all(f"{code} " in page.partition("exit codes:")[2] for code in (0, 1, 2, 3, 4, 5, 6, 7, 70, 130))
        assert "did you mean `deploy`?" in shop.bleen("deplyo", code=2).err
        assert shop.bleen("--version").out.startswith("bleen ")


def test_completions_load_in_their_shells(tmp_path: Path) -> None:
    import subprocess

    with Shop(tmp_path) as shop:
        scripts = {shell: shop.bleen("completion", shell).out for shell in ("bash", "zsh", "fish")}
        subprocess.run(["bash", "-n"], input=scripts["bash"], text=True, check=True)
        for words, expected in (("roll", "rollback"), ("check --file blee", "bleen.yaml"), ("wait --until c", "completed")):
            typed = f"bleen {words}".split()
            ask = f"COMP_WORDS=({' '.join(typed)}); COMP_CWORD={len(typed) - 1}; _shtab_bleen bleen {typed[-1]} {typed[-2]}; echo ${{COMPREPLY[@]}}"
            answered = subprocess.run(["bash", "-c", f"{scripts['bash']}\n{ask}"], cwd=tmp_path, text=True, capture_output=True, check=False)
            assert answered.stdout.split() == [expected], answered
        for shell, script in scripts.items():
            assert all(verb in script for verb in VERBS), shell


def test_init_writes_a_file_that_works_as_it_stands(tmp_path: Path) -> None:
    """ "a good, commented bleen.yaml (haproxy on PATH -> haproxy, else envoy)" """
    with Shop(tmp_path) as shop:
        shop.file.unlink()
        assert "for haproxy" in shop.bleen("init").out
        shop.bleen("check")
        assert "there already" in shop.bleen("init", code=2).err
        shop.file.unlink()
        shop.bleen("init", "--router", "envoy", "--service", "store")
        assert "service store" in shop.bleen("check").out
        assert "systemctl enable" in shop.bleen("init", "--systemd").out
        assert "there already" in shop.bleen("init", "--systemd", code=2).err
        unit = (tmp_path / "bleen-store.service").read_text()
        assert "KillMode=process" in unit
        assert f"up --file {tmp_path / 'bleen.yaml'}" in unit
        assert f"BLEEN_STATE={shop.state}" in unit
        assert "OnUnitInactiveSec=30s" in (tmp_path / "bleen-store-watch.timer").read_text()


def test_what_the_timer_of_init_runs_replaces_an_engine_that_ended_or_hangs_and_nothing_else(tmp_path: Path) -> None:
    """ "An engine that is alive and has not been heard of for 15 seconds is hung" """
    with Shop(tmp_path) as shop:
        shop.up("1.0").bleen("init", "--systemd")
        unit = (tmp_path / "bleen-shop-watch.service").read_text()
        [line] = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
        look = line.partition(" -m bleen ")[2].split()
        well, serving = shop.engine(), {*shop.copies("1.0"), shop.proxy()}
        shop.bleen(*look)
        assert shop.engine() == well, "one that answers was replaced"
        shop.kill(well)
        shop.bleen(*look)
        until("another one watches", lambda: shop.status()["engine"]["watches"])
        hung = shop.engine()
        assert hung != well
        hung.signal(signal.SIGSTOP)
        until("it is seen to hang", lambda: shop.status()["engine"]["hung"])
        with shop.load() as users:
            shop.bleen(*look)
            until("a third one watches", lambda: shop.status()["engine"]["watches"])
        assert not users.report().failures, users.report()
        assert not hung.alive
        assert {*shop.copies("1.0"), shop.proxy()} == serving
        shop.bleen("down", "--yes")
        shop.bleen(*look)
        assert not shop.processes(), "what was taken down was started again"


def test_every_fault_of_bleen_yaml_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    with Shop(tmp_path) as shop:
        shop.file.write_text("service: Shop\nplatform: {process: {command: python3 app.py}}\nrouter: {envoy: {listen: '8080'}}\nbake: 5\n")
        for words in (("check",), ("up",), ("deploy", "1.0"), ("plan", "1.0")):
            faults = shop.bleen(*words, code=2).err
            for place in ("bleen.yaml:1:", "bleen.yaml:2:", "bleen.yaml:3:", "bleen.yaml:4:"):
                assert place in faults, (words, faults)
        assert not shop.state.exists()


def test_smoke_runs_alone_and_says_no_with_1(tmp_path: Path) -> None:
    with Shop(tmp_path) as shop:
        shop.up("1.0")
        tests = tmp_path / "tests.yml"
        tests.write_text(json.dumps({"tests": [{"name": "Home", "url": "/", "expect_header": {"X-Served-By": "1.0"}}]}))
        assert "pass          Home" in shop.bleen("smoke", str(tests), "--url", f"http://{shop.listen}").out
        tests.write_text(json.dumps({"tests": [{"name": "Home", "url": "/", "expect_status": 418}]}))
        assert "the status was 200, not 418" in shop.bleen("smoke", str(tests), "--url", f"http://{shop.listen}", code=1).text


def test_logs_and_status_follow_until_they_are_interrupted(tmp_path: Path) -> None:
    with Shop(tmp_path) as shop:
        shop.up("1.0")
        logs, status = shop.start("logs", "--follow"), shop.start("status", "--watch")
        until("both have begun", lambda: logs.said.out and status.said.out)
        shop.bleen("deploy", shop.ship("1.1"))
        shop.kill(*shop.copies("1.0"))
        until("the log goes on", lambda: logs.said.out.count("1.0 1.0 listens on") == 2)
        until("the status goes on", lambda: "1.1 serves from green" in status.said.out)
        for each in (logs, status):
            each.signal(signal.SIGINT)
            assert each.ended().code in (0, 130)
