"""What a verb leaves behind when it ends."""

import json
import os
import pwd
import re
import shlex
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from bleen import config, wiring
from bleen.cli import access, addresses, main, picture, planning
from bleen.cli.access import Access
from bleen.cli.migrating import Opened
from bleen.cli.verbs import deploy, doctor
from bleen.errors import Refused, Unavailable, UserError
from bleen.host import processes
from bleen.host.files import write_durably
from bleen.host.processes import me
from bleen.host.state import Place
from bleen.lifecycle import Phase, Verb
from bleen.model import Due, Routing
from bleen.ports import Holder
from bleen.testing.fakes import FakeMigrator
from bleen.testing.interrupt import fork
from bleen.testing.journals import ELSEWHERE
from bleen.testing.proxies import self_signed
from bleen.testing.service import NAME, FakeService
from bleen.testing.site import free_address

ADDRESSES = {"listen": "127.0.0.1:1", "preview": "127.0.0.1:2", "tls": None, "keep_alive": 5.0}


@pytest.mark.parametrize(("up", "starts"), [(True, 1), (False, 0)])
def test_what_a_verb_drove_goes_on_under_an_engine_but_what_was_taken_down_stays_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, up: bool, starts: int
) -> None:
    """`down` ends production"""
    started: list[list[str]] = []

    def spawn(path: str, argv: list[str], environ: Mapping[str, str], **_: object) -> int:
        started.append(argv)
        return 0

    service = FakeService(tmp_path)
    service.stand()
    release = service.deploy("1.1", Phase.HOLDING)
    driver = service.driver()
    driver.ended_resident = True
    service.journal.register(NAME, service.service.router, up)
    monkeypatch.setattr(os, "posix_spawn", spawn)
    Access(service.place, service.journal).leave(driver, release)
    assert len(started) == starts
    service.close()


@pytest.mark.parametrize("verb", ["rollback", "retire", "wait", "up", "down --yes", "engine", "migrate expand 1.2", "migrate contract --yes"])
def test_who_is_not_the_user_of_a_service_changes_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """ "State belongs to the user whose directory it is: what acts refuses everybody else, root too, exit 2, naming that user and how to become it." """
    service = FakeService(tmp_path)
    service.stand()
    service.deploy("1.1", Phase.HOLDING)
    (file := tmp_path / "bleen.yaml").write_text(f"{config.template('envoy', NAME)}database: {{url: 'sqlite:///{tmp_path}/shop.db'}}\n")
    (tmp_path / "shop.db").touch()
    before, place, stat = service.release, service.place, os.stat
    monkeypatch.setenv("BLEEN_STATE", str(tmp_path))
    given = (place.path, place.journal)
    if os.geteuid() == 0:
        for path in given:
            os.chown(path, 65534, -1)
    else:  # nobody else can give a directory away
        monkeypatch.setattr(os, "stat", lambda path, **more: stat("/" if path in given else path, **more))
    files = sorted(place.path.rglob("*"))
    assert main([*verb.split(), "--service", NAME, "-f", str(file)]) == 2
    name = pwd.getpwuid(os.stat(place.path).st_uid).pw_name
    assert f"{place.path} belongs to {name}: nothing was changed; run this as that user: `" in capsys.readouterr().err
    assert (service.release, sorted(place.path.rglob("*"))) == (before, files)
    place.journal = place.fence  # which is ours, as where the directory alone was given away
    with pytest.raises(UserError, match=rf"in it to .*: nothing was changed; as root, give all of it .* or `chown -R {name} {place.path}`"):
        place.must_be_ours()
    theirs = os.stat(place.path)
    monkeypatch.setattr(os, "fstat", lambda _: theirs)
    place.must_be_ours()  # on a share that gives every file to one user it means nothing
    service.close()


