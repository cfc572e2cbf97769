"""Environments that die while a release is under way: what users feel of it, and what the release does."""

import re
import shutil
import socket

from bleen.testing.load import Client
from bleen.testing.site import until
from shop import Shop


def test_a_version_that_dies_in_its_tests_is_aborted_and_users_see_nothing(shop: Shop) -> None:
    """ "Watched: the new environment found dead takes the failure edge at the next tick, whatever else was being waited for." """
    shop.up("1.0")
    with socket.create_server(("127.0.0.1", 0)) as silent, shop.load() as users:
        shop.smoke({"name": "Slow", "url": f"http://127.0.0.1:{silent.getsockname()[1]}/", "timeout": "60s"})
        deploy = shop.start("deploy", shop.ship("1.1"))
        shop.reached("TESTING")
        users.wait(10)
        shop.crash("1.1")
        assert "is dead" in deploy.ended(3).err
        users.wait(10)
    assert not users.report().failures, users.report()
    assert users.report().who().keys() == {"1.0"}
    assert not shop.copies("1.1")


def test_a_version_that_never_becomes_healthy_is_stopped_with_its_last_words_in_the_report(shop: Shop) -> None:
    """ "A version that never becomes healthy is stopped, with its last log lines in the report." """
    shop.up("1.0", checks={"health": {"path": "/health", "interval": "100ms", "timeout": "1s"}})
    said = shop.bleen("deploy", shop.ship("1.1", "--health", "fail"), code=3)
    assert "did not become healthy within 1s" in said.err
    assert "log: 1| 1.1 1.1 listens on" in said.out
    assert not shop.copies("1.1")


def test_a_version_that_crashes_at_once_is_aborted_before_its_time_is_over(shop: Shop) -> None:
    """ "An environment whose processes all keep crashing (three restarts each within a minute) is dead too" """
    shop.up("1.0", checks={"health": {"path": "/health", "interval": "100ms", "timeout": "60s"}})
    said = shop.bleen("deploy", shop.ship("1.1", "--no-such-option"), code=3)
    assert "unrecognized arguments: --no-such-option" in said.out
    assert re.search(r"1\.1 keeps crashing: green-2/1 [0-9.:]+: .*crashed [345] times", said.err)
    assert shop.serves() == "1.0"


def test_a_version_that_dies_right_after_the_switch_is_rolled_back_at_once(either: Shop) -> None:
    """ "Green dead at any time from PROMOTING to the end of HOLDING, blue healthy: traffic goes back at once" """
    either.up("1.0").configure(bake="60s")
    deploy = either.start("deploy", either.ship("1.1"))
    either.reached("BAKING")
    assert either.serves() == "1.1"
    either.crash("1.1")
    assert "rolled back to 1.0: 1.1 (green) is dead" in deploy.ended(4).err
    assert either.serves() == "1.0"
    assert either.bleen("wait", code=4)
    assert either.story()[-3:] == ["ROLLING_BACK", "UNDOING", "ROLLED_BACK"]


def test_a_version_that_dies_in_the_hold_is_rolled_back_at_once_and_the_next_deploy_says_so(shop: Shop) -> None:
    """ "The next `deploy` first reports a rollback that happened since." """
    shop.up("1.0", "1.1")
    shop.reached("HOLDING")
    shop.crash("1.1")
    shop.reached("ROLLED_BACK")
    assert shop.serves() == "1.0"
    said = shop.bleen("deploy", shop.ship("1.2")).out
    assert said.startswith("note: release 2 (1.1) was rolled back: 1.1 (green) is dead")


def test_flapping_moves_nothing(shop: Shop) -> None:
    """ "Anything less is shown and not acted on; flapping moves nothing." """
    shop.configure(platform={"process": {**shop.settings["platform"]["process"], "replicas": 2}})
    shop.up("1.0", "1.1")
    release = shop.reached("HOLDING")
    with shop.load() as users:
        users.wait(10)
        shop.tell("1.1", "fail", only=0)  # one of two, for longer than three looks
        users.wait(100)
        shop.tell("1.1", "ok", only=0)
        users.wait(10)
        assert shop.status()["release"]["phase"] == "HOLDING"
    assert not users.report().failures, users.report()
    assert users.report().who().keys() == {"1.1"}
    assert shop.release.entered == release.entered


