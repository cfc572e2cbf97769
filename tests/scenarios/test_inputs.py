"""What people and pipelines put in: versions that are missing or hostile, deploys of what is there already, and secrets."""

import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bleen.host import processes
from shop import Said, Shop


def test_a_version_that_is_missing_is_refused_before_anything_is_touched(shop: Shop) -> None:
    """ "A version's directory, image or program that is missing: exit 2 before anything is touched." """
    shop.up("1.0")
    said = shop.bleen("deploy", "9.9", code=2).err
    assert "version 9.9 is not there" in said
    assert f"{shop.releases / '9.9'} is no directory" in said
    assert "bleen.yaml:" in said
    assert shop.release.id.number == 1


@pytest.mark.parametrize("verb", ["plan", "deploy"])
def test_a_program_that_is_missing_is_refused_before_anything_is_touched(shop: Shop, verb: str) -> None:
    """ "A version's directory, image or program that is missing: exit 2 before anything is touched." """
    process = {**shop.settings["platform"]["process"], "command": ["serve-{version}", "{port}"]}
    shop.up("1.0").configure(platform={"process": process})
    said = shop.bleen(verb, shop.ship("1.1"), code=2).err
    assert f"'serve-1.1' is no program that can be executed in PATH ({os.environ['PATH']})" in said
    assert "bleen.yaml:" in said
    assert shop.release.id.number == 1


def test_a_service_that_nobody_knows_yet_gets_the_plan_of_a_first_release_and_nothing_is_written(shop: Shop) -> None:
    planned = shop.bleen("plan", shop.ship("1.0"))
    assert planned.out.startswith("shop: from nothing to 1.0 (blue)\n")
    assert "note: shop is not known on this host yet: `bleen up` comes before its first `deploy`" in planned.out
    assert shop.bleen("plan", "1.0", "--json").json["unchanged"] is False
    assert not shop.state.exists()
    shop.bleen("deploy", "1.0", code=2)


def test_a_program_that_cannot_be_run_is_an_abort_that_names_it(shop: Shop) -> None:
    """ "Raises Refused for what can never start" """
    program = shop.root / "program"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    process = {**shop.settings["platform"]["process"], "command": [str(program)]}
    shop.up("1.0").configure(platform={"process": process})
    assert str(program) in shop.bleen("deploy", shop.ship("1.1"), code=3).err
    assert shop.serves() == "1.0"


def test_a_version_that_is_pruned_while_warm_is_shown_as_no_way_back(shop: Shop) -> None:
    """ "Pruned while warm: rollback is shown as not ready." """
    shop.up("1.0", "1.1")
    assert shop.status()["rollback"]["ready"] is True
    (shop.releases / "1.0").rename(shop.root / "pruned")
    seen = shop.status()["rollback"]
    assert (seen["ready"], seen["to"]) == (False, "1.0")
    assert str(shop.releases / "1.0") in seen["reason"]


@pytest.mark.parametrize(
    "version", ["1.0; rm -rf /", "../../x", "..", "/etc", "$(touch owned)", "`touch owned`", "a b", "a\nb", "", "-rf", "{port}", "${HOME}", "x" * 129]
)
def test_a_hostile_version_is_refused_and_nothing_is_touched(shop: Shop, version: str) -> None:
    """ "A version such as `1.0; rm -rf /` or `../../x` is data: no shell, no path escape." """
    said = shop.bleen("deploy", "--", version, code=2)
    assert "cannot be a version" in said.err
    assert "Traceback" not in said.text
    assert sorted(each.name for each in shop.root.iterdir()) == ["bleen.yaml", "releases"]


@pytest.mark.parametrize("closed", ["<&-", "</dev/null", "<&- >&-"])
def test_a_question_that_nobody_can_answer_is_answered_no(shop: Shop, closed: str) -> None:
    """ "`down` ends production: it asks, or wants `--yes`." """
    shop.up()

    def typed(words: str) -> subprocess.CompletedProcess[str]:
        line = f'exec "$0" -m bleen {words} {closed}'
        return subprocess.run(["sh", "-c", line, sys.executable], cwd=shop.root, env=shop.environ, capture_output=True, text=True, check=False)

    said = typed("down")
    refused = "bleen: nothing was touched: nobody is there to ask. This would end shop for its users; --yes says that it may\n"
    assert (said.returncode, said.stderr) == (2, refused)
    assert typed("status").returncode == (2 if ">&-" in closed else 0)
    assert shop.serves() == "503"


