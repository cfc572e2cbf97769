"""Engines, and the verbs that people type, killed and stopped at any time: what serves goes on serving, and the release ends as it should."""

import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import bleen
from bleen import __version__
from bleen.testing.load import Client
from bleen.testing.site import until
from shop import Shop


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of somebody who never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_state_that_is_removed_under_a_deploy_is_told_and_what_serves_goes_on(shop: Shop) -> None:
    """ "State that is removed while a verb uses it: exit 5, nothing more is done, what serves goes on serving." """
    shop.up("1.0").configure(bake="60s")
    deploy, logs = shop.start("deploy", shop.ship("1.1")), shop.start("logs", "--follow")
    shop.reached("BAKING")
    engine = shop.engine()
    with shop.load() as users:
        users.wait(10)
        shop.place.path.rename(shop.root / "removed")
        for verb in (deploy, logs):
            assert "journal.db was removed while it was in use" in verb.ended(5).err
        until("the engine has ended", lambda: not engine.alive)
        users.wait(10)
    assert not users.report().failures, users.report()
    assert "whose journal is gone" in shop.bleen("up", code=2).err


def test_a_killed_engine_fails_no_request_and_the_next_up_adopts_what_runs(either: Shop) -> None:
    """ "SIGKILL of the resident engine fails no request; the next `up` adopts what runs, by pid and start time, with no second copy." """
    either.up("1.0", "1.1")
    before = {*either.copies("1.0"), *either.copies("1.1"), either.proxy()}
    with either.load() as users:
        users.wait(20)
        engine = either.engine()
        either.kill(engine)
        users.wait(50)
        seen = either.status()
        assert seen["engine"] == {"watches": False, "hung": False, "pid": None, "host": None, "version": None}
        assert "nobody watches: no resident engine runs" in either.bleen("status").out
        assert "nobody watches" in either.bleen("doctor").out
        either.bleen("up")
        users.wait(50)
    assert not users.report().failures, users.report()
    assert {*either.copies("1.0"), *either.copies("1.1"), either.proxy()} == before
    assert either.engine() not in {engine, *before}
    assert len(either.processes()) == len(before) + 1
    assert "1.0 serves again" in either.bleen("rollback").out


def test_an_engine_of_another_version_is_replaced_by_up_and_the_release_goes_on(shop: Shop) -> None:
    """running.md: "`bleen up` replaces the resident engine by one of the new version and cuts nothing; a release that is under way goes on" """
    shop.up("1.0", "1.1")
    before = {*shop.copies("1.0"), *shop.copies("1.1"), shop.proxy()}
    old = shop.engine()
    with closing(sqlite3.connect(shop.place.journal)) as journal, journal:
        journal.execute("UPDATE service SET holder = json_set(holder, '$.version', '0.0.1')")
    assert shop.status()["engine"]["version"] == "0.0.1"
    with shop.load() as users:
        users.wait(10)
        shop.bleen("up")
        users.wait(10)
    assert not users.report().failures, users.report()
    assert not old.alive
    until("the new one drives", lambda: shop.status()["engine"]["version"] == __version__)
    assert shop.release.phase == "HOLDING"
    assert {*shop.copies("1.0"), *shop.copies("1.1"), shop.proxy()} == before
    assert "1.0 serves again" in shop.bleen("rollback").out


def test_a_stopped_engine_is_succeeded_by_a_rollback_and_another_one_is_started(shop: Shop) -> None:
    """ "one on this host that has not answered, even inside a call, is killed [...] and succeeded (who kills a resident engine starts another)", and
    imports nothing from where the person stands.
    """
    shop.up("1.0", "1.1")
    (shop.root / "types.py").write_text("raise ImportError('somebody else's')")
    stopped = shop.engine()
    stopped.signal(signal.SIGSTOP)
    with shop.load() as users:
        users.wait(10)
        assert "1.0 serves again" in shop.bleen("rollback").out
        users.wait(10)
    assert not users.report().failures, users.report()
    assert shop.serves() == "1.0"
    assert not stopped.alive
    shop.reached("ROLLED_BACK")
    until("another engine watches", lambda: shop.status()["engine"]["watches"])


