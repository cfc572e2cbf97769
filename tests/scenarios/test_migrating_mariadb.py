"""A whole release that changes the schema of a real MariaDB, with users on both versions and a real proxy."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_migrating import Registry

import people_mariadb
from bleen.testing.site import until
from mariadb import MariaBase, mariadb, numbers
from people import Users


@pytest.fixture(scope="module")
def base() -> Iterator[MariaBase]:
    """Where sessions say who they are: ``performance_schema`` is on, as it is on MySQL."""
    with mariadb("--performance-schema", "--skip-log-bin") as server, server.database() as made:
        yield made


@pytest.fixture
def registry(tmp_path: Path, base: MariaBase) -> Iterator[Registry]:
    """Version 1.0 is up, with a thousand people; 1.1, which brings the migration, is there to be deployed."""
    with base.connect() as client:
        client.run(people_mariadb.TABLE, f"INSERT INTO people (first_name, last_name) SELECT concat('A', seq), concat('B', seq) FROM {numbers(1000)}")
    says = {"APPLICATION": "bleen:shop:{environment}", "ENVIRONMENT": "{environment}"}
    with Registry(tmp_path, "haproxy", base.url, people_mariadb, **says) as shop:
        shop.put("1.0", "old")
        shop.put("1.1", "new", {"0007_full_name": people_mariadb.FULL_NAME})
        shop.bleen("up")
        shop.bleen("deploy", "1.0")
        yield shop


def test_a_release_changes_the_schema_goes_back_and_forth_and_contracts_and_nobody_notices(registry: Registry, base: MariaBase) -> None:
    """Both versions under load, forwards, back, forwards, contract: 0 failed statements, 0 failed requests, 0 rows lost or diverged; the same on MariaDB."""
    with Users(registry.listen) as users:
        until("1.0 is used", users.seen("1.0"))
        registry.bleen("deploy", "1.1")
        until("1.1 is used", users.seen("1.1"))
        registry.bleen("rollback")
        until("1.0 is used again", users.seen("1.0"))
        registry.bleen("wait", code=4)
        (written,) = registry.journal.events(registry.release.id)[-1].facts["written"].values()
        assert written["written"] > 0
        assert written["unreadable"] == 0
        registry.bleen("deploy", "1.1")
        until("1.1 is used again", users.seen("1.1"))
        shut = registry.bleen("migrate", "contract", "--yes", "--json", code=1).json
        assert any("the rollback window of release 3 (1.1) is open" in why for why in shut["waits"])
        registry.bleen("retire")
        registry.bleen("wait", "--until", "completed")
        assert registry.bleen("migrate", "contract", "--yes", "--json").json["contracted"] == ["0007_full_name"]
        until("1.1 is used after the contract", users.seen("1.1"))
    assert users.failed == []
    assert users.asked > 200
    with base.connect() as client:
        kept = {id: tuple(str(name).split(" ")) for id, name in client.rows("SELECT id, full_name FROM people")}
    assert {id: kept[id] for id in users.known} == users.known
    assert all(kept[n] == (f"A{n}", f"B{n}") for n in range(1, 1001))
    assert registry.status()["pending"] == []
