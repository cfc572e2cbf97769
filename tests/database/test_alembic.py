"""What people already have: real Alembic as the halves of a migration, on a real PostgreSQL."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tools import (
    BOTH,
    EXPANDED,
    NAME,
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
from bleen.database.command.home import Home
from bleen.database.command.revisions import fitting
from bleen.database.ledger import State
from bleen.database.migration import Migration, parse
from bleen.database.rehearsal import rehearse
from bleen.database.schema import Schema
from bleen.errors import Refused, UserError
from databases import Base

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
    return Project(place, parse(NAME, files, NAME), directory / "revisions" / "versions" / "e1.py")


def revise(directory: Path, name: str, before: str | None, labels: tuple[str, ...], up: str, down: str) -> None:
    text = REVISION.format(revision=name, before=before, labels=labels, up=up, down=down)
    (directory / "revisions" / "versions" / f"{name}.py").write_text(text)


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


@pytest.fixture(scope="module")
def made(oldest: databases.Postgres, tmp_path_factory: pytest.TempPathFactory, quick: str) -> Iterator[Mapping[bool, str]]:
    with templates(oldest, tmp_path_factory.mktemp("first"), quick, alembic, "alembic", "upgrade", "r0") as names:
        yield names


@pytest.fixture
def base(request: pytest.FixtureRequest, oldest: databases.Postgres, made: Mapping[bool, str]) -> Iterator[Base]:
    """A database of Alembic's, where the migration is not expanded yet; or it is, as ``EXPANDED`` says."""
    with oldest.database(made[getattr(request, "param", False)]) as name:
        yield Base(oldest, name)


@pytest.fixture
def project(base: Base, tmp_path: Path, quick: str) -> Project:
    return alembic(tmp_path, home(tmp_path, base.url, quick))


@pytest.fixture
def real(base: Base, tmp_path: Path) -> Project:
    """Whose Alembic is a process of its own from the first, for what is about that."""
    return alembic(tmp_path, home(tmp_path, base.url))


def test_new_writes_the_folder_of_alembic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`bleen migrate new NAME --alembic` writes what the tests below carry out, but for the labels of branches."""
    mine = alembic(tmp_path, Home("1.1", str(tmp_path), {}, "", ())).migration
    as_new_writes(tmp_path, "--alembic=r0:e1:c1", mine, {"alembic": ".venv/bin/alembic", "expand@r0": "r0"})


def test_what_people_have_expands_goes_back_expands_and_contracts(base: Base, project: Project) -> None:
    """Alembic (two branches or labels), with its expand and contract half."""
    allowed(Schema(base.open()), "1.1", [project.migration], project.home)
    there_and_back(base, project)


def test_a_rehearsal_goes_there_and_back_on_the_clone(base: Base, project: Project) -> None:
    """Carries each new migration out on that copy first, before the database itself is touched."""
    with base.server.database(base.name) as clone:
        there = project.home._replace(env={**project.home.env, "DATABASE_URL": base.server.url(clone)})
        took = rehearse(
            base.open(), base.server.url(clone), [project.migration], lambda on, some, home: on.expand(some, "shop", 2, {}, {}, home), there, lambda _: None
        )
    assert list(took) == [NAME]
    assert columns(base) == OLD


def test_killed_in_the_middle_the_next_run_ends_where_the_first_would_have(base: Base, real: Project) -> None:
    """kill -9 in the middle, and again: the tool waits for a lock when it is killed, and has done nothing, or all."""

    def work(schema: Schema) -> None:
        schema.expand([real.migration], "shop", 2, {}, {}, real.home)

    killed_as_it_waits(base, work)
    work(Schema(base.open()))
    assert columns(base) == BOTH


@EXPANDED
def test_an_expand_that_was_done_and_not_recorded_is_run_again_and_can_be_taken_back(base: Base, project: Project) -> None:
    """It was killed between its end and the ledger's row: what the first try has brought was not there before."""
    schema = Schema(base.open())
    with base.connect() as db:
        db.execute("UPDATE bleen_migration SET state = 'expanding' WHERE name = %s", [NAME])
        db.execute("UPDATE bleen_step SET done = 0 WHERE migration = %s AND part = 'command' AND number > 0", [NAME])
    assert schema.expand([project.migration], "shop", 2, {}, {}, project.home) == [NAME]
    schema.revert(NAME, project.home)
    assert columns(base) == OLD


def test_what_alembic_prints_is_judged(base: Base, project: Project) -> None:
    project.expand.write_text(project.expand.read_text().replace("ADD COLUMN note text", "ALTER COLUMN id TYPE bigint"))
    with pytest.raises(UserError, match=r"prints:\d+:\d+: \[change-type\]"):
        allowed(Schema(base.open()), "1.1", [project.migration], project.home)


@pytest.mark.parametrize("already", ["part", "all"])
def test_what_was_there_before_an_expand_stays_where_it_is_reverted(base: Base, project: Project, already: str) -> None:
    """`revert` undoes what was done: what was there before stays. Somebody has brought part of it by hand before bleen came, or all of it."""
    newer = version(project, "1.2", "more")
    by_hand(newer, "alembic", "upgrade", "e1" if already == "part" else "more")
    Schema(base.open()).expand([branch(NAME, "more", "r0")], "shop", 2, {}, {}, newer)
    what_was_there_stays(base, newer, "e1", already == "all")