def test_the_end_of_input_at_a_question_is_no_and_names_the_way(shop: Shop) -> None:
    """ "`down` ends production: it asks, or wants `--yes`." """
    shop.up()
    ours, theirs = pty.openpty()
    os.write(ours, b"\x04")  # Ctrl-D
    argv = [sys.executable, "-m", "bleen", "down"]
    said = subprocess.run(argv, stdin=theirs, cwd=shop.root, env=shop.environ, capture_output=True, text=True, check=False)
    os.close(ours)
    os.close(theirs)
    assert (said.returncode, said.stderr) == (2, "nothing was touched; --yes answers the question\n")
    assert shop.serves() == "503"


def test_an_unusual_version_is_one_word_everywhere(shop: Shop) -> None:
    """ "A version such as `1.0; rm -rf /` or `../../x` is data: no shell, no path escape." """
    shop.up("1.0-rc.1+build@2026_11")
    [copy] = shop.copies("1.0-rc.1+build@2026_11")
    assert Path(f"/proc/{copy.pid}/cmdline").read_bytes().split(b"\0").count(b"1.0-rc.1+build@2026_11") == 2
    assert shop.serves() == "1.0-rc.1+build@2026_11"


def test_a_deploy_of_what_serves_is_nothing_to_do_and_with_another_configuration_a_release(shop: Shop) -> None:
    """ "`deploy` of the active version with the same plan: nothing to do, exit 0. With changed configuration: a normal release." """
    shop.up("1.0")
    assert "nothing to do" in shop.bleen("deploy", "1.0").out
    shop.configure(platform={"process": {**shop.settings["platform"]["process"], "env": {"COLOUR": "red"}}})
    said = shop.bleen("deploy", "1.0").out
    assert "nothing to do" not in said
    assert "1.0 (green) serves; 1.0 (blue) stays warm for 15m: `bleen rollback` returns to it" in said
    assert "the end of the rollback window; 1.0 (blue) stays warm" in shop.bleen("status").out
    assert shop.release.id.number == 2
    assert shop.status()["active"]["environment"] == "green"
    assert "nothing to do" in shop.bleen("deploy", "1.0").out  # also while the other one is warm


def test_a_deploy_that_waited_for_the_end_of_another_release_has_nothing_to_do_if_its_version_serves_by_then(shop: Shop) -> None:
    """ "`deploy` of the active version with the same plan: nothing to do, exit 0." """

    def waited(*words: str) -> str:
        said = shop.bleen("deploy", *words).out
        assert f"waits for release {shop.release.id.number} " in said
        return said.splitlines()[-1]

    shop.up("1.0")
    drained = [shop.begun("/stream?s=60&every=0.1")]
    shop.bleen("deploy", shop.ship("1.1"))
    shop.start("retire")
    shop.reached("RETIRING")
    assert waited("1.1") == "1.1 with the same plan serves already: nothing to do; --again releases it once more"
    shop.bleen("deploy", shop.ship("1.2"))
    drained.append(shop.begun("/stream?s=60&every=0.1"))
    shop.bleen("rollback")
    assert "1.1 with the same plan serves already" in waited("1.1")
    replaced = shop.start("deploy", shop.ship("1.3", "--health", "hang"))
    shop.reached("PROVISIONING")
    assert "1.1 with the same plan serves already" in waited("1.1", "--replace")
    replaced.ended(3)
    assert shop.story() == ["PLANNED", "EXPANDING", "PROVISIONING", "UNDOING", "ABORTED"]
    assert shop.bleen("deploy", "1.1", "--json").json["release"]["version"] == "1.1"  # and not the newest, 1.3
    for each in drained:
        each.close()


