"""What people already have: real Alembic and real Django as the halves of a migration, on a real PostgreSQL."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import databases
from bleen.cli import main
from bleen.cli.database import allowed
from bleen.database.command import alembic as revisions
from bleen.database.command import django as planning
from bleen.database.command import revisions as commanding
from bleen.database.command.home import Home, home_of
from bleen.database.command.revisions import fitting
from bleen.database.ledger import State
from bleen.database.migration import Migration, parse, read
from bleen.database.rehearsal import rehearse
from bleen.database.schema import Schema
from bleen.errors import Refused, UserError
from bleen.testing.interrupt import fork
from bleen.testing.site import until
from databases import Base

NAME = "0007_note"
BIN = str(Path(sys.executable).parent)

ALEMBIC_ENV = """
import os
from alembic import context
from sqlalchemy import create_engine, make_url

url = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg")
if context.is_offline_mode():
    context.configure(url=url, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(url).connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
"""
REVISION = """
from alembic import op
revision, down_revision, branch_labels = {revision!r}, {before!r}, {labels!r}

def upgrade():
    op.execute({up!r})

def downgrade():
    op.execute({down!r})
"""
DJANGO_SETTINGS = """
import os
from urllib.parse import urlsplit

url = urlsplit(os.environ["DATABASE_URL"])
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "USER": url.username, "HOST": url.hostname, "PORT": url.port}}
INSTALLED_APPS = ["shop"]
USE_TZ = True
"""
DJANGO_MANAGE = """
import os, sys
from django.core.management import execute_from_command_line

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
execute_from_command_line(sys.argv)
"""
DJANGO_MIGRATION = """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = {before!r}
    operations = [{operation}]
"""


class Project(NamedTuple):
    """A version's directory with another tool's migrations in it, and how bleen is told of them."""

    home: Home
    migration: Migration
    slow: Path
    """The file of the expand half, and a word of its SQL that may be made to take long."""
    unfit: tuple[str, str]
    """What to replace in it, so that the rules forbid it."""
    rule: str


def toml(**words: list[str]) -> str:
    return "[command]\n" + "".join(f"{name} = {argv!r}\n".replace("'", '"') for name, argv in words.items())


def alembic(directory: Path, place: Home) -> Project:
    """Two branches, so that the next expand does not wait for this contract."""
    (directory / "revisions" / "versions").mkdir(parents=True)
    (directory / "alembic.ini").write_text("[alembic]\nscript_location = revisions\n")
    (directory / "revisions" / "env.py").write_text(ALEMBIC_ENV)
    revisions: Mapping[str, tuple[str | None, tuple[str, ...], str, str]] = {
        "r0": (None, (), "CREATE TABLE shop_user (id int PRIMARY KEY, name text, surname text)", "DROP TABLE shop_user"),
        "e1": ("r0", ("expand",), "ALTER TABLE shop_user ADD COLUMN note text", "ALTER TABLE shop_user DROP COLUMN note"),
        "c1": ("r0", ("contract",), "ALTER TABLE shop_user DROP COLUMN surname", "SELECT 1"),
    }
    for name, revision in revisions.items():
        revise(directory, name, *revision)
    run = ["alembic"]
    files = {
        "migration.toml": toml(
            expand=[*run, "upgrade", "e1"],
            contract=[*run, "upgrade", "c1"],
            revert=[*run, "downgrade", "expand@r0"],
            sql=[*run, "upgrade", "r0:e1", "--sql"],
        )
        + "branched = true\n"
    }
    slow = directory / "revisions" / "versions" / "e1.py"
    return Project(place, parse(NAME, files, NAME), slow, ("ADD COLUMN note text", "ALTER COLUMN id TYPE bigint"), "change-type")


def revise(directory: Path, name: str, before: str | None, labels: tuple[str, ...], up: str, down: str) -> None:
    text = REVISION.format(revision=name, before=before, labels=labels, up=up, down=down)
    (directory / "revisions" / "versions" / f"{name}.py").write_text(text)


def django(directory: Path, place: Home) -> Project:
    """One line: the next expand waits for this contract."""
    migrations = directory / "shop" / "migrations"
    migrations.mkdir(parents=True)
    for package in (migrations, migrations.parent):
        (package / "__init__.py").touch()
    (directory / "settings.py").write_text(DJANGO_SETTINGS)
    (directory / "manage.py").write_text(DJANGO_MANAGE)
    fields = "('id', models.IntegerField(primary_key=True)), ('name', models.TextField(null=True)), ('surname', models.TextField(null=True))"
    operations = {
        "0001_initial": f"migrations.CreateModel('User', [{fields}])",
        "0002_note": "migrations.AddField('User', 'note', models.TextField(null=True))",
        "0003_surname": "migrations.RemoveField('User', 'surname')",
    }
    before: list[tuple[str, str]] = []
    for name, operation in operations.items():
        (migrations / f"{name}.py").write_text(DJANGO_MIGRATION.format(before=before, operation=operation))
        before = [("shop", name)]
    run = ["python", "manage.py"]
    files = {
        "migration.toml": toml(
            expand=[*run, "migrate", "shop", "0002"],
            contract=[*run, "migrate", "shop", "0003"],
            revert=[*run, "migrate", "shop", "0001"],
            sql=[*run, "sqlmigrate", "shop", "0002"],
        )
    }
    unfit = ("models.TextField(null=True)", "models.TextField(default='')")  # whose default Django drops at once
    return Project(place, parse(NAME, files, NAME), migrations / "0002_note.py", unfit, "drop-default")


TOOLS = {"alembic": alembic, "django": django}
FIRST = {"alembic": ["alembic", "upgrade", "r0"], "django": ["python", "manage.py", "migrate", "shop", "0001"]}


def home(directory: Path, url: str) -> Home:
    secrets = {"base": {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}, "values": {}}
    return home_of("1.1", {"directory": str(directory), "env": {}, "user": ""}, secrets, url)


@pytest.fixture(scope="module")
def first(oldest: databases.Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The name of a database that a tool has made itself, as it was before bleen came; to be copied, as a tool takes its time."""
    with ExitStack() as kept:

        @cache
        def made(tool: str) -> str:
            base, directory = Base(oldest, kept.enter_context(oldest.database())), tmp_path_factory.mktemp(tool)
            place = home(directory, base.url)
            TOOLS[tool](directory, place)
            before = toml(expand=FIRST[tool]) + 'unjudged = "the first"\n'
            migration = parse("0001_first", {"migration.toml": before, "revert.sql": "-- bleen: irreversible it is the first\n"}, "")
            with closing(base.open()) as server:
                Schema(server).expand([migration], "shop", 1, {}, {}, place)
            with base.connect() as db:
                db.execute("INSERT INTO shop_user VALUES (1, 'Ada', 'Lovelace')")
            return base.name

        yield made