@EXPANDED
def test_a_revert_that_alembic_refuses_leaves_the_migration_as_it_was(base: Base, project: Project) -> None:
    """As with a contract that has taken nothing away: versions that ship it can be deployed as before."""
    schema, text = Schema(base.open()), project.expand.read_text()
    up, down, back = text.partition("def downgrade")
    project.expand.write_text(up + down + back.replace("op.execute", "raise NotImplementedError"))
    with pytest.raises(Refused, match=rf"(?s)NotImplementedError.*nothing was taken back: {NAME} is expanded$"):
        schema.revert(NAME, project.home)
    allowed(schema, "1.1", [project.migration], project.home)
    assert schema.expand([project.migration], "shop", 2, {}, {}, project.home) == []
    project.expand.write_text(text)
    schema.revert(NAME, project.home)
    assert columns(base) == OLD


def test_a_contract_that_alembic_has_found_bleen_s_tables_for_is_refused_before_it_runs(base: Base, project: Project) -> None:
    """`alembic revision --autogenerate` finds tables that no model has, and writes that they are dropped."""
    revise(Path(project.home.directory), "c1", "r0", ("contract",), 'ALTER TABLE shop_user DROP COLUMN surname; DROP TABLE "public".bleen_step', "SELECT 1")
    with pytest.raises(UserError, match=r"upgrade r0:c1 --sql` prints:\d+:\d+: \[bleens-own\] bleen_step is bleen's own, in contract too: "):
        allowed(Schema(base.open()), "1.1", [project.migration], project.home)


def test_a_revision_that_a_squash_has_taken_the_place_of_names_the_way(base: Base, project: Project) -> None:
    """On a new database: where what it replaces was run, the folders that name it are not carried out again."""
    for gone in ("r0", "e1", "c1"):
        (project.expand.parent / f"{gone}.py").unlink()
    revise(Path(project.home.directory), "squashed", None, (), "CREATE TABLE shop_user (id int PRIMARY KEY)", "DROP TABLE shop_user")
    with base.connect() as db:
        db.execute("DROP TABLE shop_user, alembic_version")
    with pytest.raises(UserError, match=r"(?s)Can't locate revision identified by 'r0'.*deploy a version from before that squash onto this database first"):
        allowed(Schema(base.open()), "1.4", [project.migration], project.home)


@EXPANDED
def test_a_version_that_lacks_the_revision_of_the_database_is_refused_with_who_brought_it(base: Base, project: Project) -> None:
    """A rollback leaves the database ahead of what serves, and a hotfix is made of that."""
    schema, rolled_back, hotfix = Schema(base.open()), version(project, "1.3", "more"), version(project, "1.2.1", "hot")
    more, hot = branch("0008_more", "more"), branch("0009_hot", "hot")
    schema.expand([more], "shop", 3, {}, {}, rolled_back)
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


@EXPANDED
def test_a_contract_runs_where_the_revision_of_the_database_is_known(base: Base, project: Project) -> None:
    """A rollback leaves the database ahead of what serves, and the contract of an earlier release is pending still."""
    schema, newer = Schema(base.open()), version(project, "1.2", "more")
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


@EXPANDED
def test_what_others_have_brought_by_alembic_is_not_taken_back_with_a_migration(base: Base, project: Project) -> None:
    """`revert` refuses while a later migration builds on it: Alembic takes back all that is behind a revision."""
    schema, newer = Schema(base.open()), version(project, "1.2", "more")
    by_hand(newer, "alembic", "upgrade", "more")
    with pytest.raises(Refused, match=r"0007_note: revert, .* would take back more too, and what they hold: take that back first"):
        schema.revert(NAME, newer)
    assert columns(base) == [*BOTH, "more"]
    assert schema.ledger.entries()[-1].state is State.EXPANDED
    by_hand(newer, "alembic", "downgrade", "expand@e1")
    schema.revert(NAME, newer)
    assert columns(base) == OLD


@EXPANDED
def test_a_hotfix_beside_a_migration_is_not_taken_for_something_that_builds_on_it(base: Base, project: Project) -> None:
    """Rolled back, reverted, hotfixed, and released again with both: nobody is sent from one to the other, and round."""
    schema, newer = Schema(base.open()), version(project, "1.2", "more")
    version(project, "1.2", "hot")
    more, hot, again = branch("0008_more", "more"), branch("0009_hot", "hot"), branch("0010_more", "more")
    schema.expand([hot, more], "shop", 3, {}, {}, newer)
    with pytest.raises(Refused, match=r"take back hot too, .*: take only its own back by hand, `alembic downgrade more@e1`, then revert again"):
        schema.revert("0008_more", newer)
    with pytest.raises(Refused, match=r"0007_note: .* would take back hot, more too, and what they hold: `bleen migrate revert 0009_hot` first"):
        schema.revert(NAME, newer)
    by_hand(newer, "alembic", "downgrade", "more@e1")
    schema.revert("0008_more", newer)
    assert columns(base) == [*BOTH, "hot"]
    again = parse(again.name, {"migration.toml": again.sources["migration.toml"].replace("expand@e1", "more@e1")}, again.name)
    schema.expand([again], "shop", 3, {}, {}, newer)
    schema.revert("0010_more", newer)
    assert columns(base) == [*BOTH, "hot"]


@EXPANDED
def test_an_expand_that_has_changed_nothing_is_no_reason_not_to_go_back(base: Base, project: Project) -> None:
    """`revert` undoes what was done: of a command that failed and left its tool's book as it was, that is nothing."""
    schema, hotfix = Schema(base.open()), version(project, "1.2.1", "hot", up="SELECT 1 / 0")
    with pytest.raises(Refused, match="division by zero"):
        schema.expand([branch("0008_hot", "hot")], "shop", 3, {}, {}, hotfix)
    schema.revert(NAME, project.home)
    schema.revert("0008_hot", hotfix._replace(directory="/nowhere"))
    assert columns(base) == OLD
    assert [entry.name for entry in schema.ledger.entries()] == ["0001_first"]
