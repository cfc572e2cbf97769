"""What the docs say of the code is generated from it. Run as a program, this writes it: ``scripts/docs``."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bleen import config
from bleen.cli import VERBS
from bleen.config import smoke
from bleen.database import operations
from bleen.database.rules import rules
from bleen.database.statements import Dialect
from bleen.database.sync.table import TABLE as TABLE_OF_SYNC
from bleen.lifecycle import TABLE

ROOT = Path(__file__).parents[2]
MARKS = re.compile(r"(<!-- table: begin [^\n]*-->\n).*?(<!-- table: end -->)", re.DOTALL)


def life_of_a_release() -> Iterator[str]:
    yield "| phase | what it does | then | if it fails | a person may | watched |"
    yield "|---|---|---|---|---|---|"
    for phase, row in TABLE.items():
        then = {"BAKING": "PROMOTING while steps remain, else HOLDING", "UNDOING": "ABORTED if traffic never moved, else ROLLED_BACK"}.get(phase, str(row.then))
        may = ", ".join(row.may) if phase != "ROLLING_BACK" else "rollback --force"
        yield f"| {phase!s} | {row.does} | {then} | {row.fails or 'halts'!s} | {may} | {'yes' if row.watched else ''} |"


def keys_of_bleen_yaml() -> Iterator[str]:
    schema = config.schema()
    yield "| key | default | what it is |"
    yield "|---|---|---|"
    yield from _keys(schema, schema, "")


def keys_of_smoke_tests() -> Iterator[str]:
    schema = smoke.Test.model_json_schema()
    yield "| key | default | what it is |"
    yield "|---|---|---|"
    yield from _keys(schema, schema, "")


def _keys(schema: dict[str, Any], model: dict[str, Any], above: str) -> Iterator[str]:
    for name, field in model["properties"].items():
        inner, below = _model(schema, field)
        told = field.get("description", "").replace("|", "/")
        if told:
            default = "" if inner and not below else _default(field, name in model.get("required", ()))
            yield f"| `{above}{name}` | {default} | {told} |"
        if inner:
            yield from _keys(schema, inner, f"{above}{name}{below}.")


def _model(schema: dict[str, Any], field: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """What the keys below one are, and what stands between: of a list, or by names of one's own."""
    below = {"": field, "[]": field.get("items"), ".NAME": field.get("additionalProperties")}
    options = [(each, way) for way, outer in below.items() if isinstance(outer, dict) for each in (outer, *outer.get("anyOf", ()))]
    options += [(each["items"], "[]") for each in field.get("anyOf", ()) if "items" in each]
    for each, way in options:
        if "$ref" in each and "properties" in (found := schema["$defs"][each["$ref"].rpartition("/")[2]]):
            return found, way
    return None, ""


def _default(field: dict[str, Any], required: bool) -> str:
    if required:
        return "must be given"
    value = field.get("default")
    return "none" if value in (None, {}, []) else f"`{json.dumps(value) if isinstance(value, bool) else value}`"


def rules_of_sql() -> Iterator[str]:
    """A rule of one name may ask different things of different databases."""
    titles: dict[Dialect, str] = {"postgres": "PostgreSQL", "mysql": "MySQL and MariaDB", "sqlite": "SQLite"}
    for dialect, title in titles.items():
        yield f"### {title}"
        yield ""
        yield "| rule | what it asks |"
        yield "|---|---|"
        for name, told in rules(dialect).items():
            yield f"| `{name}` | {told.replace('|', '/')} |"
        yield ""


def decisions_of_sync() -> Iterator[str]:
    yield "| write | old side | new side | and | what is done | why |"
    yield "|---|---|---|---|---|---|"
    does = {"leave": "nothing", "old": "new := forward(old)", "new": "old := backward(new)", "conflict": "what `on_conflict` says"}
    for rule in TABLE_OF_SYNC:
        conditions = [
            text
            for holds, text in (
                (rule.forward, "new = forward(old)"),
                (rule.backward, "old = backward(new)"),
                (rule.writer, f"the writer is known to write the {rule.writer} shape"),
                (rule.only_old, "only old columns have a value"),
            )
            if holds
        ]
        write = {True: "INSERT", False: "UPDATE", None: ""}[rule.insert]
        yield f"| {write} | {rule.old or ''} | {rule.new or ''} | {', '.join(conditions)} | {does[rule.does]} | {rule.why} |"


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "docs/architecture.md": life_of_a_release,
    "docs/guide/configuration.md": keys_of_bleen_yaml,
    "docs/guide/migrations.md": rules_of_sql,
    "docs/guide/smoke-tests.md": keys_of_smoke_tests,
    "docs/guide/sync.md": decisions_of_sync,
}


def written(page: str) -> str:
    return MARKS.sub(lambda found: "".join([found[1], *(f"{line}\n" for line in PAGES[page]()), found[2]]), (ROOT / page).read_text())


def test_the_article_s_example_reads_the_same_wherever_it_is_given() -> None:
    given = [(ROOT / page).read_text() for page in ("docs/guide/database.md", "docs/guide/sync.md", "src/bleen/cli/verbs/migrate/new.py")]
    given.append(operations.template("postgres").files["migration.toml"])
    found = [name for text in given for name in re.findall(r'\b(?:first|last)_name ?= ?"[^|]*?"|\b(?:first|last)_name="[^|]*?"', text)]
    assert len(found) == 10
    assert len({each.replace(" = ", "=") for each in found}) == 2


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_says_of_the_code_is_what_the_code_says(page: str) -> None:
    assert (ROOT / page).read_text() == written(page), "run scripts/docs"


def test_every_verb_is_told_in_the_readme_the_guide_or_the_changelog() -> None:
    told = "".join(page.read_text() for page in (ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs" / "guide").glob("*.md")))
    assert not [verb for verb in VERBS if not re.search(rf"\b{verb}\b", told)]


def test_every_verb_that_may_exit_1_is_told_with_it() -> None:
    verbs = ROOT / "src" / "bleen" / "cli" / "verbs"
    say_no = [" ".join(file.relative_to(verbs).with_suffix("").parts) for file in verbs.glob("**/*.py") if "exits.SAID_NO" in file.read_text()]
    (readme,) = re.findall(r"^\| 1 \| (.*) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    (semantics,) = re.findall(r"· 1 (.*?) · 2 ", (ROOT / "docs" / "semantics.md").read_text())
    assert readme == semantics
    assert sorted(each.removesuffix(" --timeout") for each in re.findall(r"`(.*?)`", readme)) == sorted(say_no)


def test_every_link_between_the_pages_leads_somewhere() -> None:
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


if __name__ == "__main__":
    for page in PAGES:
        (ROOT / page).write_text(written(page))
