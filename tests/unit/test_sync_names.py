"""What the triggers of a pair are called, and what says in them whose they are: an update of bleen has to find those that an earlier one has made."""

from typing import cast

import pytest

from bleen.database import sync
from bleen.database.migration import Pair
from bleen.database.mysql.server import MySQL
from bleen.database.sqlite.values import Table
from bleen.database.sync import mysql, postgres, sqlite

NAMES = Pair("users", ("first", "last"), ("full_name",), {"full_name": "first || last"}, {"first": "f(full_name)", "last": "l(full_name)"})
LONG = "0008_" + "abcdefghij" * 6


def names(migration: str) -> tuple[str, str, str]:
    """On PostgreSQL, on MySQL and on SQLite."""
    return (
        postgres.Sync(migration, 2, NAMES, "public", "users", {}, "", {}, {}, postgres.Calls(True, False)).name,
        mysql.Sync(cast(MySQL, None), migration, 2, NAMES, "shop", "users", {}, (), (), False, "", {}).name,
        sqlite.Sync(migration, 2, NAMES, Table("users", {}, "rowid")).name,
    )


def test_triggers_are_called_as_their_migration_and_its_pair() -> None:
    assert names("0007_full_name") == ("~bleen_0007_full_name_2", "bleen_0007_full_name_2", "~bleen_0007_full_name_2")


def test_of_a_long_migration_as_much_as_fits_and_what_tells_it_from_others() -> None:
    assert names(LONG) == (
        "~bleen_0008_abcdefghijabcdefghijabcdef_240dc817_2",
        "bleen_0008_abcdefghijabcdefghija_240dc817_2",
        "~bleen_0008_abcdefghijabcdefghijabcdefghijabcdefghijabcde_240dc817_2",
    )


@pytest.mark.parametrize(("at", "most", "kept"), [(0, 40, 31), (1, 35, 26), (2, 60, 50)])
def test_a_name_is_cut_from_the_first_character_on_that_does_not_fit(at: int, most: int, kept: int) -> None:
    assert names(LONG[:most])[at].endswith(f"bleen_{LONG[:most]}_2")
    assert f"bleen_{LONG[:kept]}_" in names(LONG[: most + 1])[at]
    assert f"bleen_{LONG[: kept + 1]}" not in names(LONG[: most + 1])[at]


def test_an_installed_pair_is_known_by_its_columns_and_its_expressions() -> None:
    columns, forward = '"new": ["full_name"], "old": ["first", "last"]', '"forward": {"full_name": "first || last"}'
    assert sync.signature(NAMES) == f'{{"backward": {{"first": "f(full_name)", "last": "l(full_name)"}}, {forward}, {columns}}}'
