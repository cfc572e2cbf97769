"""Run by test_journal inside a mount namespace of its own, with a small tmpfs on the directory of argv[1]; argv[2] is a directory with room.

Brings a release to HOLDING, fills the disk to its last byte, and goes back as a second process would. The worlds of the fakes have a disk of their own.
"""

import sys
from contextlib import suppress
from pathlib import Path

from bleen.errors import Unavailable
from bleen.host.state import Place
from bleen.lifecycle import Phase, Verb
from bleen.testing.service import NAME, FakeService
from disks import fill


def main(small: Path, roomy: Path) -> None:
    place = Place(NAME, small)
    place.make()
    (place.path / "world").symlink_to(roomy)
    service = FakeService(small)
    service.stand()
    service.deploy("1.1", Phase.HOLDING)
    service.journal.beat(NAME)
    assert place.reserve.exists(), "no reserve was kept"
    kept = place.reserve.stat().st_size
    fill(small / "everything")
    with suppress(Unavailable):
        for _ in range(2000):
            service.journal.beat(NAME)
    assert place.reserve.stat().st_size == kept, "a heartbeat spent the reserve"
    service.close()
    again = FakeService(small)
    answer = again.ask(Verb.ROLLBACK)
    again.drive()
    print(answer.obeyed, again.release.phase, again.router.truth().shares, again.faults(), place.reserve.exists() and place.reserve.stat().st_size == kept)


main(Path(sys.argv[1]), Path(sys.argv[2]))