def test_a_version_that_serves_and_is_not_well_is_shown_without_a_release_under_way(shop: Shop) -> None:
    """ "Anything less is shown and not acted on" """
    shop.up("1.0")
    assert shop.status()["environments"]["blue-1"]["unwell"] is None
    shop.tell("1.0", "fail")
    said = shop.bleen("status").out
    assert said.startswith("shop: 1.0 serves from blue, and is NOT WELL: 0 of 1 are ready\n")
    assert "    not well: blue-1/1 " in said
    seen = shop.status()["environments"]["blue-1"]
    assert (seen["ready"], "answered 5" in seen["unwell"]) == (0, True)
    assert "blue-1 (1.0), which serves, is not well" in shop.bleen("doctor", code=1).out
    until("it is in the engine's log", lambda: "blue-1 serves, and is dead: blue-1/1 " in shop.bleen("logs", "engine").out)
    shop.tell("1.0", "ok")
    until("that it is well is too", lambda: "blue-1 is well again" in shop.bleen("logs", "engine").out)
    shop.tell("1.0", "fail")
    shop.smoke({"name": "of whoever deploys", "url": "/${SET_ELSEWHERE}"})
    looked = shop.bleen("doctor", code=1).out
    assert "${SET_ELSEWHERE} is not set" in looked
    assert "blue-1 (1.0), which serves, is not well" in looked


def test_each_version_is_judged_by_the_health_check_that_it_was_released_with(either: Shop) -> None:
    """ "Command, variables, directory and replicas belong to a release": so does the way in which a version is asked whether it is well."""
    either.up("1.0", checks={"health": {"path": "/", "timeout": "5s"}})
    either.tell("1.0", "fail")  # of /health, which nobody who knows 1.0 asks for
    either.configure(checks={"health": {"path": "/health", "timeout": "5s"}})
    either.ship("1.1")
    assert "no rollback" not in either.bleen("plan", "1.1").out
    with either.load() as users:
        either.bleen("deploy", "1.1")
        assert either.status()["rollback"] == {"ready": True, "to": "1.0", "reason": None}
        either.tell("1.1", "fail")
        until("dead, it was left at once", lambda: either.serves() == "1.0")
        either.bleen("wait", code=4)
    assert not users.report().failures, users.report()
    assert either.status()["environments"]["blue-1"]["unwell"] is None


def test_errors_that_a_new_version_answers_are_told_when_its_bake_is_over(either: Shop) -> None:
    """ "Anything less is shown and not acted on": a version that is well, and answers errors, is promoted, and that is said."""
    either.up("1.0", bake="1500ms")
    deploy = either.start("deploy", either.ship("1.1"))
    either.reached("BAKING")
    until("1.1 answers", lambda: either.serves() == "1.1")
    for _ in range(3):
        assert Client(either.listen).ask("GET", "/status?code=500")[0] == 500
    said = deploy.ended(0).out
    assert re.search(r"BAKING +3 of \d+ requests to 1\.1 so far ended in errors .*: nothing is moved for that; `bleen rollback` returns to 1\.0\n", said), said


def test_an_active_version_that_is_dead_does_not_prevent_the_promotion_of_a_healthy_one(shop: Shop) -> None:
    """ "An active environment that is unhealthy never prevents the promotion of a healthy one; the plan says that there is no rollback then." """
    shop.up("1.0")
    shop.crash("1.0")
    shop.ship("1.1")
    assert "1.0 (blue) is not healthy: once promoted, there is no rollback to it" in shop.bleen("plan", "1.1").out
    shop.bleen("deploy", "1.1")
    assert shop.serves() == "1.1"
    assert shop.status()["rollback"]["ready"] is False


def test_an_active_version_that_dies_before_the_switch_does_not_prevent_it(shop: Shop) -> None:
    """ "An active environment that is unhealthy never prevents the promotion of a healthy one" """
    shop.up("1.0").configure(promotion={"mode": "manual"})
    shop.bleen("deploy", shop.ship("1.1"), code=7)
    shop.crash("1.0")
    shop.bleen("promote")
    assert shop.serves() == "1.1"