def test_what_serves_is_released_once_more_where_that_is_asked_for(shop: Shop) -> None:
    """ "Released again from the same directory: it is ready, and `deploy` and `status` say that what starts again has the files of now." """
    shop.up("1.0").ship("1.0", "--keep-alive", "60")
    directory = shop.releases / "1.0"
    with shop.load() as users:
        said = shop.bleen("deploy", "1.0", "--again").out
    assert f"note: 1.0 (blue) runs from {directory} too" in said
    assert "1.0 (green) serves; 1.0 (blue) stays warm" in said
    assert not users.report().failures, users.report()
    assert f"rollback: ready, to 1.0; a copy of it that starts again runs what is in {directory} now, as 1.0 (green) does" in shop.bleen("status").out
    assert "1.0 (blue) serves again" in shop.bleen("rollback").out


def test_after_the_window_the_old_version_is_stopped_shrunk_or_kept_as_the_plan_says(shop: Shop) -> None:
    """ "after_window: stop               # what becomes of the old environment: stop | keep | {replicas: 1}" """
    shop.configure(platform={"process": {**shop.settings["platform"]["process"], "replicas": 2}}, rollback_window="0s")
    shop.up("1.0")
    for number, (after, left) in enumerate((({"replicas": 1}, 1), ("keep", 2), ("stop", 0)), 2):
        old = shop.release.plan.version
        shop.configure(after_window=after)
        shop.bleen("deploy", shop.ship(f"1.{number}"))
        shop.bleen("wait", "--until", "completed")
        assert len(shop.copies(old)) == left, after


def test_requests_in_flight_at_a_retirement_end_and_what_is_left_then_is_cut_and_counted(either: Shop) -> None:
    """ "Retirement: targets leave the router, requests in flight and open streams get `drain: 30s`; what is left then gets TERM with its process, and is
    counted in the report; it never halts a release."
    """
    either.up("1.0", drain="2s")
    short, long = either.begun("/sleep?s=1.5"), either.begun("/stream?s=60&every=0.1")
    either.bleen("deploy", either.ship("1.1"))
    either.bleen("retire")
    assert short.finish()[2] == b"1.0 1.0\n"
    either.bleen("wait", "--until", "completed")
    events = either.bleen("history", "2", "--json").json["events"]
    assert [event["facts"]["cut"] for event in events if "cut" in event["facts"]] == [1]
    long.close()


CANARY = re.compile(rb"CANARY-[a-z]+-4e1f")


def test_two_deploys_at_once_are_one_release_and_one_refusal(shop: Shop) -> None:
    """ "at most one release of a service under way [...] otherwise exit 6"; neither takes the other's secrets away."""
    shop.up("1.0")
    shop.smoke({"name": "slowly", "url": "/sleep?s=0.3"})
    shop.ship("1.1")
    for _ in range(4):
        both = [shop.start("deploy", "1.1") for _ in range(2)]
        assert sorted(each.ended().code for each in both) == [0, 6], [each.said.text for each in both]
        shop.bleen("rollback")
        shop.reached("ROLLED_BACK")


def test_what_serves_is_known_however_many_releases_came_after_it(shop: Shop) -> None:
    """ "`deploy` of the active version with the same plan: nothing to do, exit 0." """
    shop.up("1.0")
    row = shop.release
    with sqlite3.connect(shop.place.journal) as db:
        columns = [name for _, name, *_ in db.execute("PRAGMA table_info(release)")]
        for number in range(2, 62):
            values = ", ".join(str(number) if name == "number" else name for name in columns)
            db.execute(f"INSERT INTO release SELECT {values} FROM release WHERE number = 1")
        db.execute("UPDATE release SET phase = 'ABORTED' WHERE number > 1")
    assert shop.release.id.number == 61
    assert "nothing to do" in shop.bleen("deploy", "1.0").out
    assert "1.0 serves" in shop.bleen("up").out
    assert Path(row.plan.platform["secrets"]).exists()


