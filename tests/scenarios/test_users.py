"""An application that runs as somebody else than bleen."""

import os
import pwd
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bleen.host.processes import Process
from bleen.testing import application
from bleen.testing.site import until
from shop import Shop

USER = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
"""Only root can choose another one than itself."""


@pytest.fixture
def shop() -> Iterator[Shop]:
    """Its versions lie where everybody may read, and need nothing that does not; its state is bleen's alone."""
    python = "/usr/bin/python3"
    command = [python, "app.py", "--port", "{port}", "--name", "{version}", "--version", "{version}"]
    with tempfile.TemporaryDirectory(prefix="bleen-user-") as root:
        os.chmod(root, 0o755)
        env = {"GREETING": "${GREETING}", "VERSION": "{version}"}
        with Shop(Path(root), process={"user": USER, "command": command, "env": env, "env_file": "shop.env"}) as made:
            (made.root / "shop.env").write_text("GREETING=well met\n")
            (made.root / "shop.env").chmod(0o600)
            yield made


def ship(shop: Shop, version: str) -> str:
    """A version that is the test application itself."""
    program = shop.releases / shop.ship(version) / "app.py"
    program.write_text(Path(application.__file__).read_text())
    for path in (shop.releases, program.parent, program):
        path.chmod(0o755)
    return version


def test_an_application_runs_as_the_user_that_was_named_from_its_first_release_to_its_retirement(shop: Shop) -> None:
    entry = pwd.getpwnam(USER)
    shop.bleen("up")
    shop.bleen("deploy", ship(shop, "1.0"))
    (process,) = shop.copies("1.0")
    assert who(process) == (entry.pw_uid, entry.pw_gid, set(os.getgrouplist(USER, entry.pw_gid)))
    environ = environment(process)
    assert (environ["GREETING"], environ["VERSION"], environ["HOME"]) == ("well met", "1.0", entry.pw_dir)
    assert environ["PORT"] in shop.status()["environments"]["blue-1"]["targets"][0]
    assert who(shop.proxy())[0] == who(shop.engine())[0] == os.geteuid()
    assert "1.0 1.0 listens on" in shop.bleen("logs").out

    process.signal(signal.SIGKILL)
    until("it was started again", lambda: [p for p in shop.copies("1.0") if p != process])
    assert who(shop.copies("1.0")[0])[0] == entry.pw_uid
    until("it answers again", lambda: shop.serves() == "1.0")

    shop.bleen("deploy", ship(shop, "1.1"))
    shop.bleen("rollback")
    shop.reached("ROLLED_BACK")
    assert (shop.serves(), shop.copies("1.1")) == ("1.0", [])
    shop.bleen("deploy", ship(shop, "1.2"))
    shop.bleen("retire")
    shop.bleen("wait", "--until", "completed")
    assert (shop.serves(), shop.copies("1.0")) == ("1.2", [])


def who(process: Process) -> tuple[int, int, set[int]]:
    """The user, the group and all groups of a process, none of them with a way back to another."""
    fields = {line.partition(":")[0]: line.split()[1:] for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()}
    (user,), (group,) = set(fields["Uid"]), set(fields["Gid"])
    return int(user), int(group), set(map(int, fields["Groups"])) | {int(group)}


def environment(process: Process) -> dict[str, str]:
    pairs = Path(f"/proc/{process.pid}/environ").read_text().rstrip("\0").split("\0")
    return dict(pair.split("=", 1) for pair in pairs)
