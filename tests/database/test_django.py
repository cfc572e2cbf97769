"""What people already have: real Django as the halves of a migration, on a real PostgreSQL."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tools import (
    BOTH,
    EXPANDED,
    NAME,
    NEW,
    OLD,
    Project,
    as_new_writes,
    by_hand,
    columns,
    home,
    killed_as_it_waits,
    templates,
    there_and_back,
    toml,
    what_was_there_stays,
)

import databases
from bleen.cli.database import allowed
from bleen.database.command import revisions
from bleen.database.command.home import Home
from bleen.database.ledger import State
from bleen.database.migration import Migration, parse
from bleen.database.schema import Schema
from bleen.errors import Refused, UserError
from databases import Base

MANAGE = ["python", "manage.py"]
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
    return Project(place, parse(NAME, files, NAME), migrations / "0002_note.py")


def spanning(*folders: tuple[str, str, str]) -> list[Migration]:
    """Migrations of Django's, each from one state of the shop to another."""
    made = []
    for name, before, to in folders:
        commands = toml(expand=[*MANAGE, "migrate", "shop", to], revert=[*MANAGE, "migrate", "shop", before], sql=[*MANAGE, "sqlmigrate", "shop", to])
        made.append(parse(name, {"migration.toml": commands}, name))
    return made


def grown(project: Project) -> Project:
    """With a 0003 that adds a column."""
    (project.expand.parent / "0003_surname.py").unlink()
    (project.expand.parent / "0003_more.py").write_text(
        DJANGO_MIGRATION.format(before=[("shop", "0002_note")], operation="migrations.AddField('User', 'more', models.TextField(null=True))")
    )
    return project


def customers(project: Project, needs: str) -> Migration:
    """The first one of another app, which needs one of the shop's."""
    directory = project.expand.parents[2]
    crm, settings = directory / "crm" / "migrations", directory / "settings.py"
    crm.mkdir(parents=True)
    (crm / "__init__.py").touch()
    operation = "migrations.CreateModel('Customer', [('id', models.IntegerField(primary_key=True))])"
    (crm / "0001_initial.py").write_text(DJANGO_MIGRATION.format(before=[("shop", needs)], operation=operation))
    settings.write_text(settings.read_text().replace('["shop"]', '["shop", "crm"]'))
    words = {"expand": ["migrate", "crm", "0001"], "revert": ["migrate", "crm", "zero"], "sql": ["sqlmigrate", "crm", "0001"]}
    return parse("0008_crm", {"migration.toml": toml(**{half: [*MANAGE, *each] for half, each in words.items()})}, "")


@pytest.fixture(scope="module")
def made(oldest: databases.Postgres, tmp_path_factory: pytest.TempPathFactory, quick: str) -> Iterator[Mapping[bool, str]]:
    with templates(oldest, tmp_path_factory.mktemp("first"), quick, django, *MANAGE, "migrate", "shop", "0001") as names:
        yield names


@pytest.fixture
def base(request: pytest.FixtureRequest, oldest: databases.Postgres, made: Mapping[bool, str]) -> Iterator[Base]:
    """A database of Django's, where the migration is not expanded yet; or it is, as ``EXPANDED`` says."""
    with oldest.database(made[getattr(request, "param", False)]) as name:
        yield Base(oldest, name)


@pytest.fixture
def project(base: Base, tmp_path: Path, quick: str) -> Project:
    return django(tmp_path, home(tmp_path, base.url, quick))


@pytest.fixture
def real(base: Base, tmp_path: Path) -> Project:
    """Whose Django is a process of its own from the first, for what is about that."""
    return django(tmp_path, home(tmp_path, base.url))