def test_with_both_dead_the_release_halts_and_the_traffic_stays(either: Shop) -> None:
    """ "Both dead, from PROMOTING on: halted, traffic untouched, and said loudly." """
    shop = either
    shop.up("1.0").configure(bake="60s")
    deploy = shop.start("deploy", shop.ship("1.1"))
    shop.reached("BAKING")
    shop.tell("1.0", "fail")
    shop.tell("1.1", "fail")
    said = deploy.ended(5)
    assert "both environments are dead, traffic was left where it is" in said.err
    assert "stays warm" not in said.out
    seen = shop.status()
    assert (seen["active"]["version"], seen["release"]["phase"]) == ("1.1", "BAKING")
    assert "both environments are dead" in seen["release"]["halted"]
    assert "HALTED" in shop.bleen("status").out
    assert shop.bleen("wait", code=5)
    assert "is halted in BAKING" in shop.bleen("deploy", "1.0", code=6).err
    assert shop.serves() == "1.1"  # the proxy goes on trying: panic mode
    shop.tell("1.1", "ok")
    shop.bleen("resume")
    assert "it is not halted" in shop.bleen("resume").out
    assert shop.release.phase == "BAKING"
    assert shop.serves() == "1.1"


def test_a_deploy_of_what_serves_says_that_its_release_halted(shop: Shop) -> None:
    """ "5 halted, needs a person" """
    shop.up("1.0", "1.1")
    shop.tell("1.0", "fail")
    shop.tell("1.1", "fail")
    shop.halted()
    assert "halted in HOLDING, needs a person: both environments are dead" in shop.bleen("deploy", "1.1", code=5).err
    shop.bleen("wait", code=5)


def test_a_deploy_of_what_serves_says_that_no_copy_of_it_is_well_and_what_to_do(shop: Shop) -> None:
    """ "If no copy of what serves is ready: nothing is done either, exit 2, saying what is unwell and what to do." """
    shop.up("1.0")
    shop.tell("1.0", "fail")
    said = shop.bleen("deploy", "1.0", code=2).err
    assert said.startswith("1.0 with the same plan serves already, but it is NOT WELL: blue-1/1 "), said
    assert said.endswith("; `bleen logs` may say why, `bleen deploy 1.0 --again` starts it anew\n"), said
    assert "1.0 with the same plan serves already, but it is NOT WELL" in shop.bleen("plan", "1.0", code=2).out


def test_a_rollback_that_is_done_already_says_that_what_serves_is_dead(shop: Shop) -> None:
    """ "exit 2, and why, if the router does not answer, or no copy of what serves is ready" """
    shop.up("1.0", "1.1").bleen("rollback")
    shop.reached("ROLLED_BACK")
    shop.kill(shop.engine(), *shop.copies("1.0"))
    said = shop.bleen("rollback", code=2).err
    assert said.startswith("already on 1.0, but it is NOT WELL: blue-1/1 "), said
    assert said.endswith("; nobody watches: `bleen up` starts an engine\n")
    shop.bleen("up")
    assert shop.bleen("rollback").out == "already on 1.0\n"


def test_a_halted_release_can_be_closed_and_the_next_one_starts_from_what_the_router_serves(shop: Shop) -> None:
    """ "`close` accepts what the router serves now as the truth (terminal CLOSED)." """
    shop.up("1.0", "1.1", checks={"health": {"path": "/health", "interval": "100ms", "timeout": "2s"}})
    shop.tell("1.0", "fail")
    said = shop.bleen("rollback", code=5)
    assert "1.0 (blue) is not healthy, traffic was left where it is" in said.err
    assert shop.serves() == "1.1"
    busy = f"release 2 (1.1) is halted in ROLLING_BACK: {shop.release.halted}"
    assert shop.bleen("deploy", "1.1", code=6).err == f"bleen: {busy}; `bleen status` shows it, then `bleen resume`, `bleen rollback` or `bleen close`\n"
    assert shop.bleen("plan", "1.1").out.startswith(f"`deploy` would be refused now (exit 6): {busy}")
    assert shop.bleen("close").out == "closed; shop: 1.1 serves from green; 1.0 (blue) runs on, until the next deploy takes its place\n"
    assert shop.story()[-1] == "CLOSED"
    assert "it is closed already" in shop.bleen("close").out
    assert shop.bleen("resume").out == "it is not halted\n"
    shop.bleen("deploy", shop.ship("1.2"))
    assert shop.status()["rollback"]["to"] == "1.1"


