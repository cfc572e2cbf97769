"""The fake platform keeps the contract; so a test of the engine over it tells of platforms that do."""

from bleen.model import Environment
from bleen.ports import Platform
from bleen.testing.fakes import FakePlatform
from bleen.testing.platforms import Ground, PlatformContract


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