def test_new_writes_the_folder_of_django(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`bleen migrate new NAME --django` writes what the tests below carry out, but for where Python is."""
    mine = django(tmp_path, Home("1.1", str(tmp_path), {}, "", ())).migration
    as_new_writes(tmp_path, "--django=shop:0001:0002:0003", mine, {"python": ".venv/bin/python"})


def test_what_people_have_expands_goes_back_expands_and_contracts(base: Base, real: Project) -> None:
    """Django (`migrate app NNNN`), with its expand and contract half."""
    allowed(Schema(base.open()), "1.1", [real.migration], real.home)
    there_and_back(base, real)


def test_a_django_that_fails_says_why(base: Base, project: Project) -> None:
    project.expand.write_text("raise RuntimeError('nobody reviewed this')\n")
    with pytest.raises(Refused, match=r"(?s)ended with 1:\n.*RuntimeError: nobody reviewed this"):
        Schema(base.open()).expand([project.migration], "shop", 2, {}, {}, project.home)
    assert columns(base) == OLD


@pytest.mark.parametrize(("half", "base"), [("expand", False), ("contract", True), ("revert", True)], indirect=["base"])
def test_killed_in_the_middle_the_next_run_ends_where_the_first_would_have(base: Base, real: Project, half: str) -> None:
    """kill -9 in the middle, and again: the tool waits for a lock when it is killed, and has done nothing, or all."""

    def work(on: Schema) -> None:
        if half == "expand":
            on.expand([real.migration], "shop", 2, {}, {}, real.home)
        elif half == "contract":
            on.contract(NAME, home=real.home)
        else:
            on.revert(NAME, real.home)

    killed_as_it_waits(base, work)
    work(Schema(base.open()))
    assert columns(base) == {"expand": BOTH, "contract": NEW, "revert": OLD}[half]


@pytest.mark.parametrize("already", ["part", "all"])
def test_what_was_there_before_an_expand_stays_where_it_is_reverted(base: Base, project: Project, already: str) -> None:
    """`revert` undoes what was done: what was there before stays. Somebody has brought part of it by hand before bleen came, or all of it."""
    home, (whole,) = grown(project).home, spanning((NAME, "0001", "0003"))
    by_hand(home, *MANAGE, "migrate", "shop", "0002" if already == "part" else "0003")
    Schema(base.open()).expand([whole], "shop", 2, {}, {}, home)
    what_was_there_stays(base, home, r"shop\.0002_note", already == "all")


@EXPANDED
def test_a_revert_that_django_refuses_again_leaves_the_migration_as_it_was(base: Base, project: Project) -> None:
    """As with a contract that has taken nothing away: versions that ship it can be deployed as before."""
    schema, text = Schema(base.open()), project.expand.read_text()
    project.expand.write_text(text.replace("migrations.AddField", "migrations.RunPython(lambda apps, editor: None), migrations.AddField"))
    schema.ledger.note([schema.ledger.reached(NAME, State.REVERTING)])  # by an earlier try
    with pytest.raises(Refused, match=rf"(?s)IrreversibleError.*nothing was taken back: {NAME} is expanding$"):
        schema.revert(NAME, project.home)
    allowed(schema, "1.1", [project.migration], project.home)
    assert schema.expand([project.migration], "shop", 2, {}, {}, project.home) == [NAME]
    assert schema.ledger.entries()[-1].state is State.EXPANDED
    project.expand.write_text(text)
    schema.revert(NAME, project.home)
    assert columns(base) == OLD


def test_all_that_django_would_run_is_judged(base: Base, project: Project) -> None:
    """`plan`, `deploy` and `migrate expand` run it, and refuse what the rules forbid: on the way to a migration Django runs all that comes before it."""
    (project.expand.parent / "0004_more.py").write_text(
        DJANGO_MIGRATION.format(before=[("shop", "0003_surname")], operation="migrations.AddField('User', 'more', models.TextField(null=True))")
    )
    with pytest.raises(UserError, match=r"what `python manage.py sqlmigrate shop 0003_surname` prints:\d+:\d+: \[drop-in-expand\]") as refused:
        allowed(Schema(base.open()), "1.1", spanning(("0007_more", "0001", "0004")), project.home)
    assert str(refused.value).count("[drop-in-expand]") == 1
    with pytest.raises(UserError, match=r"0007_surname, what .* sqlmigrate shop 0003_surname") as refused:
        allowed(Schema(base.open()), "1.1", spanning(("0007_surname", "0001", "0003"), ("0008_more", "0003", "0004")), project.home)
    assert "0008_more" not in str(refused.value), "each is asked for what those before it leave"


@EXPANDED
def test_what_others_have_brought_is_not_taken_back_with_a_migration(base: Base, project: Project) -> None:
    """`revert` refuses while a later migration builds on it: Django goes to a state, and takes back all that is behind it."""
    schema, home = Schema(base.open()), grown(project).home
    by_hand(home, *MANAGE, "migrate", "shop", "0003")
    with pytest.raises(Refused, match=r"0007_note: revert, .* would take back shop\.0003_more too, and what they hold: take that back first"):
        schema.revert(NAME, home)
    assert columns(base) == [*BOTH, "more"]
    assert schema.ledger.entries()[-1].state is State.EXPANDED
    by_hand(home, *MANAGE, "migrate", "shop", "0002")
    schema.revert(NAME, home)
    assert columns(base) == OLD


@pytest.mark.parametrize("needs", ["0002_note", "0003_surname"])
@EXPANDED
def test_a_contract_of_one_app_keeps_another_waiting_only_where_django_would_run_it_on_its_way(base: Base, project: Project, needs: str) -> None:
    """A pending contract holds nothing up."""
    schema, home, other = Schema(base.open()), project.home, customers(project, needs)
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


def test_what_another_migration_has_brought_in_between_is_not_taken_back(base: Base, project: Project) -> None:
    """The version that serves needs it: 0008_more was written to begin where 0007_note begins, too."""
    schema, (note, more) = Schema(base.open()), spanning((NAME, "0001", "0002"), ("0008_more", "0001", "0003"))
    home = grown(project).home
    schema.expand([note, more], "shop", 2, {}, {}, home)
    way = r"take only its own back by hand, `python manage\.py migrate shop 0002_note`, then revert again"
    with pytest.raises(Refused, match=rf"0008_more: revert, .* would take back shop\.0002_note too, and what they hold: {way}"):
        schema.revert("0008_more", home)
    assert columns(base) == [*BOTH, "more"]
    by_hand(home, *MANAGE, "migrate", "shop", "0002_note")
    schema.revert("0008_more", home)
    assert columns(base) == BOTH


@EXPANDED
def test_a_hotfix_of_what_was_rolled_back_to_is_told_to_revert_what_it_does_not_ship(base: Base, project: Project) -> None:
    """The gate of that contract is shut as long as the older version is there, so that nobody can contract first."""
    schema, (hot,) = Schema(base.open()), spanning(("0008_hot", "0001", "0002"))
    said = r"0008_hot: the contract of 0007_note is pending, and Django would run it now; "
    with pytest.raises(UserError, match=rf"{said}`bleen migrate revert 0007_note` first, as this version does not ship it"):
        allowed(schema, "1.0.1", [hot], project.home)
    with pytest.raises(UserError, match=rf"{said}contract first$"):
        allowed(schema, "1.2", [project.migration, hot], project.home)
    other = parse("0008_other", {"migration.toml": toml(expand=["alembic", "upgrade", "e1"]) + 'unjudged = "a test"\n'}, "")
    assert revisions.overtaken(other, [project.migration]) == [], "another tool has a line of its own"


def test_what_a_failed_expand_has_left_is_not_said_to_be_reverted(base: Base, project: Project) -> None:
    """Half of a migration that is not atomic: Django has not noted it, so that going back finds nothing to do."""
    schema, text = Schema(base.open()), project.expand.read_text()
    fails = text.rstrip().removesuffix("]") + ", migrations.RunPython(lambda apps, editor: 1 / 0)]\n    atomic = False\n"
    project.expand.write_text(fails)
    with pytest.raises(Refused, match="ZeroDivisionError"):
        schema.expand([project.migration], "shop", 2, {}, {}, project.home)
    with pytest.raises(Refused, match=rf"`bleen migrate revert {NAME} --because REASON`\nnothing was taken back: {NAME} is expanding"):
        schema.revert(NAME, project.home)
    assert columns(base) == BOTH
    with base.connect() as db:
        db.execute("ALTER TABLE shop_user DROP COLUMN note")
    schema.revert(NAME, project.home, because="dropped by hand")
    project.expand.write_text(text)
    schema.expand([project.migration], "shop", 3, {}, {}, project.home)
    assert columns(base) == BOTH


@pytest.mark.parametrize("mended", ["another name, nothing done", "another name, half done", "one put before, half done"])
def test_what_a_later_try_of_an_expand_brings_is_of_its_own_too(base: Base, project: Project, mended: str) -> None:
    """`revert` undoes what was done, also where the files of the tool were mended between two tries."""
    files, (whole,) = grown(project).expand.parent, spanning((NAME, "0001", "0003"))
    schema, last = Schema(base.open()), files / "0003_more.py"
    text = last.read_text()
    if mended.endswith("nothing done"):
        killed_as_it_waits(base, lambda schema: schema.expand([whole], "shop", 2, {}, {}, project.home))
        last.unlink()
        project.expand.rename(files / "0002_remark.py")
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


def test_what_an_expand_brought_under_another_name_is_not_said_to_have_been_there_before(base: Base, project: Project) -> None:
    """By a note that an earlier bleen has made, or as somebody has given the file another name, and told Django's book."""
    schema, (note,) = Schema(base.open()), spanning((NAME, "0001", "0002"))
    schema.expand([note], "shop", 2, {}, {}, grown(project).home)
    (project.expand.parent / "0003_more.py").unlink()
    project.expand.rename(project.expand.parent / "0002_remark.py")
    with base.connect() as db:
        db.execute("UPDATE django_migrations SET name = '0002_remark' WHERE app = 'shop' AND name = '0002_note'")
    with pytest.raises(Refused, match=r"would take back shop\.0002_remark too"):
        schema.revert(NAME, project.home)


def test_a_database_that_is_ahead_is_not_taken_back_by_an_expand(base: Base, project: Project) -> None:
    """Such as that of a staging, which Django itself has brought to the newest: what it has counts as expanded."""
    schema, home = Schema(base.open()), grown(project).home
    by_hand(home, *MANAGE, "migrate", "shop", "0003")
    folders = spanning((NAME, "0001", "0002"), ("0008_more", "0002", "0003"))
    allowed(schema, "1.1", folders, home)
    assert schema.expand(folders, "shop", 2, {}, {}, home) == [NAME, "0008_more"]
    assert columns(base) == [*BOTH, "more"]
    with pytest.raises(Refused, match="`bleen migrate revert 0008_more` first"):
        schema.revert(NAME, home)
    for name in ("0008_more", NAME):
        schema.revert(name, home)
    assert columns(base) == [*BOTH, "more"], "what was there before stays"


REPLACED = ["0001_initial", "0002_note", "0003_surname"]


@pytest.fixture
def bare(oldest: databases.Postgres) -> Iterator[Base]:
    """A database where Django has run nothing."""
    with oldest.database() as name:
        yield Base(oldest, name)


@pytest.fixture
def squash(bare: Base, tmp_path: Path) -> Path:
    """The file of a migration that stands for all that there are, beside them."""
    migrations = django(tmp_path, home(tmp_path, bare.url)).expand.parent
    text = (migrations / "0001_initial.py").read_text() + f"    replaces = {[('shop', each) for each in REPLACED]}\n"
    (migrations / "0001_squashed.py").write_text(text)
    return migrations / "0001_squashed.py"


def test_a_squash_comes_onto_a_new_database_behind_the_version_before_it(bare: Base, squash: Path, tmp_path: Path, quick: str) -> None:
    """Known names are gone where none of what a squash replaces was run: the plan says so, and which way leads there."""
    schema, (first,), place = Schema(bare.open()), spanning(("0001_first", "zero", "0001_initial")), home(tmp_path, bare.url, quick)
    with pytest.raises(UserError, match="deploy a version from before that squash onto this database first"):
        allowed(schema, "1.4", [first], place)
    later = squash.rename(tmp_path / "later.py")
    allowed(schema, "1.3", [first], place)
    schema.expand([first], "shop", 1, {}, {}, place)
    later.rename(squash)
    allowed(schema, "1.4", [first], place)


@pytest.mark.parametrize(("to", "deleted"), [("0001", []), ("0001_initial", REPLACED)], ids=["two by that name", "deleted"])
def test_what_a_squash_replaces_is_found_neither_by_half_a_name_nor_deleted(
    bare: Base, squash: Path, tmp_path: Path, quick: str, to: str, deleted: list[str]
) -> None:
    for each in deleted:
        (squash.parent / f"{each}.py").unlink()
    with pytest.raises(UserError, match="deploy a version from before that squash onto this database first"):
        allowed(Schema(bare.open()), "1.4", spanning(("0001_first", "zero", to)), home(tmp_path, bare.url, quick))


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


def test_a_foreign_key_and_an_index_are_made_by_expand_sql_and_django_s_state_knows_them(base: Base, project: Project) -> None:
    """As the guide has it: what Django itself would do, the rules forbid."""
    (project.expand.parent / "0003_surname.py").unlink()
    project.expand.write_text(KEYED)
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
    project.expand.write_text(KEYED.replace("key(db_constraint=False, db_index=False)", "key()"))
    with pytest.raises(UserError, match=r"\[inline-constraint\]") as refused:
        allowed(schema, "1.1", [keyed], project.home)
    assert "not-understood" not in str(refused.value), "Django puts SET CONSTRAINTS behind it"


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