def test_a_deploy_that_is_broken_off_after_it_had_to_end_a_stopped_engine_leaves_another_one(shop: Shop) -> None:
    """ "who kills a resident engine starts another" """
    shop.up("1.0", drain="20s")
    stream = shop.begun("/stream?s=15&every=0.1")
    shop.bleen("deploy", shop.ship("1.1"))
    shop.engine().signal(signal.SIGSTOP)
    deploy = shop.start("deploy", shop.ship("1.2"), "--end-window")
    until("it waits for the earlier release", lambda: "which is ending" in deploy.said.out)
    shop.reached("RETIRING")
    deploy.signal(signal.SIGINT)
    deploy.ended(130)
    until("another engine watches", lambda: shop.status()["engine"]["watches"])
    stream.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_rollback_that_somebody_else_began_and_did_not_live_to_end_is_ended_by_the_next(shop: Shop, how: int) -> None:
    """ "It returns once the old version is served", whoever began it."""
    shop.up("1.0", "1.1")
    shop.kill(shop.engine())
    shop.tell("1.0", "fail")
    first = shop.start("rollback")
    shop.reached("ROLLING_BACK")
    first.signal(how)
    first.ended()
    if how != signal.SIGKILL:
        until("it has left an engine behind", lambda: shop.status()["engine"]["watches"])
    (target,) = shop.status()["environments"]["blue-1"]["targets"]
    Client(target).ask("GET", "/be?health=ok", close=True)
    shop.bleen("rollback")
    assert shop.serves() == "1.0"


def test_of_two_rollbacks_at_once_past_a_stopped_engine_none_is_ended_by_the_other(shop: Shop) -> None:
    """`rollback`: from PROMOTING to HOLDING it always works."""
    shop.up("1.0", "1.1")
    for version in ("1.2", "1.3", "1.4"):
        before = shop.serves()
        shop.bleen("deploy", shop.ship(version), "--end-window")
        shop.engine().signal(signal.SIGSTOP)
        both = [shop.start("rollback"), shop.start("rollback")]
        for each in both:
            each.ended(0)
        assert shop.serves() == before
        shop.bleen("wait", code=4)
        shop.bleen("up")


def test_a_stopped_engine_that_goes_on_after_it_was_succeeded_does_nothing(shop: Shop) -> None:
    """ "A lease says who drives a release; a lease alone does not stop a process that was paused." """
    shop.up("1.0").configure(bake="1s", promotion={"mode": "auto", "steps": [{"share": 50}, {"share": 100}]})
    shop.start("deploy", shop.ship("1.1"))
    shop.reached("BAKING")
    with shop.fenced():  # so that it is stopped in the middle of a call
        shop.reached("PROMOTING")
        engine = shop.engine()
        engine.signal(signal.SIGSTOP)
    shop.bleen("rollback")
    engine.signal(signal.SIGCONT)
    shop.reached("ROLLED_BACK")
    assert shop.serves() == "1.0"
    assert not engine.alive


