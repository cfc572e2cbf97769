"""Two services on one database, each with its own migrations, as real releases."""

from contextlib import ExitStack
from pathlib import Path

import databases
from shop import Shop


def test_two_services_on_one_database_release_and_contract_each_its_own(tmp_path: Path, oldest: databases.Postgres) -> None:
    """Only when every environment that exists ships that migration, or says that it uses nothing which those of that service change."""
    with ExitStack() as stack:
        name, shops = stack.enter_context(oldest.database()), list[Shop]()
        with oldest.connect(name) as db:
            db.execute("CREATE TABLE shop (id int, old int); CREATE TABLE desk (id int, old int)")
        for service in ("shop", "desk"):
            database = {"url": oldest.url(name)}
            made = stack.enter_context(Shop(tmp_path / service, "haproxy", service, state=tmp_path / "state", database=database, rollback_window="0s"))
            for version in ("1.0", "1.1"):
                folder = made.releases / made.ship(version) / "migrations" / f"0001_{service}"
                folder.mkdir(parents=True)
                (folder / "expand.sql").write_text(f"ALTER TABLE {service} ADD COLUMN new int;")
                (folder / "contract.sql").write_text(f"ALTER TABLE {service} DROP COLUMN old;")
            shops.append(made.up())
        shop, desk = shops
        shop.bleen("deploy", "1.0")
        assert "write `database: {apart: {shop: WHY}}` into its bleen.yaml" in desk.bleen("deploy", "1.0", code=2).err
        desk.configure(database={**desk.settings["database"], "apart": {"shop": "it has a table of its own"}})
        waits = "note: shop shares this database, and does not ship 0001_desk, whose contract waits for that; let it ship that, or, if shop uses nothing"
        assert waits in desk.bleen("deploy", "1.0").out
        desk.bleen("wait", "--until", "completed")
        gone = ("migrate", "contract", "--yes", "--json", "--because", "its processes connect to nothing")
        assert desk.bleen(*gone, code=1).json["waits"][0].startswith("shop shares this database, and its blue-1 (1.0) does not ship 0001_desk; ")
        shop.configure(database={**shop.settings["database"], "apart": {"desk": "it has a table of its own", "dask": "misspelt"}})
        said = shop.bleen("deploy", "1.1").out
        assert "note: database.apart names dask, and no service of that name has been on this database yet" in said
        assert "names desk" not in said
        shop.bleen("wait", "--until", "completed")
        of_desk = "0001_desk: contract pending of desk, expanded "
        said = shop.bleen("migrate", "status").out
        assert of_desk in said
        assert said.endswith("  it is for desk to contract, with its bleen.yaml\n"), said
        assert shop.bleen(*gone).json["contracted"] == ["0001_shop"]
        assert shop.bleen("migrate", "contract", "--yes").out == "no contract is pending of shop; 0001_desk is for desk to contract\n"
        assert desk.bleen(*gone).json["contracted"] == ["0001_desk"]
        desk.bleen("plan", "1.1")