def test_a_range_of_ports_that_the_kernel_gives_to_clients_is_refused_before_anything_is_touched(shop: Shop) -> None:
    """ "Ports come from a configured range outside the kernel's ephemeral range" """
    shop.up("1.0")
    low, high = (int(each) for each in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    shop.settings["platform"]["process"]["ports"] = f"{low}-{high}"
    shop.configure()
    said = shop.bleen("deploy", shop.ship("1.1"), "--end-window", code=2).err
    assert "two environments of 1 need 2 ports outside" in said
    assert said.startswith("bleen.yaml:")


def test_no_secret_is_written_anywhere_but_to_its_own_files(either: Shop) -> None:
    """ "Values live in a file of mode 0600 for each release until it ends; the journal, the plan, `--json`, logs, process arguments and proxy configuration
    hold references. [...] A test plants a canary and searches everything that is written."
    """
    shop, said = either, list[Said]()
    (shop.root / "secrets.env").write_text("FILE=CANARY-file-4e1f\nTOKEN=CANARY-token-4e1f\n")
    (shop.root / "secrets.env").chmod(0o600)
    process = {**shop.settings["platform"]["process"], "env_file": "secrets.env", "env": {"URL": "db://x:${PASSWORD}@y"}}
    shop.configure(platform={"process": process})
    shop.environ["PASSWORD"] = "CANARY-password-4e1f"
    checks: list[dict[str, Any]] = [
        {"name": "Login", "url": "/headers?t=${TOKEN}", "headers": {"Authorization": "Bearer ${TOKEN}", "X-Key": "${PASSWORD}"}, "expect_status": 200},
        {"name": "Post", "url": "/echo", "method": "POST", "body": "secret=${TOKEN}", "expect_body_contains": "${TOKEN}"},
    ]
    shop.smoke(*checks)
    shop.bleen("up")
    for version in ("1.0", "1.1"):
        said += [shop.bleen(verb, shop.ship(version), "--json") for verb in ("plan", "deploy")]
    _search(shop, said)
    for copy in shop.copies("1.1"):
        given = {found[0] for found in CANARY.finditer(Path(f"/proc/{copy.pid}/environ").read_bytes())}
        assert given == {b"CANARY-file-4e1f", b"CANARY-token-4e1f", b"CANARY-password-4e1f"}
    said.append(shop.bleen("rollback", "--json"))
    shop.smoke(*({**check, "expect_status": 418} for check in checks))
    said += [shop.bleen("deploy", "1.1", code=3), shop.bleen("deploy", "1.1", "--json", code=3)]
    assert "the status was 200, not 418" in said[-2].text
    tests = str(shop.root / "smoke-tests.yml")
    alone = {"TOKEN": "CANARY-token-4e1f", "PASSWORD": "CANARY-password-4e1f"}
    said += [shop.bleen("smoke", tests, "--url", f"http://{shop.listen}", *json_too, code=1, environ=alone) for json_too in ((), ("--json",))]
    for words in ("status", "logs", "doctor --json", "wait --json", "history", "history 3", "history 2 --json", "history 4 --json"):
        said.append(shop.bleen(*words.split(), code=None))
    _search(shop, said)
    assert not shop.copies("1.1")
    kept = [file for file in shop.state.rglob("*") if file.is_file() and CANARY.search(file.read_bytes())]
    assert sorted(file.parent.name for file in kept) == ["blue-1", "secrets"], kept  # of what serves, and of no release that has ended


def _search(shop: Shop, said: list[Said]) -> None:
    """What was printed, what lies in the state directory but for the secrets' own files, and what every process on the host was started as."""
    for each in said:
        assert not CANARY.search(each.text.encode()), each.text
    for file in shop.state.rglob("*"):
        if not file.is_file():
            continue
        own = file.parent == shop.place.secrets or file.name == "secrets.json"
        assert not own or file.stat().st_mode & 0o777 == 0o600, file
        assert own or not CANARY.search(file.read_bytes()), file
    for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
        assert not CANARY.search(processes.command_line(pid).encode()), pid
    for process in (shop.engine(), shop.proxy()):
        assert not CANARY.search(Path(f"/proc/{process.pid}/environ").read_bytes()), processes.command_line(process.pid)
    assert not CANARY.search(json.dumps(shop.status()).encode())