@pytest.fixture(params=TOOLS)
def tool(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def base(oldest: databases.Postgres, first: Callable[[str], str], tool: str) -> Iterator[Base]:
    """A database of that tool's."""
    with oldest.database(first(tool)) as name:
        yield Base(oldest, name)


@pytest.fixture
def project(base: Base, tool: str, tmp_path: Path) -> Project:
    return TOOLS[tool](tmp_path, home(tmp_path, base.url))


def columns(base: Base) -> list[str]:
    with base.connect() as db:
        found = db.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'shop_user' ORDER BY ordinal_position")
        return [str(name) for (name,) in found]


OLD, BOTH, NEW = ["id", "name", "surname"], ["id", "name", "surname", "note"], ["id", "name", "note"]


@pytest.mark.parametrize(("tool", "option"), [("alembic", "--alembic=r0:e1:c1"), ("django", "--django=shop:0001:0002:0003")])
def test_new_writes_the_folder_of_a_tool(tmp_path: Path, tool: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`bleen migrate new NAME` writes what the tests below carry out, but for what only its owner knows: the labels of branches, and where Python is."""
    assert main(["migrate", "new", "note", option, "--to", str(tmp_path / "to")]) == 0
    place = Home("1.1", str(tmp_path), {}, "", ())
    mine = TOOLS[tool](tmp_path, place).migration.command._replace(branched=False)
    wrote = read(tmp_path / "to" / "0001_note").command
    owners = {"python": ".venv/bin/python", "alembic": ".venv/bin/alembic", "expand@r0": "r0"}
    for half in ("expand", "contract", "revert", "sql"):
        assert getattr(wrote, half) == tuple(owners.get(word, word) for word in getattr(mine, half))


def test_what_people_have_expands_goes_back_expands_and_contracts(base: Base, project: Project) -> None:
    """Alembic (two branches or labels), Django (`migrate app NNNN`), each with its expand and contract half."""
    schema = Schema(base.open())
    allowed(schema, "1.1", [project.migration], project.home)
    schema.expand([project.migration], "shop", 2, {}, {}, project.home)
    assert columns(base) == BOTH
    schema.revert(NAME, project.home)
    assert columns(base) == OLD
    schema.expand([project.migration], "shop", 3, {}, {}, project.home)
    assert columns(base) == BOTH
    schema.contract(NAME, home=project.home)
    assert columns(base) == NEW
    with base.connect() as db:
        assert db.execute("SELECT name, note FROM shop_user").fetchall() == [("Ada", None)]


def test_a_rehearsal_goes_there_and_back_on_the_clone(base: Base, project: Project) -> None:
    """Carries each new migration out on that copy first, before the database itself is touched."""
    with base.server.database(base.name) as clone:
        there = project.home._replace(env={**project.home.env, "DATABASE_URL": base.server.url(clone)})
        took = rehearse(
            base.open(), base.server.url(clone), [project.migration], lambda on, some, home: on.expand(some, "shop", 2, {}, {}, home), there, lambda _: None
        )
    assert list(took) == [NAME]
    assert columns(base) == OLD


@pytest.mark.parametrize(
    ("words", "goal"),
    [
        ("python manage.py migrate shop 0002", ("shop", "0002")),
        ("uv run manage.py --settings=site migrate --database other shop 0002 -v 0", ("shop", "0002")),
        ("python -m django migrate shop", ("shop", "")),
        ("django-admin migrate", ("", "")),
        ("./migrate up 7", None),
        ("flask db migrate", None),
    ],
)
def test_django_s_migrate_is_known_by_its_words(words: str, goal: tuple[str, str] | None) -> None:
    assert planning.goal(words.split()) == goal


@pytest.mark.parametrize(
    ("words", "beyond"),
    [
        ("manage.py migrate auth", ["shop.0002_note", "shop.0001_initial"]),
        ("manage.py migrate shop 0001", ["shop.0002_note"]),
        ("manage.py migrate shop 0002", []),
        ("manage.py migrate", []),
    ],
)
def test_what_django_takes_back_beyond_what_it_has_brought(words: str, beyond: list[str]) -> None:
    """`revert` undoes what was done: of a whole app, not what others have built on it."""
    goal, planned = planning.goal(words.split()), ["shop.0002_note", "shop.0001_initial", "auth.0001_initial"]
    assert goal
    assert goal.beyond(planned) == beyond
    assert goal.beyond(planned, ["shop.0002_note", "crm.0001"]) == planned[1:], "what was noted, whatever the words say"


def test_the_plan_of_django_is_read_behind_what_its_settings_print() -> None:
    plan = "settings.local\nPlanned operations:\nshop.0002_note\n    Add field note to user\n    Raw Python operation -> Fills it.\nblog.0003_más\n"
    assert planning.planned(plan) == ["shop.0002_note", "blog.0003_más"]
    assert planning.planned("settings.local\nPlanned operations:\n  No planned migration operations.\n") == []


def killed_as_it_waits(base: Base, work: Callable[[Schema], object]) -> None:
    """Its tool has come to a table that somebody reads, and has done nothing."""
    with base.connect() as reader, base.connect() as watcher, reader.transaction():
        reader.execute("SELECT FROM shop_user")
        pid = fork(lambda: work(Schema(base.open())))
        waiting = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT granted AND application_name = 'bleen migrate 0007_note'"
        until("the tool waits for its lock", lambda: watcher.execute(waiting).fetchone() != (0,))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        # the lock is not given while it is being killed: Django commits a migration that it takes back before it notes that in its book
        until("the tool has ended", lambda: watcher.execute(waiting).fetchone() == (0,))


@pytest.mark.parametrize("half", ["expand", "contract", "revert"])
def test_killed_in_the_middle_the_next_run_ends_where_the_first_would_have(base: Base, project: Project, half: str) -> None:
    """kill -9 in the middle, and again: the tool waits for a lock when it is killed, and has done nothing, or all."""
    schema = Schema(base.open())
    if half != "expand":
        schema.expand([project.migration], "shop", 2, {}, {}, project.home)

    def work(on: Schema) -> None:
        if half == "expand":
            on.expand([project.migration], "shop", 2, {}, {}, project.home)
        elif half == "contract":
            on.contract(NAME, home=project.home)
        else:
            on.revert(NAME, project.home)

    killed_as_it_waits(base, work)
    work(schema)
    assert columns(base) == {"expand": BOTH, "contract": NEW, "revert": OLD}[half]


@pytest.mark.parametrize("half", ["expand", "contract", "revert"])
def test_a_command_that_was_done_and_not_recorded_is_run_again_and_does_no_harm(base: Base, project: Project, half: str) -> None:
    """A command must be repeatable: it was killed between its end and the ledger's row."""
    schema = Schema(base.open())
    schema.expand([project.migration], "shop", 2, {}, {}, project.home)
    if half == "contract":
        schema.contract(NAME, home=project.home)
    if half == "revert":
        schema.revert(NAME, project.home)
        schema.ledger.begin(project.migration, "shop", 2)
    with base.connect() as db:
        state = {"expand": "expanding", "contract": "contracting", "revert": "reverting"}[half]
        db.execute("UPDATE bleen_migration SET state = %s WHERE name = %s", [state, NAME])
        db.execute("UPDATE bleen_step SET done = 0 WHERE migration = %s AND part = 'command' AND number > 0", [NAME])
    for text, values in schema.ledger.mark(NAME, "command", 1, half != "expand"):
        schema.server.rows(text, values)
    if half == "expand":
        assert schema.expand([project.migration], "shop", 2, {}, {}, project.home) == [NAME]
    elif half == "contract":
        schema.contract(NAME, home=project.home)
    else:
        schema.revert(NAME, project.home)
    assert columns(base) == {"expand": BOTH, "contract": NEW, "revert": OLD}[half]


def test_what_the_tool_prints_is_judged(base: Base, project: Project) -> None:
    was, now = project.unfit
    text = project.slow.read_text()
    assert was in text
    project.slow.write_text(text.replace(was, now))
    with pytest.raises(UserError, match=rf"prints:\d+:\d+: \[{project.rule}\]"):
        allowed(Schema(base.open()), "1.1", [project.migration], project.home)


@pytest.mark.parametrize("tool", ["alembic"], indirect=True)
def test_a_contract_that_alembic_has_found_bleen_s_tables_for_is_refused_before_it_runs(base: Base, project: Project) -> None:
    """`alembic revision --autogenerate` finds tables that no model has, and writes that they are dropped."""
    revise(Path(project.home.directory), "c1", "r0", ("contract",), 'ALTER TABLE shop_user DROP COLUMN surname; DROP TABLE "public".bleen_step', "SELECT 1")
    with pytest.raises(UserError, match=r"upgrade r0:c1 --sql` prints:\d+:\d+: \[bleens-own\] bleen_step is bleen's own, in contract too: "):
        allowed(Schema(base.open()), "1.1", [project.migration], project.home)


SPAN = ["python", "manage.py"]


def spanning(*folders: tuple[str, str, str]) -> list[Migration]:
    """Migrations of Django's, each from one state of the shop to another."""
    made = []
    for name, before, to in folders:
        commands = toml(expand=[*SPAN, "migrate", "shop", to], revert=[*SPAN, "migrate", "shop", before], sql=[*SPAN, "sqlmigrate", "shop", to])
        made.append(parse(name, {"migration.toml": commands}, name))
    return made


@pytest.mark.parametrize("tool", ["django"], indirect=True)
def test_all_that_django_would_run_is_judged(base: Base, project: Project) -> None:
    """`plan`, `deploy` and `migrate expand` run it, and refuse what the rules forbid: on the way to a migration Django runs all that comes before it."""
    (project.slow.parent / "0004_more.py").write_text(
        DJANGO_MIGRATION.format(before=[("shop", "0003_surname")], operation="migrations.AddField('User', 'more', models.TextField(null=True))")
    )
    with pytest.raises(UserError, match=r"what `python manage.py sqlmigrate shop 0003_surname` prints:\d+:\d+: \[drop-in-expand\]") as refused:
        allowed(Schema(base.open()), "1.1", spanning(("0007_more", "0001", "0004")), project.home)
    assert str(refused.value).count("[drop-in-expand]") == 1
    with pytest.raises(UserError, match=r"0007_surname, what .* sqlmigrate shop 0003_surname") as refused:
        allowed(Schema(base.open()), "1.1", spanning(("0007_surname", "0001", "0003"), ("0008_more", "0003", "0004")), project.home)
    assert "0008_more" not in str(refused.value), "each is asked for what those before it leave"


def grown(project: Project) -> Project:
    """With a 0003 that adds a column."""
    (project.slow.parent / "0003_surname.py").unlink()
    (project.slow.parent / "0003_more.py").write_text(
        DJANGO_MIGRATION.format(before=[("shop", "0002_note")], operation="migrations.AddField('User', 'more', models.TextField(null=True))")
    )
    return project


@pytest.mark.parametrize("tool", ["django"], indirect=True)
def test_what_others_have_brought_is_not_taken_back_with_a_migration(base: Base, project: Project) -> None:
    """`revert` refuses while a later migration builds on it: Django goes to a state, and takes back all that is behind it."""
    schema, (note, more) = Schema(base.open()), spanning((NAME, "0001", "0002"), ("0008_more", "0002", "0003"))
    home = grown(project).home
    schema.expand([note, more], "shop", 2, {}, {}, home)
    with pytest.raises(Refused, match="`bleen migrate revert 0008_more` first"):
        schema.revert(NAME, home)
    schema.revert("0008_more", home)
    by_hand(project, "0003")
    with pytest.raises(Refused, match=r"0007_note: revert, .* would take back shop\.0003_more too, and what they hold: take that back first"):
        schema.revert(NAME, home)
    assert columns(base) == [*BOTH, "more"]
    assert schema.ledger.entries()[-1].state is State.EXPANDED
    by_hand(project, "0002")
    schema.revert(NAME, home)
    assert columns(base) == OLD


def customers(project: Project, needs: str) -> Migration:
    """The first one of another app, which needs one of the shop's."""
    directory = project.slow.parents[2]
    crm, settings = directory / "crm" / "migrations", directory / "settings.py"
    crm.mkdir(parents=True)
    (crm / "__init__.py").touch()
    operation = "migrations.CreateModel('Customer', [('id', models.IntegerField(primary_key=True))])"
    (crm / "0001_initial.py").write_text(DJANGO_MIGRATION.format(before=[("shop", needs)], operation=operation))
    settings.write_text(settings.read_text().replace('["shop"]', '["shop", "crm"]'))
    words = {"expand": ["migrate", "crm", "0001"], "revert": ["migrate", "crm", "zero"], "sql": ["sqlmigrate", "crm", "0001"]}
    return parse("0008_crm", {"migration.toml": toml(**{half: [*SPAN, *each] for half, each in words.items()})}, "")


@pytest.mark.parametrize("tool", ["django"], indirect=True)
@pytest.mark.parametrize("needs", ["0002_note", "0003_surname"])
def test_a_contract_of_one_app_keeps_another_waiting_only_where_django_would_run_it_on_its_way(base: Base, project: Project, needs: str) -> None:
    """A pending contract holds nothing up."""
    schema, home, other = Schema(base.open()), project.home, customers(project, needs)
    schema.expand([project.migration], "shop", 2, {}, {}, home)
    if needs == "0002_note":
        allowed(schema, "1.1", [project.migration, other], home)
        assert schema.expand([other], "shop", 3, {}, {}, home) == ["0008_crm"]
        assert columns(base) == BOTH
        return
    with pytest.raises(UserError, match=r"sqlmigrate shop 0003_surname` prints.*drop-in-expand"):
        allowed(schema, "1.1", [project.migration, other], home)
    with pytest.raises(Refused, match=r"0008_crm: the contract of 0007_note is pending, and Django would run it now; contract first$"):
        schema.expand([other], "shop", 3, {}, {}, home)
    schema.contract(NAME, home=home)
    assert schema.expand([other], "shop", 3, {}, {}, home) == ["0008_crm"]


@pytest.mark.parametrize("tool", ["django"], indirect=True)
def test_what_another_migration_has_brought_in_between_is_not_taken_back(base: Base, project: Project) -> None:
    """The version that serves needs it: 0008_more was written to begin where 0007_note begins, too."""
    schema, (note, more) = Schema(base.open()), spanning((NAME, "0001", "0002"), ("0008_more", "0001", "0003"))
    home = grown(project).home
    schema.expand([note, more], "shop", 2, {}, {}, home)
    way = r"take only its own back by hand, `python manage\.py migrate shop 0002_note`, then revert again"
    with pytest.raises(Refused, match=rf"0008_more: revert, .* would take back shop\.0002_note too, and what they hold: {way}"):
        schema.revert("0008_more", home)
    assert columns(base) == [*BOTH, "more"]
    by_hand(project, "0002_note")
    schema.revert("0008_more", home)
    assert columns(base) == BOTH


@pytest.mark.parametrize("already", ["part", "all"])
def test_what_was_there_before_an_expand_stays_where_it_is_reverted(base: Base, project: Project, already: str) -> None:
    """`revert` undoes what was done: what was there before stays. Somebody has brought part of it by hand before bleen came, or all of it."""
    schema, told = Schema(base.open()), list[str]()
    if tool_of(project) == "django":
        home, (whole,), steps = grown(project).home, spanning((NAME, "0001", "0003")), ("0002", "0003")
    else:
        home, whole, steps = version(project, "1.2", "more"), branch(NAME, "more", "r0"), ("e1", "more")
    by_hand(project._replace(home=home), steps[already == "all"])
    schema.expand([whole], "shop", 2, {}, {}, home)
    if already == "part":
        with pytest.raises(Refused, match=r"0007_note: revert, .* would take back (e1|shop\.0002_note) too, and what they hold: take only its own back"):
            schema.revert(NAME, home)
        assert schema.ledger.entries()[-1].state is State.EXPANDED
    else:
        Schema(schema.server, told.append).revert(NAME, home)
        assert any("its expand has brought nothing of that: it is not run, and what was there before stays" in line for line in told)
        assert schema.ledger.entry(NAME) is None
    assert columns(base) == [*BOTH, "more"]


@pytest.mark.parametrize("tool", ["django"], indirect=True)
def test_a_hotfix_of_what_was_rolled_back_to_is_told_to_revert_what_it_does_not_ship(base: Base, project: Project) -> None:
    """The gate of that contract is shut as long as the older version is there, so that nobody can contract first."""
    schema, (hot,) = Schema(base.open()), spanning(("0008_hot", "0001", "0002"))
    schema.expand([project.migration], "shop", 2, {}, {}, project.home)
    said = r"0008_hot: the contract of 0007_note is pending, and Django would run it now; "
    with pytest.raises(UserError, match=rf"{said}`bleen migrate revert 0007_note` first, as this version does not ship it"):
        allowed(schema, "1.0.1", [hot], project.home)
    with pytest.raises(UserError, match=rf"{said}contract first$"):
        allowed(schema, "1.2", [project.migration, hot], project.home)
    commands = branch("0008_other", "e1", "r0").sources["migration.toml"].replace("branched = true", "")
    other = parse("0008_other", {"migration.toml": commands}, "")
    assert commanding.overtaken(other, [project.migration]) == [], "another tool has a line of its own"


@pytest.mark.parametrize("begun", [False, True], ids=["at once", "after an earlier try"])
def test_a_revert_that_its_tool_refuses_leaves_the_migration_as_it_was(base: Base, project: Project, begun: bool) -> None:
    """As with a contract that has taken nothing away: versions that ship it can be deployed as before."""
    schema, text = Schema(base.open()), project.slow.read_text()
    schema.expand([project.migration], "shop", 2, {}, {}, project.home)
    there, refuses = text.index("def downgrade") if "def downgrade" in text else 0, "migrations.RunPython(lambda apps, editor: None), migrations.AddField"
    project.slow.write_text(text[:there] + text[there:].replace("op.execute", "raise NotImplementedError").replace("migrations.AddField", refuses))
    if begun:
        schema.ledger.note([schema.ledger.reached(NAME, State.REVERTING)])
    state = "expanding" if begun else "expanded"
    with pytest.raises(Refused, match=rf"(?s)(NotImplementedError|IrreversibleError).*nothing was taken back: {NAME} is {state}$"):
        schema.revert(NAME, project.home)
    allowed(schema, "1.1", [project.migration], project.home)
    assert schema.expand([project.migration], "shop", 2, {}, {}, project.home) == [NAME] * begun
    assert schema.ledger.entries()[-1].state is State.EXPANDED
    project.slow.write_text(text)
    schema.revert(NAME, project.home)
    assert columns(base) == OLD


@pytest.mark.parametrize("tool", ["django"], indirect=True)
def test_what_a_failed_expand_has_left_is_not_said_to_be_reverted(base: Base, project: Project) -> None:
    """Half of a migration that is not atomic: Django has not noted it, so that going back finds nothing to do."""
    schema, text = Schema(base.open()), project.slow.read_text()
    fails = text.rstrip().removesuffix("]") + ", migrations.RunPython(lambda apps, editor: 1 / 0)]\n    atomic = False\n"
    project.slow.write_text(fails)
    with pytest.raises(Refused, match="ZeroDivisionError"):
        schema.expand([project.migration], "shop", 2, {}, {}, project.home)
    with pytest.raises(Refused, match=rf"`bleen migrate revert {NAME} --because REASON`\nnothing was taken back: {NAME} is expanding"):
        schema.revert(NAME, project.home)
    assert columns(base) == BOTH
    with base.connect() as db:
        db.execute("ALTER TABLE shop_user DROP COLUMN note")
    schema.revert(NAME, project.home, because="dropped by hand")
    project.slow.write_text(text)
    schema.expand([project.migration], "shop", 3, {}, {}, project.home)
    assert columns(base) == BOTH


@pytest.mark.parametrize("tool", ["django"], indirect=True)
@pytest.mark.parametrize("mended", ["another name, nothing done", "another name, half done", "one put before, half done"])
def test_what_a_later_try_of_an_expand_brings_is_of_its_own_too(base: Base, project: Project, mended: str) -> None:
    """`revert` undoes what was done, also where the files of the tool were mended between two tries."""
    files, (whole,) = grown(project).slow.parent, spanning((NAME, "0001", "0003"))
    schema, last = Schema(base.open()), files / "0003_more.py"
    text = last.read_text()
    if mended.endswith("nothing done"):
        killed_as_it_waits(base, lambda schema: schema.expand([whole], "shop", 2, {}, {}, project.home))
        last.unlink()
        project.slow.rename(files / "0002_remark.py")
        text, last = text.replace("0002_note", "0002_remark"), files / "0003_other.py"
    else:
        last.write_text(DJANGO_MIGRATION.format(before=[("shop", "0002_note")], operation="migrations.RunSQL('SELECT 1/0', '')"))
        with pytest.raises(Refused, match="division by zero"):
            schema.expand([whole], "shop", 2, {}, {}, project.home)
        if mended.startswith("one put before"):
            (files / "0002b_before.py").write_text(text.replace("more", "before"))
            text = text.replace("0002_note", "0002b_before")
        else:
            last.unlink()
            last = files / "0003_other.py"
    last.write_text(text)
    schema.expand([whole], "shop", 2, {}, {}, project.home)
    assert "more" in columns(base)
    schema.revert(NAME, project.home)
    assert columns(base) == OLD
    assert schema.ledger.entry(NAME) is None


@pytest.mark.parametrize("tool", ["django"], indirect=True)
def test_what_an_expand_brought_under_another_name_is_not_said_to_have_been_there_before(base: Base, project: Project) -> None:
    """By a note that an earlier bleen has made, or as somebody has given the file another name, and told Django's book."""
    schema, (note,) = Schema(base.open()), spanning((NAME, "0001", "0002"))
    schema.expand([note], "shop", 2, {}, {}, grown(project).home)
    (project.slow.parent / "0003_more.py").unlink()
    project.slow.rename(project.slow.parent / "0002_remark.py")
    with base.connect() as db:
        db.execute("UPDATE django_migrations SET name = '0002_remark' WHERE app = 'shop' AND name = '0002_note'")
    with pytest.raises(Refused, match=r"would take back shop\.0002_remark too"):
        schema.revert(NAME, project.home)


@pytest.mark.parametrize("tool", ["django"], indirect=True)
def test_a_database_that_is_ahead_is_not_taken_back_by_an_expand(base: Base, project: Project) -> None:
    """Such as that of a staging, which Django itself has brought to the newest: what it has counts as expanded."""
    schema, home = Schema(base.open()), grown(project).home
    by_hand(project, "0003")
    folders = spanning((NAME, "0001", "0002"), ("0008_more", "0002", "0003"))
    allowed(schema, "1.1", folders, home)
    assert schema.expand(folders, "shop", 2, {}, {}, home) == [NAME, "0008_more"]
    assert columns(base) == [*BOTH, "more"]
    for name in ("0008_more", NAME):
        schema.revert(name, home)
    assert columns(base) == [*BOTH, "more"], "what was there before stays"


@pytest.mark.parametrize(("to", "kept"), [("0001_initial", True), ("0001", True), ("0001_initial", False)], ids=["kept", "kept, short", "deleted"])
def test_a_squash_comes_onto_a_new_database_behind_the_version_before_it(oldest: databases.Postgres, tmp_path: Path, to: str, kept: bool) -> None:
    """Known names are gone where none of what a squash replaces was run: the plan says so, and which way leads there."""
    with oldest.database() as name:
        _squashed(Base(oldest, name), tmp_path, to, kept)


def _squashed(base: Base, tmp_path: Path, to: str, kept: bool) -> None:
    place = home(tmp_path, base.url)
    migrations = django(tmp_path, place).slow.parent
    schema, (first,) = Schema(base.open()), spanning(("0001_first", "zero", to))
    replaces = [("shop", each.stem) for each in sorted(migrations.glob("0*.py"))]
    initial = (migrations / "0001_initial.py").read_text()
    squash = migrations / "0001_squashed.py"
    squash.write_text(f"{initial}    replaces = {replaces}\n")
    for _, name in () if kept else replaces:
        (migrations / f"{name}.py").rename(tmp_path / f"{name}.py")
    with pytest.raises(UserError, match="deploy a version from before that squash onto this database first"):
        allowed(schema, "1.4", [first], place)
    for _, name in () if kept else replaces:
        (tmp_path / f"{name}.py").rename(migrations / f"{name}.py")
    squash.rename(tmp_path / "later.py")
    allowed(schema, "1.3", [first], place)
    schema.expand([first], "shop", 1, {}, {}, place)
    (tmp_path / "later.py").rename(squash)
    allowed(schema, "1.4", [first], place)


@pytest.mark.parametrize("tool", ["alembic"], indirect=True)
def test_a_revision_that_a_squash_has_taken_the_place_of_names_the_way(base: Base, project: Project) -> None:
    """On a new database: where what it replaces was run, the folders that name it are not carried out again."""
    for gone in ("r0", "e1", "c1"):
        (project.slow.parent / f"{gone}.py").unlink()
    revise(Path(project.home.directory), "squashed", None, (), "CREATE TABLE shop_user (id int PRIMARY KEY)", "DROP TABLE shop_user")
    with base.connect() as db:
        db.execute("DROP TABLE shop_user, alembic_version")
    with pytest.raises(UserError, match=r"(?s)Can't locate revision identified by 'r0'.*deploy a version from before that squash onto this database first"):
        allowed(Schema(base.open()), "1.4", [project.migration], project.home)


KEYED = """
from django.db import migrations, models

def key(**only):
    return migrations.AddField("user", "parent", models.ForeignKey("shop.User", models.CASCADE, null=True, **only))

class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [
        migrations.SeparateDatabaseAndState(database_operations=[key(db_constraint=False, db_index=False)], state_operations=[key()]),
        migrations.SeparateDatabaseAndState(state_operations=[migrations.AddIndex("user", models.Index(fields=["name"], name="by_name"))]),
    ]
"""
KEYS = """
CREATE INDEX CONCURRENTLY by_name ON shop_user (name);
CREATE INDEX CONCURRENTLY by_parent ON shop_user (parent_id);
ALTER TABLE shop_user ADD CONSTRAINT parent_fk FOREIGN KEY (parent_id) REFERENCES shop_user (id) DEFERRABLE INITIALLY DEFERRED NOT VALID;
ALTER TABLE shop_user VALIDATE CONSTRAINT parent_fk;
"""


@pytest.mark.parametrize("tool", ["django"], indirect=True)
def test_a_foreign_key_and_an_index_are_made_by_expand_sql_and_django_s_state_knows_them(base: Base, project: Project) -> None:
    """As the guide has it: what Django itself would do, the rules forbid."""
    (project.slow.parent / "0003_surname.py").unlink()
    project.slow.write_text(KEYED)
    (folder,) = spanning((NAME, "0001", "0002"))
    keyed = parse(NAME, {**folder.sources, "expand.sql": KEYS}, NAME)
    schema = Schema(base.open())
    allowed(schema, "1.1", [keyed], project.home)
    schema.expand([keyed], "shop", 2, {}, {}, project.home)
    made = "SELECT conname, convalidated FROM pg_constraint WHERE contype = 'f'"
    with base.connect() as db:
        assert db.execute(made).fetchall() == [("parent_fk", True)]
    schema.revert(NAME, project.home)
    assert columns(base) == OLD
    project.slow.write_text(KEYED.replace("key(db_constraint=False, db_index=False)", "key()"))
    with pytest.raises(UserError, match=r"\[inline-constraint\]") as refused:
        allowed(schema, "1.1", [keyed], project.home)
    assert "not-understood" not in str(refused.value), "Django puts SET CONSTRAINTS behind it"


def by_hand(project: Project, name: str, verb: str = "upgrade") -> None:
    where, env = project.home.directory, dict(project.home.env)
    words = [str(Path(BIN, "python")), "manage.py", "migrate", "shop"] if tool_of(project) == "django" else [str(Path(BIN, "alembic")), verb]
    subprocess.run([*words, name], cwd=where, env=env, check=True, capture_output=True)


def tool_of(project: Project) -> str:
    return "django" if "manage.py" in project.migration.command.expand else "alembic"


def branch(name: str, to: str, before: str = "e1") -> Migration:
    """The next migration of Alembic's branch of expands."""
    run = ["alembic"]
    commands = toml(expand=[*run, "upgrade", to], revert=[*run, "downgrade", f"expand@{before}"], sql=[*run, "upgrade", f"{before}:{to}", "--sql"])
    return parse(name, {"migration.toml": commands + "branched = true\n"}, name)


def version(project: Project, name: str, revision: str, up: str = "") -> Home:
    """Another version with these revisions and one more, which adds a column behind e1."""
    there = Path(project.home.directory, name)
    for each in ("alembic.ini", "revisions/env.py", *(f"revisions/versions/{known}.py" for known in ("r0", "e1", "c1"))):
        (there / each).parent.mkdir(parents=True, exist_ok=True)
        (there / each).write_text(Path(project.home.directory, each).read_text())
    revise(there, revision, "e1", (), up or f"ALTER TABLE shop_user ADD COLUMN {revision} text", f"ALTER TABLE shop_user DROP COLUMN {revision}")
    return project.home._replace(version=name, directory=str(there))


@pytest.mark.parametrize("tool", ["alembic"], indirect=True)
def test_a_version_that_lacks_the_revision_of_the_database_is_refused_with_who_brought_it(base: Base, project: Project) -> None:
    """A rollback leaves the database ahead of what serves, and a hotfix is made of that."""
    schema, rolled_back, hotfix = Schema(base.open()), version(project, "1.3", "more"), version(project, "1.2.1", "hot")
    more, hot = branch("0008_more", "more"), branch("0009_hot", "hot")
    schema.expand([project.migration, more], "shop", 3, {}, {}, rolled_back)
    said = r"0009_hot: expand, .*is at revision more \(0008_more\), which is not among the files of 1\.2\.1 .*`bleen migrate revert 0008_more`, or ship that"
    with pytest.raises(UserError, match=said):
        allowed(schema, "1.2.1", [project.migration, hot], hotfix)
    with pytest.raises(UserError, match=r"0008_hot has the number of 0008_more, .*`bleen migrate revert 0008_more` first\n0008_hot: .*is at revision more"):
        allowed(schema, "1.2.1", [project.migration, branch("0008_hot", "hot")], hotfix)
    with pytest.raises(Refused, match=said):
        schema.expand([hot], "shop", 4, {}, {}, hotfix)
    schema.revert("0008_more", rolled_back)
    allowed(schema, "1.2.1", [project.migration, hot], hotfix)
    assert schema.expand([hot], "shop", 4, {}, {}, hotfix) == ["0009_hot"]
    assert columns(base) == [*BOTH, "hot"]


@pytest.mark.parametrize("tool", ["alembic"], indirect=True)
def test_an_expand_that_has_changed_nothing_is_no_reason_not_to_go_back(base: Base, project: Project) -> None:
    """`revert` undoes what was done: of a command that failed and left its tool's book as it was, that is nothing."""
    schema, hotfix = Schema(base.open()), version(project, "1.2.1", "hot", up="SELECT 1 / 0")
    schema.expand([project.migration], "shop", 2, {}, {}, project.home)
    with pytest.raises(Refused, match="division by zero"):
        schema.expand([branch("0008_hot", "hot")], "shop", 3, {}, {}, hotfix)
    schema.revert(NAME, project.home)
    schema.revert("0008_hot", hotfix._replace(directory="/nowhere"))
    assert columns(base) == OLD
    assert [entry.name for entry in schema.ledger.entries()] == ["0001_first"]


@pytest.mark.parametrize("tool", ["alembic"], indirect=True)
def test_a_contract_runs_where_the_revision_of_the_database_is_known(base: Base, project: Project) -> None:
    """A rollback leaves the database ahead of what serves, and the contract of an earlier release is pending still."""
    schema, newer = Schema(base.open()), version(project, "1.2", "more")
    schema.expand([project.migration], "shop", 2, {}, {}, project.home)
    schema.expand([branch("0008_more", "more")], "shop", 3, {}, {}, newer)
    assert schema.versions() == ["1.2", "1.1"]
    said = rf"is at revision more \(0008_more\), which is not among the files of 1\.1 .*in place that has it, then `bleen migrate contract {NAME}`"
    with pytest.raises(Refused, match=said):
        schema.contract(NAME, home=fitting(schema.server, project.migration, [project.home, newer._replace(directory="/nowhere")]))
    assert schema.contracted() == []
    home = fitting(schema.server, project.migration, [project.home, newer])
    assert home == newer
    schema.contract(NAME, home=home)
    assert columns(base) == ["id", "name", "note", "more"]


@pytest.mark.parametrize("tool", ["alembic"], indirect=True)
def test_what_others_have_brought_by_alembic_is_not_taken_back_with_a_migration(base: Base, project: Project) -> None:
    """`revert` refuses while a later migration builds on it: Alembic takes back all that is behind a revision."""
    schema, newer = Schema(base.open()), version(project, "1.2", "more")
    schema.expand([project.migration], "shop", 2, {}, {}, project.home)
    by_hand(project._replace(home=newer), "more")
    with pytest.raises(Refused, match=r"0007_note: revert, .* would take back more too, and what they hold: take that back first"):
        schema.revert(NAME, newer)
    assert columns(base) == [*BOTH, "more"]
    assert schema.ledger.entries()[-1].state is State.EXPANDED
    subprocess.run([str(Path(BIN, "alembic")), "downgrade", "expand@e1"], cwd=newer.directory, env=dict(newer.env), check=True, capture_output=True)
    schema.revert(NAME, newer)
    assert columns(base) == OLD


@pytest.mark.parametrize("tool", ["django"], indirect=True)
def test_what_another_migration_has_brought_of_another_app_is_not_taken_back(base: Base, project: Project) -> None:
    """`revert` refuses [...] where its command (Alembic, Django) would take back what others have brought."""
    schema, (more,), home = Schema(base.open()), spanning((NAME, "0001", "0003")), grown(project).home
    other = customers(project, "0002_note")
    schema.expand([more, other], "shop", 2, {}, {}, home)
    with pytest.raises(Refused, match=r"0007_note: revert, .* would take back crm\.0001_initial too, and what they hold: take that back first"):
        schema.revert(NAME, home)
    assert columns(base) == [*BOTH, "more"]
    schema.revert("0008_crm", home)
    schema.revert(NAME, home)
    assert columns(base) == OLD


def test_what_was_brought_by_hand_before_an_expand_is_not_taken_back_with_it(base: Base, project: Project) -> None:
    """What was there before stays."""
    schema, django = Schema(base.open()), project.rule == "drop-default"
    home = grown(project).home if django else version(project, "1.2", "more")
    subprocess.run(
        [str(Path(BIN, "python")), "manage.py", "migrate", "shop", "0002"] if django else [str(Path(BIN, "alembic")), "upgrade", "e1"],
        cwd=home.directory,
        env=dict(home.env),
        check=True,
        capture_output=True,
    )
    (whole,) = spanning((NAME, "0001", "0003")) if django else [branch(NAME, "more", "r0")]
    schema.expand([whole], "shop", 2, {}, {}, home)
    with pytest.raises(Refused, match=f"would take back {r'shop.0002_note' if django else 'e1'} too, and what they hold"):
        schema.revert(NAME, home)
    assert columns(base) == [*BOTH, "more"]


@pytest.mark.parametrize("tool", ["alembic"], indirect=True)
def test_a_hotfix_beside_a_migration_is_not_taken_for_something_that_builds_on_it(base: Base, project: Project) -> None:
    """Rolled back, reverted, hotfixed, and released again with both: nobody is sent from one to the other, and round."""
    schema, newer = Schema(base.open()), version(project, "1.2", "more")
    version(project, "1.2", "hot")
    more, hot, again = branch("0008_more", "more"), branch("0009_hot", "hot"), branch("0010_more", "more")
    schema.expand([project.migration, hot, more], "shop", 2, {}, {}, newer)
    with pytest.raises(Refused, match=r"take back hot too, .*: take only its own back by hand, `alembic downgrade more@e1`, then revert again"):
        schema.revert("0008_more", newer)
    with pytest.raises(Refused, match=r"0007_note: .* would take back hot, more too, and what they hold: `bleen migrate revert 0009_hot` first"):
        schema.revert(NAME, newer)
    by_hand(project._replace(home=newer), "more@e1", "downgrade")
    schema.revert("0008_more", newer)
    assert columns(base) == [*BOTH, "hot"]
    again = parse(again.name, {"migration.toml": again.sources["migration.toml"].replace("expand@e1", "more@e1")}, again.name)
    schema.expand([again], "shop", 3, {}, {}, newer)
    schema.revert("0010_more", newer)
    assert columns(base) == [*BOTH, "hot"]


HISTORY = """\
settings.local
<base> -> x9 (head), of another line
m1, c2 -> m2 (head) (mergepoint), both
e3 -> e4 (expand) (head), not run
e2 (c1) -> e3 (expand), needs a contract -> first
e1 -> e2 (expand), by hand
r0 -> e1 (expand), note
c1 -> c2 (contract), no name
r0 -> c1 (contract), no surname
<base> -> r0 (branchpoint), first
"""


@pytest.mark.parametrize(
    ("expand", "revert", "current", "others", "gone"),
    [
        ("e1", "expand@r0", "e1", [], []),
        ("e1", "expand@r0", "e2\nc2", [], ["e2"]),
        ("e1", "r0", "e1\nc1", [], ["c1"]),
        ("e1", "e1", "e2", [], ["e2"]),
        ("e2", "expand@r0", "e2", ["r0", "e1"], ["e1"]),
        ("e3", "expand@e2", "settings.local\ne3 (head)", ["c1"], []),
        ("c1", "contract@r0", "e3", [], ["e3"]),
        ("r0", "base", "r0\nx9 (head)", [], ["x9"]),
        ("gone", "expand@e1", "e2", [], ["e2"]),
        ("expand@head", "expand@e1", "e3\nc1", ["e1", "c1"], []),
        ("e1", "-1", "e2", [], []),
        ("e", "expand@r0", "e1", [], ["e1"]),
        ("e1", "expand@r0", "", [], []),
    ],
)
def test_what_a_downgrade_takes_back_beyond_what_an_upgrade_has_brought(expand: str, revert: str, current: str, others: list[str], gone: list[str]) -> None:
    book = revisions.Book(HISTORY, current)
    assert book.beyond(revert, expand, others) == gone
    assert book.beyond("r0", "e2", [], ["e1", "r0"]) == [each for each in book.taken("r0") if each != "e2"], "what was noted, whatever the words say"


@pytest.mark.parametrize(
    ("words", "goal"),
    [
        ("alembic upgrade 1a2b", "1a2b"),
        ("python -m alembic -c my.ini -x a=b downgrade --tag t expand@0f0f", "expand@0f0f"),
        (".venv/bin/alembic upgrade --sql 0f0f:1a2b", "0f0f:1a2b"),
        ("alembic stamp 1a2b", ""),
        ("flask db upgrade 1a2b", ""),
    ],
)
def test_alembic_s_commands_are_known_by_their_words(words: str, goal: str) -> None:
    assert revisions.goal(words.split()) == goal


def test_a_tool_that_fails_says_why(base: Base, project: Project) -> None:
    project.slow.write_text("raise RuntimeError('nobody reviewed this')\n")
    with pytest.raises(Refused, match=r"(?s)ended with 1:\n.*RuntimeError: nobody reviewed this"):
        Schema(base.open()).expand([project.migration], "shop", 2, {}, {}, project.home)
    assert columns(base) == OLD
