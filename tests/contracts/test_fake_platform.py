"""The fake platform keeps the contract; so a test of the engine over it tells of platforms that do."""

import os
import signal
import time
from pathlib import Path

from bleen.host.files import Fence
from bleen.model import Environment, Routing
from bleen.ports import Platform
from bleen.testing.fakes import FakePlatform, FakeRouter
from bleen.testing.platforms import BLUE, GREEN, LATER, Ground, PlatformContract


class TestFakePlatform(PlatformContract):
    def build(self, ground: Ground, version: str) -> Platform:
        fake = self._fake(ground)
        fake.lose_version("missing")
        fake.sicken("sick", "answered 500")
        fake.sicken("crashing", "ended with 1", crashing=True)
        return fake

    def copies(self, ground: Ground, environment: Environment) -> list[object]:
        running = self._fake(ground).running().get(environment)
        return list(running.targets[: running.alive]) if running else []

    def crash(self, ground: Ground, environment: Environment, copies: int) -> None:
        self._fake(ground).crash(environment, copies)

    @staticmethod
    def _fake(ground: Ground) -> FakePlatform:
        return FakePlatform(ground.place, ground.fence)


def test_stopping_what_the_router_names_is_a_violation(tmp_path: Path) -> None:
    """What the router names is never stopped."""
    fence = Fence(tmp_path / "fence")
    router, platform = FakeRouter(tmp_path, fence), FakePlatform(tmp_path, fence)
    for environment in (BLUE, GREEN, LATER):
        platform.provision(environment, "1.0", 1, 1)
    targets = {environment: running.targets for environment, running in platform.running().items()}
    router.up(Routing({BLUE: 100}, GREEN, targets), 1)
    platform.retire(LATER, 0, 1)
    platform.retire(BLUE, 1, 1)
    assert not platform.violations()
    platform.retire(GREEN, 0, 1)
    router.kill()
    platform.retire(BLUE, 0, 1)
    assert router.violations() == ["green-5 was stopped while the router previews it", "blue-4 was stopped while the router serves, or may serve, it"]


def test_the_world_outlives_a_process_that_is_killed_in_the_middle_of_changing_it(tmp_path: Path) -> None:
    fence = Fence(tmp_path / "fence")
    platform = FakePlatform(tmp_path, fence)
    for after in (0.001, 0.003, 0.01, 0.03):
        if (process := os.fork()) == 0:
            while True:
                platform.provision(BLUE, "1.0", 2, 1)
                platform.retire(BLUE, 1, 1)
        time.sleep(after)  # the instant, not a condition
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        platform.provision(BLUE, "1.0", 2, 1)
        assert platform.running()[BLUE].alive == 2
