"""What befalls a host: a full disk, a reboot, a clock that jumps, a second service, somebody on our ports."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bleen.host import clock, processes
from bleen.testing.load import Problem
from bleen.testing.site import until
from disks import run_on_a_small_disk
from shop import ROUTERS, Shop


@pytest.mark.parametrize("router", ROUTERS)
def test_a_rollback_works_on_a_full_disk(tmp_path: Path, router: str) -> None:
    """ "From PROMOTING to HOLDING it always works: [...] with a full disk (a reserve is kept for it)" """
    run_on_a_small_disk("14m", Path(__file__).with_name("full_disk.py"), tmp_path / "small", tmp_path / "roomy", router)


def test_an_older_bleen_refuses_a_newer_journal_by_its_number_before_it_trips_over_what_it_holds(shop: Shop) -> None:
    """ "The journal has a format number: [...] an older one refuses." """
    shop.up("1.0", "1.1").ship("1.2")
    engine, serving = shop.engine(), {shop.proxy(), *shop.copies("1.0"), *shop.copies("1.1")}
    with sqlite3.connect(shop.place.journal) as journal:
        (known,) = journal.execute("PRAGMA user_version").fetchone()
        journal.execute(f"PRAGMA user_version = {known + 1}")
    until("the engine, an older one now, has ended", lambda: not engine.alive)
    with sqlite3.connect(shop.place.journal) as journal:
        journal.execute("UPDATE service SET holder = json_set(holder, '$.later', 1), confirmed = json_set(confirmed, '$.later', 1)")
        journal.execute("UPDATE release SET phase = 'LATER', plan = json_set(plan, '$.later', 1), row = json_set(row, '$.later', 1)")
        before = [*journal.iterdump()]
    verbs = "up|deploy 1.2|plan 1.2|promote|abort|rollback|rollback --force|status|wait|history|logs|retire|resume|close|down --yes|engine"
    for verb in verbs.split("|"):
        said = shop.bleen(*verb.split(), code=2)
        assert f"has format {known + 1}, this bleen knows {known}: it was written by a newer bleen; use that one" in said.err, verb
    with sqlite3.connect(shop.place.journal) as journal:
        assert [*journal.iterdump()] == before
    assert shop.serves() == "1.1"
    assert {*shop.processes()} == serving
    log = shop.place.log.read_text()
    assert "newer bleen" in log
    assert "Traceback" not in log


def test_after_a_reboot_in_the_hold_the_active_and_the_warm_version_are_started_then_the_listener(either: Shop) -> None:
    """ "After a reboot `bleen up` starts the active environment, while HOLDING the warm one too, then the listener with the routing as journalled" """
    shop = either
    shop.up("1.0", "1.1")
    shop.ship("1.1", "--listen-after", "1")
    _reboot(shop)
    assert shop.status()["engine"]["watches"] is False
    up = shop.start("up")
    first = until("somebody listens", lambda: _answer(shop))
    assert first == "1.1", "the listener was there before the version that it leads to"
    assert "1.1 serves" in up.ended(0).out
    until("the old version is warm again", lambda: shop.status()["rollback"]["ready"])
    assert (len(shop.copies("1.0")), len(shop.copies("1.1"))) == (1, 1)
    assert shop.story()[-1] == "HOLDING"
    shop.bleen("rollback")
    assert shop.serves() == "1.0"


@pytest.mark.parametrize("phase", ["PROVISIONING", "TESTING", "BAKING"])
def test_after_a_reboot_an_unfinished_release_resumes(shop: Shop, phase: str) -> None:
    """ "an unfinished release resumes before anything is retired." """
    shop.up("1.0").configure(bake="1s")
    shop.smoke({"name": "Slow", "url": "/sleep?s=1", "timeout": "20s"})
    deploy = shop.start("deploy", shop.ship("1.1", "--listen-after", "0.5"))
    shop.reached(phase)
    until("it has begun", lambda: shop.release.memo or phase != "TESTING")
    deploy.kill()
    _reboot(shop)
    shop.bleen("up")
    shop.reached("HOLDING")
    assert shop.serves() == "1.1"
    assert shop.status()["rollback"] == {"ready": True, "to": "1.0", "reason": None}


def test_after_a_reboot_in_a_rollback_the_old_version_serves(shop: Shop) -> None:
    """ "an unfinished release resumes before anything is retired." """
    shop.up("1.0", "1.1")
    shop.tell("1.0", "hang")
    rollback = shop.start("rollback")
    shop.reached("ROLLING_BACK")
    rollback.kill()
    _reboot(shop)
    shop.bleen("up")
    shop.reached("ROLLED_BACK")
    assert shop.serves() == "1.0"
    assert not shop.copies("1.1")


def test_a_reboot_does_not_lengthen_or_shorten_the_window(shop: Shop) -> None:
    """ "After a reboot, time elapsed at the last heartbeat counts on." """
    shop.up("1.0", "1.1")
    until("a heartbeat was written", lambda: _beaten(shop) > shop.release.entered + 1)
    before = shop.status()["release"]["waiting"]["seconds"]
    _reboot(shop, longer_up=1_000_000)
    shop.bleen("up")
    left = shop.status()["release"]["waiting"]["seconds"]
    assert 840 < left <= before


def test_a_jump_of_the_clock_closes_no_window_early_and_keeps_none_open(shop: Shop) -> None:
    """ "A jump of the clock closes no window early." """
    (shop.root / "clock").mkdir()
    (shop.root / "clock" / "sitecustomize.py").write_text(
        "import time, pathlib\n_offset, _time = pathlib.Path(__file__).with_name('offset'), time.time\n"
        "time.time = lambda: _time() + float(_offset.read_text())\n"
    )

    def jump(days: int) -> None:
        beside = shop.root / "clock" / "new"
        beside.write_text(str(days * 86400))
        beside.rename(shop.root / "clock" / "offset")

    jump(0)
    shop.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(shop.root / "clock"), shop.environ.get("PYTHONPATH", "")]))
    shop.up("1.0", "1.1")
    for days in (400, -400):
        jump(days)
        before = _beaten(shop)
        until("the engine has looked since", lambda: _beaten(shop) > before + 1)  # noqa: B023 - looked at now
        seen = shop.status()
        assert seen["release"]["phase"] == "HOLDING"
        assert 0 < seen["release"]["waiting"]["seconds"] < 900
        assert seen["rollback"]["ready"] is True
    shop.bleen("retire")
    shop.configure(rollback_window="1s")
    shop.bleen("deploy", shop.ship("1.2"))
    jump(-800)
    shop.reached("COMPLETED")
    year = str(time.gmtime(time.time() - 800 * 86400).tm_year)
    assert shop.bleen("history", "--json").json[0]["since"].startswith(year)  # the jumps were real


def test_two_services_of_a_host_release_at_once_and_their_ports_never_collide(tmp_path: Path) -> None:
    """ "addresses and ports are checked across the services of a host" """
    with Shop(tmp_path / "one", process={"replicas": 3}) as one, Shop(tmp_path / "two", "haproxy", "store", process={"replicas": 3}, state=one.state) as two:
        for each in (one, two):
            each.settings["platform"]["process"]["ports"] = one.settings["platform"]["process"]["ports"]
            each.configure()
            each.bleen("up")
        for version in ("1.0", "1.1"):
            deploys = [each.start("deploy", each.ship(version)) for each in (one, two)]
            for deploy in deploys:
                deploy.ended(0)
        ports = [target for each in (one, two) for found in each.status()["environments"].values() for target in found["targets"]]
        assert len(ports) == len(set(ports)) == 12
        assert one.bleen("status", "--service", "store", "--json").json["service"] == "store"
        one.bleen("rollback")
        assert (one.serves(), two.serves()) == ("1.0", "1.1")


def test_an_address_of_another_service_is_refused_even_while_that_one_is_down(tmp_path: Path) -> None:
    """ "addresses and ports are checked across the services of a host" """
    with Shop(tmp_path / "one") as one, Shop(tmp_path / "two", service="store", state=one.state) as two:
        one.up("1.0")
        wide = one.preview.replace("127.0.0.1", "0.0.0.0")  # which holds that address, too
        two.configure(router={"envoy": {"listen": wide, "preview": two.preview}})
        for verb, code in {"up": 2, "doctor": 1}.items():
            said = two.bleen(verb, code=code).text
            assert f"{wide} is held by pid {one.proxy().pid} (" in said
            assert "which serves the service shop" in said
            assert (
                f"choose another address in bleen.yaml; or, if shop is to be gone for good, `bleen down --yes --service shop`, then remove {one.place.path}"
                in said
            )
        one.bleen("down", "--yes")
        two.configure(router={"envoy": {"listen": one.preview, "preview": two.preview}})
        said = two.bleen("up", code=2).err
        assert f"{one.preview} is an address of the service shop" in said
        assert f"`bleen down --yes --service shop`, then remove {one.place.path}\n" in said
        assert not two.place.journal.exists()
        shutil.rmtree(one.place.path)
        two.bleen("up")


def test_a_service_that_comes_from_another_file_than_until_now_says_so(shop: Shop) -> None:
    """ "One name is one service of a host: a bleen.yaml of another path than until now goes on with it, and that is said." """
    shop.up("1.0")
    copy = shop.root / "copy"
    shutil.copytree(shop.releases, copy / "releases")
    (copy / "bleen.yaml").write_text(shop.file.read_text())
    there = f"shop was run from {shop.file} until now, which is still there: one name is one service"
    words = ("-f", "copy/bleen.yaml")
    planned = shop.bleen("plan", "1.0", *words).out
    assert f"note: {there}" in planned
    assert f"note: directory changes: 1.0 runs in {shop.releases}/1.0, and would now run in {copy}/releases/1.0" in planned
    assert f"warn  {there}" in shop.bleen("doctor", *words).out
    assert f"note: {there}" in shop.bleen("up", *words).err
    assert shop.bleen("up", *words).err == ""
    copy.rename(shop.root / "gone")
    assert shop.bleen("up").err == f"note: shop moves here from {copy}/bleen.yaml, which is gone\n"
    assert "note: shop" not in shop.bleen("plan", shop.ship("1.1")).out


def test_a_copied_file_is_no_handle_on_somebody_s_production_before_a_release_of_it_has_gone_through(shop: Shop) -> None:
    """Exit 2 is "nothing touched": a refused `deploy` of a copy made `rollback` and `down` there move, and end, the users of the service that was copied."""
    shop.up("1.0", "1.1")
    copy = shop.root / "copy"
    shutil.copytree(shop.releases, copy / "releases")
    text = shop.file.read_text()
    (copy / "bleen.yaml").write_text(text.replace(shop.preview, "127.0.0.1:1"))
    words = ("-f", "copy/bleen.yaml")
    refused = shop.bleen("deploy", "1.0", *words, code=2).err
    assert f"shop was run from {shop.file} until now, which is still there" in refused
    assert "the router's settings are not part of a release and have changed" in refused
    shop.bleen("plan", "1.0", *words, code=2)
    for verb in (["rollback"], ["down", "--yes"], ["status"]):
        assert "no service is known for" in shop.bleen(*verb, *words, code=2).err
    (copy / "bleen.yaml").write_text(text)
    shop.bleen("deploy", "1.0", "--end-window", *words)
    assert "1.1 serves again" in shop.bleen("rollback", *words).out


def test_a_file_with_a_fault_becomes_nobody_s_whatever_service_is_named_beside_it(shop: Shop, tmp_path: Path) -> None:
    """A `bleen rollback` in that directory moved the users of the service that was named."""
    shop.up("1.0")
    other = tmp_path / "other"
    other.mkdir()
    (other / "bleen.yaml").write_text(f"{shop.file.read_text().rstrip()[:-1]}, nix: 1}}")
    words = ("-f", str(other / "bleen.yaml"))
    assert "shop comes up with the settings that it had" in shop.bleen("up", "--service", "shop", *words).err
    assert "no service is known for" in shop.bleen("rollback", *words, code=2).err
    elsewhere = {"BLEEN_STATE": str(tmp_path / "elsewhere")}
    shop.file.write_text((other / "bleen.yaml").read_text())
    for named in ((), ("--service", "shop")):
        assert f"it is known under another BLEEN_STATE than {tmp_path}/elsewhere" in shop.bleen("up", *named, code=2, environ=elsewhere).err
    (other / "bleen.yaml").unlink()
    misspelt = shop.bleen("up", "--service", "shpo", *words, code=2).err
    assert "no service 'shpo' under" in misspelt
    assert f"{other}/bleen.yaml" in misspelt, "the slip may be in either"
    assert "shop is up on" in shop.bleen("up", "--apply", "--service", "shop", *words).out


def test_an_old_process_on_a_port_does_not_pass_for_the_new_version(shop: Shop) -> None:
    """ "A target is healthy only if the listening socket belongs to its own process tree: an old process on the port must not pass for the new one." """
    shop.up("1.0").configure(checks={"health": {"path": "/health", "interval": "100ms", "timeout": "2s"}})
    port = int(shop.status()["environments"]["blue-1"]["targets"][0].rpartition(":")[2]) + 1
    deploy = shop.start("deploy", shop.ship("1.1", "--listen-after", "20"))
    shop.reached("PROVISIONING")
    until("the port was given out", (shop.place.environments / "green-2" / "1.json").exists)
    squatter = subprocess.Popen([sys.executable, "-m", "bleen.testing.application", "--port", str(port), "--name", "squatter"], stdout=subprocess.DEVNULL)
    try:
        said = deploy.ended(3)
    finally:
        squatter.kill()
        squatter.wait()
    assert f"another process, pid {squatter.pid}" in said.err
    assert shop.serves() == "1.0"


def test_a_port_that_somebody_listens_on_is_not_given_out(shop: Shop) -> None:
    """ "Ports come from a configured range outside the kernel's ephemeral range and are recorded with the release." """
    low, _, high = shop.settings["platform"]["process"]["ports"].partition("-")
    with socket.create_server(("127.0.0.1", int(low))):
        shop.up("1.0")
        port = int(shop.status()["environments"]["blue-1"]["targets"][0].rpartition(":")[2])
        assert int(low) < port <= int(high)


def test_what_runs_on_without_a_record_is_named_by_down(shop: Shop) -> None:
    """`down` ends production: what it cannot end any more is said."""
    shop.up("1.0")
    (copy,) = shop.copies("1.0")
    shutil.rmtree(shop.place.environments / "blue-1")
    said = shop.bleen("down", "--yes", code=1).text
    assert f"kill {copy.pid} " in said
    shop.kill(copy)
    shop.bleen("down", "--yes")


def test_a_directory_that_is_gone_is_said_to_be_and_is_no_bug(shop: Shop, tmp_path: Path) -> None:
    """Exit codes: 2 usage, configuration or a refusal, 70 a bug of ours."""
    shop.up("1.0")
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"import os, subprocess, sys; os.rmdir({str(gone)!r}); sys.exit(subprocess.call([sys.executable, '-m', 'bleen', 'rollback']))"
    said = subprocess.run([sys.executable, "-c", script], cwd=gone, env=shop.environ, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (
        2,
        "bleen: the directory that this was typed in is gone: go to another one, or name the service with --service\n",
    )


def test_a_rollback_needs_neither_bleen_yaml_nor_the_checkout(shop: Shop) -> None:
    """ "From PROMOTING to HOLDING it always works: [...] with a broken bleen.yaml" """
    shop.up("1.0", "1.1")
    shop.file.write_text(":::: {{{ not yaml")
    assert "1.0 serves again" in shop.bleen("rollback").out
    shop.configure()
    shop.reached("ROLLED_BACK")
    shop.bleen("deploy", "1.1")
    shutil.rmtree(shop.releases)
    shop.file.unlink()
    assert "1.0 serves again" in shop.bleen("rollback").out
    assert shop.serves() == "1.0"
    assert "1.0 serves from blue" in shop.bleen("status", "--service", "shop").out
    shop.kill(shop.engine())
    assert "warn  nobody watches" in shop.bleen("doctor").out, "a file that is gone is no reason not to look"


def _reboot(shop: Shop, longer_up: float = 0.0) -> None:
    """Every process is gone at once, and what was recorded was recorded under another boot, in which the host had been up for so many seconds more."""
    engine = shop.engine()
    until("the engine is stopped while it launches nothing", lambda: _stopped_alone(engine))  # what it launches would not be among those that are found
    everything = shop.processes()
    for each in everything:
        each.signal(signal.SIGSTOP)  # else whoever is killed last sees the others end, and says so
    shop.kill(*everything)
    now, before = clock.boot_id(), "00000000-0000-4000-8000-000000000000"
    for file in shop.place.path.rglob("*.json"):
        file.write_text(file.read_text().replace(now, before))
    with sqlite3.connect(shop.place.journal) as journal:
        journal.execute("UPDATE release SET row = replace(row, ?, ?)", (now, before))
        journal.execute("UPDATE clock SET boot = ?, seen = seen + ?", (before, longer_up))
        journal.execute("UPDATE release SET entered = entered + ?, row = json_set(row, '$.until', json_extract(row, '$.until') + ?)", (longer_up, longer_up))
        journal.execute("UPDATE service SET holder = json_set(holder, '$.boot', ?)", (before,))


def _stopped_alone(engine: processes.Process) -> bool:
    """Stops it; lets it go on where it has a child, which may be waiting for it."""
    engine.signal(signal.SIGSTOP)
    until("it is stopped", lambda: engine.stopped)
    if processes.tree(engine) == [engine]:
        return True
    engine.signal(signal.SIGCONT)
    return False


def _beaten(shop: Shop) -> float:
    with sqlite3.connect(shop.place.journal) as journal:
        seen: float = journal.execute("SELECT seen FROM clock").fetchone()[0]
    return seen


def _answer(shop: Shop) -> str:
    try:
        return shop.serves()
    except Problem:
        return ""
