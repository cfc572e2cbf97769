"""Two services on one database, each with migrations of its own that begin with 0001."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from bleen.cli.database import allowed
from bleen.database import connect
from bleen.database.command.home import Home
from bleen.database.gate import Around
from bleen.database.migration import Migration, parse
from bleen.database.schema import Schema
from bleen.errors import UserError
from bleen.model import Environment, apart_from
from bleen.ports import Shipping
from dialects import DIALECTS, urls


def migration(of: str) -> Migration:
    files = {"expand.sql": f"CREATE TABLE new_{of} (id int);", "contract.sql": f"DROP TABLE {of};", "revert.sql": f"DROP TABLE new_{of};"}
    return parse(f"0001_{of}", files, of)


SHOP, DESK = migration("shop"), migration("desk")


@pytest.fixture(params=DIALECTS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with ExitStack() as stack:
        yield urls(request.param, stack, request)[0]


@pytest.fixture
def schema(url: str) -> Iterator[Schema]:
    with closing(connect(url)) as server:
        for of in ("shop", "desk"):
            server.rows(f"CREATE TABLE {of} (id int)")
        yield Schema(server)


def ships(own: Migration, *apart: str) -> Mapping[str, frozenset[str]]:
    return {"blue-1": frozenset({own.name, *map(apart_from, apart)})}


def around(service: str, own: Migration, *apart: str) -> Around:
    return Around(service, tuple(Shipping(Environment.parse(name), "1", names, 1, 0) for name, names in ships(own, *apart).items()))


def waits(schema: Schema, around: Around) -> list[tuple[str, list[str]]]:
    return [(each.migration, [o.why for o in each.obstacles if not o.unseen]) for each in schema.pending(around)]


def test_each_contracts_and_releases_its_own_once_both_say_that_they_use_nothing_of_the_other(schema: Schema) -> None:
    """Only when every environment that exists ships that migration, or says that it uses nothing which those of that service change."""
    schema.expand([SHOP], "shop", 1, ships(SHOP), {"blue-1": "1"})
    said = r"^0001_desk has the number of 0001_shop, .* \(shop brought it\): give it another number, or, if desk uses .* `database: \{apart: \{shop: WHY\}\}`"
    with pytest.raises(UserError, match=said):
        allowed(schema, "1", [DESK], service="desk")
    allowed(schema, "1", [DESK], service="desk", apart=["shop"])
    schema.expand([DESK], "desk", 1, ships(DESK, "shop"), {"blue-1": "1"})
    assert waits(schema, around("desk", DESK, "shop"))[0] == (
        "0001_desk",
        [
            "shop shares this database, and its blue-1 (1) does not ship 0001_desk; let it ship that, or, if shop uses nothing that the migrations of desk "
            "change, write `database: {apart: {desk: WHY}}` into its bleen.yaml, and release it; "
            "if that service is gone for good, `bleen migrate forget shop` says so"
        ],
    )
    assert waits(schema, around("shop", SHOP))[1] == ("0001_shop", ["0001_desk comes first, and is pending"])
    schema.expand([SHOP], "shop", 1, ships(SHOP, "desk"), {"blue-1": "1"})
    for service, own, other in (("desk", DESK, "shop"), ("shop", SHOP, "desk")):
        assert waits(schema, around(service, own, other))[0] == (own.name, [])
    assert schema.contract("0001_shop") == ()
    missing = r"^version 2 does not ship 0001_shop, which is contracted: .*; the way on is a version that does, or, if desk uses nothing .* \{shop: WHY\}"
    with pytest.raises(UserError, match=missing):
        allowed(schema, "2", [DESK], service="desk")
    allowed(schema, "2", [DESK], service="desk", apart=["shop"])
    schema.expand([DESK], "desk", 1, ships(DESK, "shop"), {"blue-1": "2"})
    assert waits(schema, around("desk", DESK, "shop")) == [("0001_desk", [])]


def commanded(number: int, of: str) -> Migration:
    """One of a tool that has one line of revisions, and comes to the database, which PostgreSQL tells."""
    comes = 'case "$DATABASE_URL" in postgres*) psql -X "$DATABASE_URL" -c "SELECT 1";; esac'
    halves = "".join(f"{half} = ['sh', '-c', '{comes}', '{half}']\n" for half in ("expand", "contract", "revert"))
    return parse(f"{number:04}_{of}", {"migration.toml": f"description = ''\n[command]\n{halves}unjudged = 'a test'\n"}, of)


def test_a_tool_s_pending_contract_keeps_no_expand_of_another_service_s_tool(schema: Schema, url: str, tmp_path: Path) -> None:
    """Each has a line of its own: "the contracts of those wait for it no more" """
    first, later = commanded(1, "shop"), commanded(2, "desk")
    home = Home("1", str(tmp_path), {"PATH": os.environ["PATH"], "DATABASE_URL": url}, "", ())
    schema.expand([first], "shop", 1, ships(first, "desk"), {"blue-1": "1"}, home)
    with pytest.raises(UserError, match="0002_desk: the contract of 0001_shop is pending"):
        allowed(schema, "1", [later], home, "desk")
    allowed(schema, "1", [later], home, "desk", apart=["shop"])
    assert schema.expand([later], "desk", 1, ships(later, "shop"), {"blue-1": "1"}, home) == [later.name]
