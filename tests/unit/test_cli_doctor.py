"""What `bleen doctor` finds on this machine."""

import errno
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bleen import config
from bleen.cli import main
from bleen.host import clock, listening, processes
from bleen.providers.routers.certificate import Certificate
from bleen.testing.proxies import self_signed

Found = Callable[[], dict[str, str]]


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Found:
    """What doctor says where a good bleen.yaml is: a state for each finding."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLEEN_STATE", str(tmp_path / "state"))

    def doctor() -> dict[str, str]:
        main(["doctor", "--json"])
        return {each["what"]: each["state"] for each in json.loads(capsys.readouterr().out)}

    return doctor


@pytest.mark.parametrize("seen", [True, False], ids=["by somebody whom we may see", "by somebody whom only root sees"])
def test_an_address_that_is_held_is_not_free(found: Found, seen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not seen:
        monkeypatch.setattr(processes, "owner", lambda _: None)
    with socket.create_server(("127.0.0.1", 0)) as holder, socket.create_server(("127.0.0.1", 0)) as free:
        listen, preview = (f"127.0.0.1:{each.getsockname()[1]}" for each in (holder, free))
        free.close()
        Path("bleen.yaml").write_text(config.template("envoy", "shop").replace("127.0.0.1:8080", listen).replace("127.0.0.1:8081", preview))
        said = found()
        assert said[f"{preview} is free"] == "ok"
        lent = [what for what in said if what.endswith("to clients, one of which may have it when the proxy starts")]
        assert [what.partition(":")[0] for what in lent] == [f"port {each.rpartition(':')[2]}" for each in (listen, preview)]
        (held,) = [what for what in said if what.startswith(listen)]
        assert said[held] == "no"
        assert f"is held by pid {os.getpid()} (" in held if seen else held.endswith("cannot be listened on: Address already in use")


def test_a_port_that_a_connection_has_is_told_to_be_free_again_and_one_that_others_listen_on_to_be_root_s_to_see() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert listening.unseen("{}:{}".format(*server.getsockname())) == "look as root who holds it"
        kernel = processes.ephemeral()
        range_ = f"{kernel[0]}-{kernel[-1]}"
        said = f"nobody listens there, so a connection has it, as its port is one of {range_}, which the kernel gives to clients: try again"
        assert listening.unseen("{}:{}".format(*client.getsockname())) == said


def test_a_port_that_only_root_may_take_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    denied = PermissionError(errno.EACCES, "Permission denied")
    (lowest := tmp_path / "ip_unprivileged_port_start").write_text("1024\n")
    monkeypatch.setattr(listening, "_LOWEST", lowest)
    way = "run bleen as root, listen elsewhere, or `sudo sysctl net.ipv4.ip_unprivileged_port_start=80`"
    assert listening.reason("0.0.0.0:80", denied) == f"Permission denied: ports below 1024 are for root; {way}"
    assert listening.reason("0.0.0.0:1024", denied) == "Permission denied"


@pytest.mark.parametrize("label", ["CERTIFICATE", "TRUSTED CERTIFICATE"])
def test_a_certificate_that_has_run_out_is_not_ok(found: Found, tmp_path: Path, label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = self_signed(tmp_path / "tls")
    if label != "CERTIFICATE":
        argv = ["openssl", "x509", "-in", tls["certificate"], "-trustout", "-addtrust", "serverAuth", "-out", tls["certificate"]]
        subprocess.run(argv, check=True, capture_output=True)
    listens = 'listen: "127.0.0.1:8080"'
    text = config.template("haproxy", "shop")
    Path("bleen.yaml").write_text(text.replace(listens, f"{listens}\n    tls: {{certificate: {tls['certificate']}, key: {tls['key']}}}"))
    assert found()[f"certificate: {tls['certificate']} fits its key"] == "ok"
    now = time.time()
    monkeypatch.setattr(clock, "wall", lambda: now + 2 * 86400 + 60)
    (said,) = [what for what in found() if what.startswith("certificate: ")]
    assert said.startswith(f"certificate: {tls['certificate']} ran out on {time.strftime('%Y-%m-%d %H:', time.gmtime(now + 2 * 86400))}")


def test_a_certificate_whose_dates_nobody_can_read_ends_no_doctor(found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = self_signed(tmp_path / "tls")
    text, listens = config.template("haproxy", "shop"), 'listen: "127.0.0.1:8080"'
    Path("bleen.yaml").write_text(text.replace(listens, f"{listens}\n    tls: {{certificate: {tls['certificate']}, key: {tls['key']}}}"))
    monkeypatch.setattr(Certificate, "check", lambda self: None)
    Path(tls["certificate"]).write_text("-----BEGIN CERTIFICATE-----\nMAMwAQA=\n-----END CERTIFICATE-----\n")
    said = [what for what, state in found().items() if "is good cannot be read" in what and state == "warn"]
    assert len(said) == 1


@pytest.mark.parametrize(
    ("says", "state", "what"),
    [
        ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/", "ok", "haproxy: 2.6.12-1+deb12u4 ("),
        ("HAProxy version 3.1-dev3 2026/10/17", "ok", "haproxy: 3.1-dev3 ("),
        ("HAProxy version 2.4.22-0ubuntu0.22.04.3 2023/12/04", "no", "haproxy: 2.4.22-0ubuntu0.22.04.3 ("),
        ("", "no", "haproxy: does not say its version ("),
    ],
)
def test_a_haproxy_that_is_older_than_what_it_is_written_for_stands_in_the_way(
    found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, state: str, what: str
) -> None:
    program = tmp_path / "haproxy"
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert found()[f"{what}{program})"] == state


def test_all_that_the_host_lacks_for_a_release_stands_in_the_way(found: Found) -> None:
    """ "`doctor` looks at the machine": what `deploy` would refuse, and not what came first of it."""
    text = config.template("envoy", "shop").replace("[python3, app.py,", "[no-such-program,").replace("    # user: shop ", "    user: nobody-of-that-name ")
    Path("bleen.yaml").write_text(text.replace("    # tls: {", "    tls: {"))
    said = found()
    for part in ("`no-such-program` is no program", "this host has no user `nobody-of-that-name`", "fullchain.pem is no file", "key.pem is no file"):
        assert [said[what] for what in said if part in what] == ["no"], part
    assert said["bleen.yaml is good: service shop"] == "ok"