@pytest.mark.parametrize(
    "words", ["rollback --service shop", "status", "plan 1.0", "deploy 1.0", "down --yes", "migrate status", "migrate contract --service shop", "doctor"]
)
def test_who_may_not_look_into_the_state_of_another_user_is_told_whose_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    """ "naming that user and how to become it": `no service` sent who had to roll back on to a `bleen up` that could only be refused."""
    with tempfile.TemporaryDirectory() as place:  # one that everybody may look into
        os.chmod(place, 0o755)
        shut = Path(place, "state") if os.geteuid() == 0 else Path("/root")  # only root can become somebody else
        Path(place, "bleen.yaml").write_text(config.template("envoy", "shop") + f"\ndatabase: {{url: 'sqlite:///{place}/db'}}\n")
        shut.mkdir(mode=0o700, exist_ok=True)
        monkeypatch.setenv("BLEEN_STATE", str(shut))
        argv = [*words.split(), "-f", f"{place}/bleen.yaml"]
        monkeypatch.setattr(sys, "argv", ["bleen", *argv])
        main(argv)  # what it takes is loaded, from where the other user perhaps may not

        def told() -> None:
            if os.geteuid() == 0:
                os.setuid(65534)
            capsys.readouterr()
            code, said = main(argv), capsys.readouterr()
            way = f"`sudo -u root -- env BLEEN_STATE={shut} bleen {shlex.join(argv)}`"
            text = f"{shut} belongs to root: nothing was changed; run this as that user: {way}"
            assert (code, said.err, said.out) == (2, f"bleen: {text}\n", "")
            with pytest.raises(UserError, match=re.escape(text)):
                Place("shop").must_be_ours()  # which `up` asks before it makes anything

        assert os.waitpid(fork(told), 0)[1] == 0


@pytest.mark.parametrize("words", ["up", "init --systemd"])
def test_a_service_that_another_user_s_own_state_knows_is_not_brought_up_empty_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    """A service belongs to the user that first brought it up; after a reboot nothing runs by which root could find that out, and its `up` served 503."""
    theirs, file = tmp_path / ".local/state/bleen", tmp_path / "bleen.yaml"
    file.write_text(config.template("envoy", "shop"))
    monkeypatch.setenv("BLEEN_STATE", str(theirs))
    Place("shop").make()
    Place("shop").remember(file)
    monkeypatch.setenv("BLEEN_STATE", str(tmp_path / "root"))
    monkeypatch.chdir(tmp_path)
    entry, stat = pwd.struct_passwd(("ann", "x", 4_000_000, 0, "", str(tmp_path), "/bin/sh")), os.stat
    monkeypatch.setattr(pwd, "getpwuid", lambda _: entry)

    def hers(path: Any, **more: Any) -> os.stat_result:
        found = stat(path, **more)
        return os.stat_result((*found[:4], 4_000_000, *found[5:])) if Path(path) == file else found

    monkeypatch.setattr(os, "stat", hers)
    monkeypatch.setattr(sys, "argv", ["bleen", *words.split()])
    assert main([*words.split(), "-f", str(file)]) == 2
    assert f"{file} belongs to ann: nothing was changed; run this as that user: `" in (said := capsys.readouterr().err)
    assert f"-u ann -- env BLEEN_STATE={theirs} bleen {words}`" in said
    assert sorted(each.name for each in tmp_path.iterdir()) == [".local", "bleen.yaml"]


def test_a_user_who_has_no_name_is_become_by_the_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, stat, nobody = Place(NAME, tmp_path), os.stat, 4_000_000
    place.make()
    monkeypatch.setattr(sys, "argv", ["bleen", "rollback"])
    monkeypatch.setattr(os, "stat", lambda path, **more: os.stat_result((*stat(place.path)[:4], nobody, *stat(place.path)[5:])))
    way = f"(setpriv --reuid {nobody} --clear-groups|sudo -u '#{nobody}') -- env BLEEN_STATE={tmp_path} bleen rollback`"
    with pytest.raises(UserError, match=f"belongs to user {nobody}: nothing was changed; run this as that user: `{way}"):
        place.must_be_ours()


