"""The triggers of others on MySQL and MariaDB, as far as a role is shown them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bleen.database.mysql.server import MySQL

_TRIGGERS = """
    SELECT trigger_schema, trigger_name, event_object_schema, event_object_table, coalesce(action_statement, '') FROM information_schema.triggers
    WHERE LEFT(trigger_name, 6) <> 'bleen_' AND trigger_schema NOT IN ('mysql', 'sys') ORDER BY 1, 2"""

Table = tuple[str, str]
"""Its database and its name, as the catalogue has them."""


class Trigger(NamedTuple):
    """A trigger of somebody's."""

    schema: str
    name: str
    of: Table
    """The table whose writes fire it."""
    body: str
    """Empty if it is not for who asks: MariaDB lists a trigger to who may read and write its table, and shows the text only with the privilege TRIGGER."""

    def where(self, server: "MySQL") -> str:
        """It and its table, for people."""
        return f"{called(server, self.schema, self.name)} on table {self.of[1]}"


def triggers(server: "MySQL") -> list[Trigger]:
    return [Trigger(schema, name, server.qualified(of), body) for schema, name, *of, body in server.rows(_TRIGGERS)]


def called(server: "MySQL", schema: str, name: str) -> str:
    """A trigger or a view, for people."""
    return name if schema == server.database else f"{schema}.{name}"


def unshown(server: "MySQL", privilege: str, schema: str, several: bool = False) -> str:
    """That the text of a trigger or a view is not for who asks, and what to do."""
    said, does = ("their texts are", "they do") if several else ("its text is", "it does")
    return f"{said} not shown to this role: GRANT {privilege} ON {server.quoted(schema)}.* TO that role lets it be seen whether {does}"


def together(kind: str, schema: str, names: Sequence[str]) -> str:
    """Triggers or views of a database that holds nothing of what a statement is about, for people: of them it is enough to say that they are there."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{kind}{'s' * (len(names) > 1)} {', '.join(names[:3])}{more} of {schema}"
