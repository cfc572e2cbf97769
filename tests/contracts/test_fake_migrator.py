"""The fake migrator keeps the contract; so a test of the engine over it tells of migrators that do."""

from bleen.testing.checks import Stand
from bleen.testing.fakes import FakeMigrator, Row
from bleen.testing.migrators import MigratorContract


class TestFakeMigrator(MigratorContract):
    databases: dict[Stand, Row] = {}

    def build(self, stand: Stand, contract: str = "manual") -> FakeMigrator:
        return FakeMigrator(self.databases.setdefault(stand, {}), contract=contract)

    def hold(self, stand: Stand) -> None:
        self.build(stand).hold()

    def let_go(self, stand: Stand) -> None:
        self.build(stand).let_go()

    def refuse(self, stand: Stand) -> None:
        self.build(stand).refuse()

    def break_down(self, stand: Stand) -> None:
        self.build(stand).break_down()

    def mend(self, stand: Stand) -> None:
        self.build(stand).mend()

    def write(self, stand: Stand) -> None:
        self.build(stand).write()
