"""Expand and contract: what a release does to the schema, and what it must not do. Nothing here is loaded on the way of a rollback but ``migrator``."""

import importlib
from typing import TYPE_CHECKING

from bleen.errors import UserError

if TYPE_CHECKING:
    from bleen.database.server import Server
    from bleen.database.statements import Dialect

_SCHEMES: dict[str, "Dialect"] = {"postgresql": "postgres", "postgres": "postgres", "mysql": "mysql", "mariadb": "mysql", "sqlite": "sqlite"}
_SERVERS = {
    "postgres": "bleen.database.postgres.server:Postgres",
    "sqlite": "bleen.database.sqlite.server:SQLite",
    "mysql": "bleen.database.mysql.server:MySQL",
}


def dialect(url: str) -> "Dialect":
    """The dialect of a database's url, by its scheme. Raises UserError for another."""
    scheme = url.partition(":")[0].partition("+")[0]  # postgresql+psycopg, as SQLAlchemy writes it
    if not url:
        raise UserError("the database's url is empty: see that the variable behind database.url has a value")
    if scheme not in _SCHEMES:
        known = ", ".join(f"{s}://" for s in _SCHEMES)  # what it begins with may be a password
        raise UserError(f"the database's url begins with none of {known}")
    return _SCHEMES[scheme]


def connect(url: str, application: str = "bleen migrate") -> "Server":
    """One direct connection to a database. Raises UserError for a url that none can be, Unavailable, or Refused for a server that cannot be worked with."""
    kind = dialect(url)
    if kind not in _SERVERS:
        raise UserError(f"bleen does not change the schema of {kind} databases yet; it lints for them")
    module, _, name = _SERVERS[kind].partition(":")
    scheme, colon, rest = url.partition(":")
    server: Server = getattr(importlib.import_module(module), name)(scheme.partition("+")[0] + colon + rest, application)
    return server
