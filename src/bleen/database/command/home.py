"""Where the commands of a version run, and with what environment."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bleen.database.command import Half, words
from bleen.database.migration import Migration
from bleen.database.server import Server
from bleen.errors import Refused
from bleen.host import launch
from bleen.host.redaction import passwords, secret
from bleen.plan import fill


class Home(NamedTuple):
    """Where the commands of a version run."""

    version: str
    directory: str
    env: Mapping[str, str]
    """The whole environment: the application's, and DATABASE_URL, which is the migrating one."""
    user: str
    hidden: tuple[str, ...]
    """What is not to be told."""
    only: str = ""
    """What only the database of DATABASE_URL has, and every session asks for; see ``kept_to``."""


def home_of(version: str, settings: Mapping[str, Any], secrets: Mapping[str, Any], url: str) -> Home:
    """The home of a version: ``settings`` hold ``directory``, ``env`` (templates) and ``user``, as a plan's platform has them; ``secrets`` the ``base`` of the
    environment and the ``values`` of references. Variables that differ from copy to copy are left out. Raises Refused for a reference without a value.
    """
    env = dict(secrets["base"])
    for name, template in settings["env"].items():
        try:
            env[name] = fill(template, {"version": version}, secrets["values"])
        except KeyError:  # a port, an instance, an environment: a command is none of them
            env.pop(name, None)
    hidden = {url, *passwords(url), *secret(secrets)}
    return Home(version, settings["directory"], {**env, "DATABASE_URL": url}, settings["user"], tuple(hidden - {""}))


def startable(migration: Migration, half: Half, home: Home | None) -> Home:
    """Where the command of a half runs. Raises Refused if no version is known, or for what can be seen to be missing there before anything is done."""
    argv = words(migration, half)
    if home is None:
        raise Refused(f"{migration.name}: {half} runs `{shlex.join(argv)}`, and no version is known in whose directory; deploy one that ships it")
    must_be_there(f"{migration.name}/migration.toml: [command] {half}", argv, home, home.env)
    return home


def must_be_there(where: str, argv: Sequence[str], home: Home, env: Mapping[str, str]) -> None:
    """Raises Refused, with where the command is written and what can be done, for one that cannot be started."""
    program = launch.Program(argv, home.directory, env, "", home.user)
    try:
        launch.check(program)
    except Refused as error:
        lost = os.path.isdir(home.directory) and not launch.found(program)
        way = f"; put it there, or write its whole path: that of a virtual environment ends in bin/{os.path.basename(argv[0])}" if lost else ""
        raise Refused(f"{where}: {error}{way}") from None


def environment(server: Server, home: Home, session: str, timeout: float) -> dict[str, str]:
    """The variables of a command. For PostgreSQL, what libpq reads: a short lock_timeout, and a session that ends with its client and can be told apart."""
    env = dict(home.env)
    if launch.MARK in os.environ:
        env[launch.MARK] = os.environ[launch.MARK]
    if server.dialect != "postgres":
        return env
    options = [f"-c lock_timeout={round(timeout * 1000)}ms"]
    (checked,) = server.rows("SELECT current_setting('client_connection_check_interval')")[0]  # ours is set, where the server can
    options += [f"-c client_connection_check_interval={checked}"] if checked != "0" else []
    options += ["-c default_text_search_config=" + re.sub(r"[\\\s]", r"\\\g<0>", home.only)] if home.only else []
    env["PGAPPNAME"], env["PGOPTIONS"] = session, " ".join([*filter(None, [env.get("PGOPTIONS")]), *options])
    url = env["DATABASE_URL"]
    if found := re.search(r"[?&]options=[^&#]*", url):  # which libpq prefers to PGOPTIONS
        more = "%20".join(["", *options]).replace(" ", "%20").replace("=", "%3D")
        env["DATABASE_URL"] = url[: found.end()] + more + url[found.end() :]
    return env
