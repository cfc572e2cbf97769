"""Run by test_hosts inside a mount namespace of its own, with a small tmpfs on the directory of argv[1], where the state lies; argv[2] has room.

Releases 1.0 and 1.1 by a router (argv[3]), fills the disk to its last byte, and goes back.
"""

import sys
from pathlib import Path

from bleen.cli.access import Access
from bleen.lifecycle import Phase
from bleen.testing.site import until
from disks import fill
from shop import Shop


def main(small: Path, roomy: Path, router: str) -> None:
    with Shop(roomy, router, state=small) as shop:
        shop.up("1.0", "1.1")
        until("a reserve is kept", shop.place.reserve.exists)
        ballast = small / "everything"
        fill(ballast)
        engine = shop.engine()
        shop.kill(shop.proxy())
        until("the killed proxy is started again", lambda: shop.status()["router"]["shares"] == {"green-2": 100})
        assert engine.alive
        assert "the disk of" in shop.bleen("deploy", shop.ship("1.2"), "--end-window", code=2).err
        assert shop.status()["rollback"]["ready"], "what cannot be deployed gives up nothing"
        with shop.load() as users:
            users.wait(10)
            shop.bleen("rollback")
            users.wait(10)
        assert not users.report().failures, users.report()
        assert shop.serves() == "1.0"
        shop.kill(shop.proxy())  # what it comes back with was written down, disk full or not
        ballast.unlink()
        shop.reached("ROLLED_BACK")
        until("the proxy is back", lambda: shop.status()["router"]["shares"] == {"blue-1": 100})
        until("a new reserve is kept", shop.place.reserve.exists)
        shop.bleen("deploy", "1.2")
        shop.bleen("down", "--yes")
        fill(ballast)
        shop.bleen("up")
        assert shop.serves() == "1.2"
        said = shop.bleen("deploy", shop.ship("1.3"), code=2).err
        assert f"the disk of {shop.place.path} is full: nothing was changed; make room" in said, said
        assert shop.release.plan.version == "1.2"
        ballast.unlink()
        shop.bleen("deploy", "1.3", "--end-window")
        access, held = Access(shop.place, shop.journal), shop.release
        assert access.as_it_is(held) == held
        fill(ballast)
        assert access.as_it_is(held._replace(phase=Phase.TESTING)).why == f"room on the disk of {shop.place.path}, which is full"
        assert access.as_it_is(held) == held, "what has moved has the reserve"
        assert shop.status()["rollback"]["ready"], "there is a reserve"

        def left() -> bool:
            shop.place.reserve.unlink(missing_ok=True)
            fill(ballast)  # unless the engine was there first, with a new one
            return shop.place.reserve.exists()

        until("nothing is left of the reserve", lambda: not left())
        assert "nothing is left of the reserve that a rollback has: make room" in shop.status()["rollback"]["reason"]
        assert "no room for a reserve: once it is full, no rollback can be done" in shop.bleen("doctor", code=None).out


main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