def test_status_says_that_a_renewed_certificate_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The router goes on with the one that it has, until that runs out."""
    service, tls = FakeService(tmp_path), {name: str(tmp_path / f"{name}.pem") for name in ("certificate", "key")}
    service.journal.register(NAME, {"kind": "haproxy", "tls": tls}, True)
    monkeypatch.setattr(wiring, "build", lambda place, known, release: service.build(known, release))
    for each in tls.values():
        Path(each).write_text("this is none")
    certificate, there = wiring.certificate(service.place, service.service.router), Access(service.place, service.journal)

    def told() -> list[str]:
        return [line for line in picture.lines(picture.of(there)) if line.startswith("CERTIFICATE: ")]

    service.claim()
    certificate.mark.write_text(certificate.state())
    assert not told(), "the router has it"
    Path(tls["key"]).write_text("nor is this")
    assert told()[0].startswith(f"CERTIFICATE: the router goes on with the one that it has: the certificate {tls['certificate']}")
    service.router.kill()
    assert told()[0].startswith(f"CERTIFICATE: the certificate {tls['certificate']}"), "a router that does not run goes on with nothing"
    service.close()


@pytest.mark.parametrize("which", ["certificate", "key"])
@pytest.mark.parametrize(("text", "why"), [("", "is empty"), ("this is none", "holds no (CERTIFICATE|PRIVATE KEY) of PEM")])
def test_a_certificate_or_a_key_that_is_none_is_told_in_words(tmp_path: Path, which: str, text: str, why: str) -> None:
    """OpenSSL says "PEM lib" of both files."""
    tls = self_signed(tmp_path / "tls")
    Path(tls[which]).write_text(text)
    with pytest.raises(Refused, match=rf" cannot be used: {tls[which]} {why}$"):
        wiring.certificate(Place(NAME, tmp_path), {"kind": "haproxy", "tls": tls}).check()


@pytest.mark.parametrize("marked", ["with the paths", "by a bleen that wrote none"])
@pytest.mark.parametrize("change", ["none", "tls", "kind"])
def test_a_router_starts_with_the_last_certificate_that_could_be_used_only_where_it_is_that_router_s(tmp_path: Path, change: str, marked: str) -> None:
    """ "2 usage, configuration or a refusal [...], nothing touched": one that was moved to another domain would show the earlier one's."""
    place, tls, other = Place(NAME, tmp_path), self_signed(tmp_path / "tls"), self_signed(tmp_path / "other")
    place.make()
    was: dict[str, Any] = {"kind": "haproxy", "listen": free_address(), "preview": free_address(), "tls": tls}
    certificate = wiring.certificate(place, was)
    certificate.begin(write_durably)
    if marked == "by a bleen that wrote none":
        certificate.mark.write_text("".join(certificate.mark.read_text().splitlines(keepends=True)[-2:]))
    for each in (tls, other):
        each["key"] = shutil.copy(self_signed(tmp_path / "renewed")["key"], each["key"])
    now = {"none": was, "tls": {**was, "tls": other}, "kind": {**was, "kind": "envoy"}}[change]
    refusal = pytest.raises(UserError, match="the key is not this certificate's; nothing was touched")
    with nullcontext() if change == "none" else refusal:
        addresses.usable(place, now, was)


def test_status_says_that_a_version_to_which_a_rollback_did_not_get_is_well_by_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = FakeService(tmp_path)
    service.stand()
    service.deploy("1.1", Phase.HOLDING)
    monkeypatch.setattr(wiring, "build", lambda place, known, release: service.build(known, release))
    service.platform.sicken("1.0", "crashed 4 times")
    service.ask(Verb.ROLLBACK)
    halted, access = service.drive().halted, Access(service.place, service.journal)
    assert picture.of(access)["rollback"]["reason"] == halted
    service.platform.recover("1.0")
    assert picture.of(access)["rollback"]["reason"] == f"1.0 is well by now, and `bleen resume` goes back to it; release 2 halted: {halted}"
    service.router.kill()
    assert picture.of(access)["rollback"]["reason"] == halted  # which may be the router, for which nobody knows whether `resume` gets it back
    service.close()


