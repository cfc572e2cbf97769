"""What `bleen doctor` finds on this machine."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from bleen import config
from bleen.cli import main
from bleen.host import processes

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
        (held,) = [what for what in said if what.startswith(listen)]
        assert said[held] == "no"
        assert f"is held by pid {os.getpid()} (" in held if seen else held.endswith("cannot be listened on: Address already in use")