def test_an_old_version_that_is_not_healthy_takes_the_traffic_only_by_force(shop: Shop) -> None:
    """ "`rollback --force` then moves traffic all the same, and says what it forces." """
    shop.up("1.0", "1.1", checks={"health": {"path": "/health", "interval": "100ms", "timeout": "1s"}})
    shop.tell("1.0", "hang")
    said = shop.bleen("rollback", code=5)
    assert "traffic was left where it is" in said.err
    assert "`bleen rollback --force`" in said.err
    assert shop.serves() == "1.1"
    assert "by force: whether 1.0 is well was not asked" in shop.bleen("rollback", "--force").out
    assert shop.serves() == "1.0"


def test_a_first_release_that_dies_after_its_promotion_halts_and_one_that_fails_before_is_aborted(shop: Shop) -> None:
    """ "A first release has nothing to return to: a failure before promotion is ABORTED; after it halted, still serving." """
    shop.up(bake="60s")
    shop.bleen("deploy", shop.ship("0.9", "--no-such-option"), code=3)
    deploy = shop.start("deploy", shop.ship("1.0"))
    shop.reached("BAKING")
    shop.tell("1.0", "fail")
    assert "1.0 (blue) is dead" in deploy.ended(5).err
    assert shop.serves() == "1.0"
    assert "there is nothing to go back to" in shop.bleen("rollback", code=2).err


def test_a_version_whose_files_are_gone_serves_nobody_and_that_is_said(shop: Shop) -> None:
    """ "A rollback that is forced to an environment that does not run any more sends traffic to where the router knows it, and `deploy` is the way on." """
    shop.up("1.0", "1.1")
    shutil.rmtree(shop.place.environments / "blue-1")
    shop.kill(*shop.copies("1.0"))
    shop.bleen("rollback", "--force")
    assert "shop: 1.0 serves from blue, and is NOT WELL: nothing of it is there any more; `bleen deploy 1.0 --again`" in shop.bleen("status").out
    shop.bleen("deploy", "1.0", "--again")
    assert shop.serves() == "1.0"


def test_an_old_version_whose_record_is_damaged_ends_all_the_same(shop: Shop) -> None:
    """ "an environment is stopped only if routing() does not name it and its requests are over": of its record nothing is needed"""
    shop.up("1.0", rollback_window="1s")
    (record,) = shop.place.environments.glob("*/environment.json")
    record.write_text(record.read_text()[:-9])
    shop.bleen("deploy", shop.ship("1.1"))
    shop.reached("COMPLETED")
    assert (shop.serves(), shop.copies("1.0")) == ("1.1", [])
    (record,) = shop.place.environments.glob("*/environment.json")
    record.write_text("")
    shop.bleen("down", "--yes")
    assert not shop.copies("1.1")


def test_a_bad_version_whose_record_is_damaged_bars_nobody_the_way_back(either: Shop) -> None:
    """ "`rollback` with no release named returns to the environment that served before": nothing of the bad version is needed for it"""
    either.up("1.0", "1.1", drain="1s")
    environment = next(e for e, each in either.status()["environments"].items() if each["version"] == "1.1")
    record = either.place.environments / environment / "environment.json"
    record.write_text(record.read_text()[:-9])
    either.kill(either.proxy())  # what cannot be read keeps nobody from starting this again
    until("the router answers", lambda: either.status()["router"]["answers"])
    seen = either.status()["environments"][environment]
    assert (seen["version"], seen["alive"]) == ("1.1", 1)
    assert "environment.json is not the record of an environment" in seen["unwell"]
    with either.load() as users:
        users.wait(10)
        assert "1.0 serves again" in either.bleen("rollback").out
        users.wait(10)
    assert not users.report().failures, users.report()
    assert either.serves() == "1.0"
    either.reached("ROLLED_BACK")
    assert not either.copies("1.1"), "who it started is known without its record"