@pytest.mark.parametrize("well", [True, False])
def test_nobody_is_sent_to_a_rollback_that_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, well: bool) -> None:
    service = FakeService(tmp_path)
    service.stand()
    newest = service.deploy("1.1", Phase.HOLDING)
    monkeypatch.setattr(wiring, "build", lambda place, known, release: service.build(known, release))
    if not well:
        service.platform.sicken("1.0", "crashed 4 times")
    service.router.drift(Routing({newest.environment: 50}))
    access = Access(service.place, service.journal)
    assert ("`bleen rollback` returns to it at once" in planning.in_the_way(access, newest, "1.0")) is well
    service.journal.register(NAME, {"kind": "fake", "listen": "127.0.0.1:1"}, True)
    (way,) = (found.to_do for found in doctor._running(access) if found.what.startswith("drift: "))
    assert ("`bleen rollback` goes ahead all the same" in way) is well
    service.close()


def test_what_drives_a_service_is_built_though_nobody_can_look_at_what_runs(tmp_path: Path) -> None:
    """ "From PROMOTING to HOLDING it always works": a rollback ended with a traceback, and said why without end."""
    service = FakeService(tmp_path)
    service.stand()
    newest = service.deploy("1.1", Phase.HOLDING)
    place, platform = Place(NAME, tmp_path), {"kind": "process", "secrets": ""}
    place.make()
    newest = newest._replace(plan=newest.plan._replace(platform=platform, database={"smoke": [{"name": "x"}], "secrets": ""}))
    place.environments.rmdir()
    place.environments.write_text("what is no directory")
    built = wiring.build(place, service.service._replace(router={"kind": "haproxy", **ADDRESSES}), newest)
    with pytest.raises(Unavailable):
        built.platform.running()
    assert built.before
    service.close()


def test_a_rollback_is_not_ready_on_a_disk_that_has_become_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error of the disk: `status` said that a rollback is ready, and each one failed."""
    service = FakeService(tmp_path)
    service.stand()
    service.deploy("1.1", Phase.HOLDING)
    monkeypatch.setattr(wiring, "build", lambda place, known, release: service.build(known, release))
    access = Access(service.place, service.journal)
    assert picture.of(access)["rollback"]["ready"]
    monkeypatch.setattr(picture, "read_only", lambda path: True)
    back = picture.of(access)["rollback"]
    assert (back["ready"], back["reason"].startswith(f"the disk of {service.place.path} has become read-only: `dmesg` says why")) == (False, True)
    monkeypatch.setattr(doctor, "read_only", lambda path: True)
    monkeypatch.setenv("BLEEN_STATE", str(tmp_path))
    (found,) = doctor._state()
    assert (found.state, "a rollback neither" in found.what) == ("no", True)
    service.close()


def test_status_says_what_serves_where_nobody_can_look_at_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = FakeService(tmp_path)
    service.stand()
    monkeypatch.setattr(wiring, "build", lambda place, known, release: service.build(known, release))
    service.journal.register(NAME, {"kind": "fake", "listen": "127.0.0.1:1"}, True)
    service.platform.break_down("environments cannot be looked at")
    said = picture.lines(picture.of(Access(service.place, service.journal)))
    assert said[0] == "shop: 1.0 serves from blue, and how it is cannot be told"
    assert "    not well: the fake platform: environments cannot be looked at" in said
    service.close()


def test_what_a_contract_failed_on_is_told_beside_what_it_waits_for(tmp_path: Path) -> None:
    """Whoever opens a gate with a reason failed on the same row each time."""
    due: dict[str, Any] = {"migration": "0001_x", "window": None, "waits": ["no session says that it is of green-2"], "failed": "Duplicate entry"}
    assert picture._waits(due, NAME) == "waits for: no session says that it is of green-2; the last time it failed: Duplicate entry"
    assert picture._waits({**due, "waits": []}, NAME) == "`bleen migrate contract` does it; the last time it failed: Duplicate entry"


@pytest.mark.parametrize("words", ["status", "wait --until completed --timeout 2"])
def test_a_contract_that_waits_for_room_on_a_full_disk_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    """ "`bleen status` shows [...] what is waited for": no row can say it, where there is no room for rows."""
    service = FakeService(tmp_path, migrator=(migrator := FakeMigrator({}, contract="auto")))
    name = "0007_full_name"
    database = {"migrations": {name: "sum"}, "expands": [name], "contracts": [name], "before": [], "contract": "auto"}
    service.stand()
    service.deploy("1.1", Phase.CONTRACTING, window=0.0, drain=0.0, database=database)
    migrator.hold()
    monkeypatch.setenv("BLEEN_STATE", str(tmp_path))
    monkeypatch.setattr(wiring, "build", lambda place, known, release: service.build(known, release))
    monkeypatch.setattr(access, "room", lambda path: 0)
    main([*words.split(), "--service", NAME])
    said = capsys.readouterr()
    assert f"waits for room on the disk of {service.place.path}, which is full" in (said.err if words.startswith("wait") else said.out)
    service.close()


def test_a_deploy_that_cannot_be_recorded_leaves_no_secrets_and_says_who_is_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "Values live in a file of mode 0600 for each release until it ends", and "2 [...] nothing touched" """
    service = FakeService(tmp_path, by=ELSEWHERE, patience=0.1)  # or who holds the lock would be ended for it
    service.stand()
    monkeypatch.setattr(wiring, "build", lambda place, known, release: service.build(known, release))
    monkeypatch.setattr(config, "secrets", lambda loaded: {"values": {"KEY": "canary"}})
    planned = planning.Planned(Access(service.place, service.journal), None, service.plan("1.1"), None)  # type: ignore[arg-type]
    with sqlite3.connect(service.place.journal, isolation_level=None) as lock:
        lock.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match=rf"nothing was changed: the journal .* is locked by another process: pid {os.getpid()} \("):
            deploy._record(planned, service.driver())
        lock.execute("ROLLBACK")
    assert list(service.place.secrets.iterdir()) == []
    service.close()