def test_an_engine_killed_in_every_phase_is_succeeded_and_the_release_ends_as_it_should(either: Shop, silent: str) -> None:
    """ "Killed at any instant, the next run reads the row and the world, and ends where the first would have." """
    either.up("1.0").configure(promotion={"mode": "auto", "steps": [{"share": 50, "bake": "1s"}, {"share": 100, "bake": "1s"}]})
    either.smoke({"name": "Slow", "url": "/sleep?s=1", "timeout": "20s"})
    with either.load() as users:
        deploy = either.start("deploy", either.ship("1.1", "--listen-after", "0.5"))
        for phase in ("PROVISIONING", "TESTING", "BAKING"):
            either.reached(phase)
            either.kill(either.engine())
            either.bleen("up")
        deploy.ended(0)
        users.wait(10)
    assert not users.report().failures, users.report()
    assert either.serves() == "1.1"
    assert len(either.copies("1.1")) == 1
    assert either.story()[-3:] == ["PROMOTING", "BAKING", "HOLDING"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_deploy_before_the_switch_aborts(shop: Shop, silent: str, number: int) -> None:
    """ "Ctrl-C and SIGTERM of `deploy` before PROMOTING abort (a cancelled CI job must not promote later)" """
    shop.up("1.0").configure(platform={"process": {**shop.settings["platform"]["process"], "replicas": 2}})
    checks = dict(shop.settings["checks"])

    def abort_in(phase: str, version: str, *options: str) -> None:
        deploy = shop.start("deploy", shop.ship(version, *options))
        shop.reached(phase)
        if phase == "TESTING":
            until("both copies are asked", lambda: len(shop.copies(version)) == 2)
        deploy.signal(number)
        said = deploy.ended(3)
        assert "by a signal" in said.err
        assert "users saw nothing" in said.err
        assert shop.story()[-2:] == ["UNDOING", "ABORTED"]
        assert not shop.copies(version)

    abort_in("PROVISIONING", "1.1", "--listen-after", "30")
    shop.smoke({"name": "Slow", "url": f"http://{silent}/", "timeout": "60s"})
    abort_in("TESTING", "1.2")
    shop.configure(checks=checks)
    shop.smoke({"name": "One of two is unwell from now on", "url": "/be?health=fail"}, {"name": "Until that is seen", "url": "/sleep?s=1"})
    abort_in("AWAITING_PROMOTION", "1.3")
    assert shop.serves() == "1.0"


def test_a_signal_to_deploy_in_the_switch_detaches_and_says_so(shop: Shop) -> None:
    """ "from PROMOTING on they detach and say so: the release goes on under the resident engine, or under the next verb." """
    shop.up("1.0").configure(promotion={"mode": "auto", "steps": [{"share": 50, "bake": "1s"}, {"share": 100}]})
    deploy = shop.start("deploy", shop.ship("1.1"))
    shop.reached("BAKING")
    with shop.fenced():
        shop.reached("PROMOTING")
        deploy.signal(signal.SIGTERM)
        assert "detached: the release goes on" in deploy.ended(130).err
    shop.bleen("wait")
    assert shop.serves() == "1.1"


def test_a_signal_in_the_bake_detaches_and_without_an_engine_one_is_started(shop: Shop) -> None:
    """ "the release goes on under the resident engine, or under the next verb." """
    shop.up("1.0").configure(bake="2s")
    shop.kill(shop.engine())
    deploy = shop.start("deploy", shop.ship("1.1"))
    shop.reached("BAKING")
    deploy.signal(signal.SIGINT)
    assert "detached" in deploy.ended(130).err
    shop.reached("HOLDING")
    assert shop.serves() == "1.1"


def test_a_promote_and_a_rollback_that_are_broken_off_say_that_they_go_on(shop: Shop) -> None:
    """ "130 Ctrl-C [...]: a command was broken off": who approves while the router is away, and goes, is told what will happen when it is back."""
    shop.up("1.0").configure(promotion={"mode": "manual", "deadline": "2h", "then": "abort"})
    shop.bleen("deploy", shop.ship("1.1"), code=7)
    socket, aside = shop.place.router / "haproxy.sock", shop.place.router / "aside.sock"
    for verb, phase, way in (("promote", "AWAITING_PROMOTION", "abort"), ("rollback", "ROLLING_BACK", "")):
        socket.rename(aside)
        asked = shop.start(verb)

        def waits(verb: str = verb) -> bool:
            release = shop.release  # in one look: what it waited for before it was approved is none of that
            return "HAProxy" in release.why and (verb == "rollback" or release.approved)

        until("it waits for the router", waits)
        asked.signal(signal.SIGINT)
        said = asked.ended(130).err
        assert f"bleen: detached: {verb} goes on; release 2 (1.1) is in {phase}, and waits for " in said
        assert said.endswith(f"`bleen wait` waits for it{f', `bleen {way}` takes it back' if way else ''}\n")
        if verb == "promote":
            assert "  is approved: it moves users as soon as that is there; `bleen abort` ends it\n" in shop.bleen("status").out
        aside.rename(socket)
        shop.reached("HOLDING", "ROLLED_BACK")
    assert shop.serves() == "1.0"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_a_deploy_that_crashes_with_a_resident_engine_changes_nothing(shop: Shop, number: int) -> None:
    """ "SIGKILL and SIGHUP look like a crash: the release goes on, promotion included." """
    shop.up("1.0")
    deploy = shop.start("deploy", shop.ship("1.1", "--listen-after", "1"))
    shop.reached("PROVISIONING")
    deploy.signal(number)
    assert deploy.ended().code == -number
    shop.reached("HOLDING")
    assert shop.serves() == "1.1"


def test_a_deploy_killed_without_a_resident_engine_goes_on_under_the_next_verb(shop: Shop) -> None:
    """ "a holder that is dead (pid and start time; a zombie is dead) is succeeded" """
    shop.up("1.0")
    shop.kill(shop.engine())
    deploy = shop.start("deploy", shop.ship("1.1", "--listen-after", "1"))
    shop.reached("PROVISIONING")
    deploy.kill()
    seen = shop.status()
    assert (seen["active"]["version"], seen["release"]["phase"], seen["engine"]["watches"]) == ("1.0", "PROVISIONING", False)
    shop.bleen("wait")
    assert shop.serves() == "1.1"
    shop.kill(*[each for each in shop.processes() if each == shop.engine()])
    assert "1.0 serves again" in shop.bleen("rollback").out
    assert shop.serves() == "1.0"


def test_deploy_says_that_nobody_watches_the_hold(shop: Shop) -> None:
    """ "Without a resident engine, `deploy` and `status` say that nobody watches the hold." """
    shop.up("1.0")
    shop.kill(shop.engine())
    said = shop.bleen("deploy", shop.ship("1.1")).out
    assert "nobody watches" in said
    assert said.rstrip().splitlines()[-2].startswith("nobody watches the hold")
    assert "nobody watches" in shop.bleen("status").out
    assert "1.0 serves again" in shop.bleen("rollback").out


def test_a_rollback_overtakes_a_deploy_which_exits_4(shop: Shop) -> None:
    """ "A rollback that succeeded exits 0; the `deploy` that it overtook exits 4." """
    shop.up("1.0").configure(bake="60s")
    deploy = shop.start("deploy", shop.ship("1.1"))
    shop.reached("BAKING")
    with shop.load() as users:
        users.wait(10)
        shop.bleen("rollback")
        users.wait(10)
    deploy.ended(4)
    assert not users.report().failures, users.report()
    assert shop.serves() == "1.0"


def test_a_rollback_before_the_switch_is_an_abort(shop: Shop, silent: str) -> None:
    """ "Before PROMOTING it is `abort`, exit 0." """
    shop.up("1.0")
    shop.smoke({"name": "Slow", "url": f"http://{silent}/", "timeout": "60s"})
    deploy = shop.start("deploy", shop.ship("1.1"))
    shop.reached("TESTING")
    assert "users saw nothing" in shop.bleen("rollback").out
    deploy.ended(3)


def test_an_abort_while_a_deploy_runs_elsewhere_is_obeyed_and_given_twice_equals_once(shop: Shop, silent: str) -> None:
    """ "A command names an end ("be rolled back"): given twice it equals once." """
    shop.up("1.0")
    shop.kill(shop.engine())
    shop.smoke({"name": "Slow", "url": f"http://{silent}/", "timeout": "60s"})
    deploy = shop.start("deploy", shop.ship("1.1"))
    shop.reached("TESTING")
    for _ in range(2):
        assert "aborted" in shop.bleen("abort").out
    deploy.ended(3)
    assert shop.serves() == "1.0"


def test_a_release_that_is_past_its_hold_is_not_waited_for_with_a_timeout_either(shop: Shop) -> None:
    """`bleen wait [N] [--until completed]` has the same exit codes."""
    shop.up("1.0", drain="20s")
    stream = shop.begun("/stream?s=15&every=0.1")
    shop.bleen("deploy", shop.ship("1.1"))
    retire = shop.start("retire")
    shop.reached("RETIRING")
    shop.bleen("wait", "--timeout", "0")
    assert retire.running
    stream.close()


def test_a_deploy_whose_reader_has_gone_does_not_say_that_it_is_done(shop: Shop) -> None:
    """`deploy`'s 0 means that HOLDING was reached."""
    shop.up("1.0")
    deploy = subprocess.Popen(
        [sys.executable, "-u", "-m", "bleen", "deploy", shop.ship("1.1")],
        cwd=shop.root,
        env=shop.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert deploy.stdout is not None
    deploy.stdout.readline()
    deploy.stdout.close()
    assert deploy.wait(60) == 130
    assert deploy.stderr
    assert b"nobody reads what this prints any more; the release goes on, promotion included" in deploy.stderr.read()
    shop.bleen("wait")
    assert shop.serves() == "1.1"


def test_a_verb_whose_log_is_on_a_full_disk_goes_on_and_exits_with_what_became_of_the_release(shop: Shop) -> None:
    """ "What cannot be printed is left out, and changes no release's exit code." """
    shop.up("1.0")
    shop.ship("1.1")
    for words, serves in ((("deploy", "1.1"), "1.1"), (("rollback",), "1.0"), (("deploy", "1.1", "--json"), "1.1")):
        with open("/dev/full", "w") as full:
            typed = [sys.executable, "-m", "bleen", *words]
            done = subprocess.run(typed, cwd=shop.root, env=shop.environ, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, shop.serves()) == (0, serves), done.stderr
        assert done.stderr == "bleen: not all that this says could be written: No space left on device\n"


def test_a_deploy_waits_for_an_earlier_release_that_is_ending(shop: Shop) -> None:
    """ "`deploy` waits, saying why, while an earlier release that is not halted is RETIRING, CONTRACTING, ROLLING_BACK or UNDOING" """
    shop.up("1.0", "1.1", drain="10s")
    stream = shop.begun("/stream?s=6&every=0.1")
    shop.bleen("rollback")
    said = shop.bleen("deploy", "1.1")
    assert "waits for release 2 (1.1), which is ending" in said.out
    assert "UNDOING: waits for requests in flight to green-2 to end" in said.err
    assert stream.finish()[2].endswith(b"end")
    assert shop.serves() == "1.1"


def test_up_replaces_an_engine_whose_files_were_installed_anew(shop: Shop) -> None:
    """ "A resident engine of another version is named": a checkout has one version for ever"""
    library = shop.root / "library"
    shutil.copytree(Path(bleen.__file__).parent, library / "bleen", ignore=shutil.ignore_patterns("__pycache__"))
    shop.environ["PYTHONPATH"] = str(library)
    shop.up("1.0")
    first = shop.engine()
    shop.bleen("up")
    assert shop.engine() == first
    (library / "bleen" / "cli" / "exits.py").touch()
    assert "the resident engine was started before the files that are installed now" in shop.bleen("doctor").out
    shop.bleen("up")
    assert shop.engine() != first
    assert (shop.serves(), first.alive) == ("1.0", False)
