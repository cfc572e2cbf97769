"""Run by test_journal inside a mount namespace of its own, with a small tmpfs on the directory of argv[1]; argv[2] is a directory with room.

Fills the disk to its last byte while a release bakes, bakes on, and goes back as a second process would. The worlds of the fakes have a disk of their own.
"""

import sys
from contextlib import suppress
from pathlib import Path

from bleen.errors import Unavailable
from bleen.host.state import Place
from bleen.lifecycle import Phase, Verb
from bleen.plan import Step
from bleen.testing.service import NAME, FakeService
from disks import fill


def main(small: Path, roomy: Path) -> None:
    place = Place(NAME, small)
    place.make()
    (place.path / "world").symlink_to(roomy)
    service = FakeService(small)
    service.stand()
    service.deploy("1.1", Phase.BAKING, steps=(Step(100, 300.0),))
    service.journal.beat()
    assert place.reserve.exists(), "no reserve was kept"
    kept = place.reserve.stat().st_size
    fill(small / "everything")
    with suppress(Unavailable):
        for _ in range(2000):
            service.journal.beat()
    assert place.reserve.stat().st_size == kept, "a heartbeat spent the reserve"
    bake(service, 290.0)
    with suppress(Unavailable):
        service.journal.beat()
    assert service.journal.silence() < 1, "who drives on a full disk counts as hung"
    assert place.reserve.stat().st_size == kept, "a bake spent the reserve"
    bake(service, 15.0)
    assert [event.phase for event in service.events][-2:] == [Phase.BAKING, Phase.HOLDING], "what was baked on a full disk does not count"
    service.close()
    again = FakeService(small)
    answer = again.ask(Verb.ROLLBACK)
    again.drive()
    print(answer.obeyed, again.release.phase, again.router.truth().shares, again.faults(), place.reserve.exists() and place.reserve.stat().st_size == kept)


def bake(service: FakeService, seconds: float) -> None:
    end = service.clock.now() + seconds
    while service.clock.now() < end:
        again = None
        with suppress(Unavailable):
            again = service.tick()
        service.clock.advance(again or 0.2)


main(Path(sys.argv[1]), Path(sys.argv[2]))