def test_a_deploy_makes_the_directories_again_that_somebody_has_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = FakeService(tmp_path)
    service.stand()
    monkeypatch.setattr(wiring, "build", lambda place, known, release: service.build(known, release))
    for removed in (service.place.secrets, service.place.releases):
        removed.rmdir()
        planning.sweep(Access(service.place, service.journal))
        assert removed.is_dir()
    service.close()


@pytest.mark.parametrize(("age", "hung"), [(5.0, False), (20.0, True)], ids=["it may still be starting", "it had the time to be heard of"])
def test_an_engine_that_stands_by_for_a_dead_one_and_hangs_watches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: float, hung: bool) -> None:
    """ "An engine that is alive and has not been heard of for 15 seconds is hung: `status` says that nobody watches" """
    standing_by = me()
    service = FakeService(tmp_path, by=Holder(os.uname().nodename, standing_by.pid, standing_by.start, "another boot", "0"))
    service.stand()
    service.clock.advance(16.0)
    service.place.engine.write_text(json.dumps(standing_by._asdict()))
    monkeypatch.setattr(processes, "since_boot", lambda: standing_by.start / os.sysconf("SC_CLK_TCK") + age)
    there = Access(service.place, service.journal)
    assert (there.hung, there.watched) == (hung, not hung)
    service.close()


@pytest.mark.parametrize("error", [Unavailable("HAProxy is not running"), UserError("the ledger is gone")])
def test_what_was_done_to_the_schema_is_done_though_what_is_left_cannot_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A contract ended with 2, "nothing touched", as its service had been taken down meanwhile; and `status` went on calling it pending."""

    def pending(opened: Opened, aside: str = "") -> list[object]:
        raise error

    monkeypatch.setattr(Opened, "pending", pending)
    service = FakeService(tmp_path)
    due = [Due(migration=name, description="", since=1.0, waits=[]) for name in ("0001_a", "0002_b")]
    service.journal.pend(NAME, due)
    Opened(None, None, Access(service.place, service.journal)).noted("0001_a")  # type: ignore[arg-type]
    assert [each["migration"] for each in service.service.pending] == ["0002_b"]
    service.close()
