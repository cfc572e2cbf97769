"""What nobody should type and somebody does: told in a line, with the way on, and never as a bug of ours."""

import errno
import json
import os
import re
import shlex
from pathlib import Path

import pytest

from bleen import config
from bleen.cli import arguments, main
from bleen.cli.verbs import migrate
from bleen.errors import UserError
from bleen.host import state
from bleen.host.state import Place, find

HUGE = "99999999999999999999"
LONG = "a" * 300
TESTS = json.dumps({"tests": [{"name": "Home", "url": "/", "expect_status": 200}]})


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Typed":
    """A directory of its own with a good bleen.yaml, where somebody types."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLEEN_STATE", str(tmp_path / "state"))
    (tmp_path / "bleen.yaml").write_text(config.template("envoy", "shop"))
    (tmp_path / "smoke.json").write_text(TESTS)
    Place("other").make()
    return Typed(capsys)


class Typed:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str]:
        """The exit code, and all that was said."""
        code = main(list(words))
        said = self._capsys.readouterr()
        return code, said.out + said.err


REFUSED = {
    "a release of a number that no journal can hold": (("history", HUGE), f"{HUGE} is larger than any number here"),
    "more releases than that": (("history", "--limit", HUGE), f"{HUGE} is larger"),
    "waiting for it": (("wait", HUGE), f"{HUGE} is larger"),
    "a service whose name is longer than a file's": (("status", "--service", LONG), f"no service '{LONG}'"),
    "a bleen.yaml of such a name": (("check", "-f", LONG), "there is no such file"),
    "a service's address that is none": (("smoke", "smoke.json", "--url", "127.0.0.1:1"), "it begins with http:// or https://"),
    "whom to lead to, but not that": (("up", "--to", "blue"), "they go with --apply"),
    "to force what is not asked for": (("up", "--force"), "they go with --apply"),
    "to lead a router that does not run": (("up", "--apply", "--to", "blue"), "the router of shop does not answer: `bleen up` starts it"),
    "a path that is no UTF-8": (("status", "--json", "-f", os.fsdecode(b"/tmp/\xff/bleen.yaml")), "no service is known for /tmp/"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused(typed: Typed, case: str) -> None:
    """ "No traceback reaches a person." """
    words, says = REFUSED[case]
    code, said = typed(*words)
    assert (code, says in said) == (2, True), said


@pytest.mark.parametrize(
    ("number", "way"),
    [
        (errno.ENOSPC, "make room (`df -h`, `df -i`), then try again"),
        (errno.EACCES, "run this as the user that it belongs to"),
        (errno.EMFILE, "raise the limit (`ulimit -n`)"),
    ],
)
def test_what_the_host_does_not_let_us_do_is_said_with_the_way_out(typed: Typed, monkeypatch: pytest.MonkeyPatch, number: int, way: str) -> None:
    def find(file: Path) -> Place:
        raise OSError(number, os.strerror(number), "/x")

    monkeypatch.setattr(state, "find", find)
    code, said = typed("status")
    assert (code, said.startswith(f"bleen: /x: {os.strerror(number)}; {way}")) == (2, True), said


@pytest.mark.parametrize("words", [("-f", "bleen.yaml", "plan", "1"), ("--json", "plan", "1"), ("--service", "shop", "plan")])
def test_options_before_a_sub_verb_are_told_where_they_go_as_the_usage_has_them(typed: Typed, words: tuple[str, ...]) -> None:
    code, said = typed("migrate", *words)
    assert (code, "options come after the sub-verb: bleen migrate plan [options]" in said) == (2, True), said
    assert arguments.parser("migrate", migrate).format_usage() == "usage: bleen migrate SUBVERB [options]\n"


def test_options_may_stand_between_what_is_not_one(typed: Typed) -> None:
    """Operations behind ``--to DIR``, files on both sides of ``--phase``."""
    Path("a.sql").write_text("ALTER TABLE a ADD COLUMN b int;")
    assert typed("migrate", "new", "b", "--to", "m", "add_column", "table=a", "column=b", "type=int")[0] == 0
    assert typed("migrate", "lint", "a.sql", "--dialect", "postgres", "--phase", "expand", "m/0001_b/expand.sql")[0] == 0


def test_files_that_are_named_with_more_letters_than_a_name_can_have_are_not_there(typed: Typed) -> None:
    Path("bleen.yaml").write_text(config.template("envoy", "shop").replace("# smoke: smoke-tests.yml", f"smoke: {LONG}"))
    code, said = typed("check")
    assert code == 2
    assert f"smoke: `{LONG}` is no file" in said


def test_a_service_of_a_path_that_is_no_utf_8_is_found_by_it(typed: Typed) -> None:
    file = Path(os.fsdecode(b"\xff"), "bleen.yaml").absolute()
    place = Place("shop")
    place.make()
    place.journal.touch()
    for _ in range(2):
        place.remember(file)
    assert find(file).service == "shop"


def test_a_note_of_a_service_that_cannot_be_read_is_none_and_is_written_again(typed: Typed) -> None:
    file, place = Path("bleen.yaml"), Place("shop")
    place.make()
    place.journal.touch()
    place.remember(file)
    [note] = (place.root / "files").iterdir()
    note.write_bytes(b"\xff")
    with pytest.raises(UserError, match="no service is known for"):
        find(file)
    place.remember(file)
    assert find(file).service == "shop"


def test_a_base_that_is_no_url_is_a_test_that_could_not_be_run(typed: Typed) -> None:
    Path("tests.yml").write_text(TESTS)
    code, said = typed("smoke", "tests.yml", "--url", "http://[::1:80")
    assert (code, "/ and http://[::1:80 do not make a URL: Invalid IPv6 URL" in said) == (1, True), said


def test_the_version_that_smoke_tests_name_is_said_and_not_taken_from_variables(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERSION", "0")
    Path("tests.yml").write_text(TESTS.replace('"/"', '"/${VERSION}"'))
    code, said = typed("smoke", "tests.yml", "--url", "http://[::1:80")
    assert (code, "tests.yml:1:36: ${VERSION} is the version that is tested" in said, "name it with --version" in said) == (2, True, True), said
    code, said = typed("smoke", "tests.yml", "--url", "http://[::1:80", "--version", "1.1")
    assert (code, "/1.1 and http://[::1:80 do not make a URL" in said) == (1, True), said


def test_toml_that_is_nested_without_an_end_is_a_finding(typed: Typed) -> None:
    nested = "a = " + "[" * 2000 + "]" * 2000
    Path("0001_deep").mkdir()
    Path("0001_deep", "migration.toml").write_text(nested)
    code, said = typed("migrate", "lint", "--dialect", "postgres", "0001_deep/migration.toml")
    assert (code, "nested too deeply to be read" in said) == (1, True), said
    Path("operations.toml").write_text(nested)
    code, said = typed("migrate", "new", "deep", "--from", "operations.toml", "--to", "to")
    assert (code, "nested too deeply to be read" in said) == (2, True), said


def test_init_gives_a_directory_of_any_name_a_service_that_check_takes(typed: Typed) -> None:
    for name, service in (("a" * 39 + "-bcd", "a" * 39), ("-Sp ace-", "sp-ace"), ("1st", "shop"), ("b" * 50, "b" * 40)):
        Path(name).mkdir()
        assert typed("init", "-f", f"{name}/bleen.yaml")[0] == 0
        assert f"service {service}\n" in typed("check", "-f", f"{name}/bleen.yaml")[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--service", "Foo: bar", "-f", "new.yaml"), "--service: `Foo: bar` cannot name a service"),
        (("-f", "no/dir/bleen.yaml"), "no/dir/bleen.yaml cannot be written: No such file or directory; -f names another place"),
        (("-f", LONG), "cannot be written: File name too long"),
    ],
)
def test_init_refuses_what_it_cannot_write(typed: Typed, words: tuple[str, ...], says: str) -> None:
    code, said = typed("init", *words)
    assert (code, says in said) == (2, True), said
    assert not Path("new.yaml").exists()


@pytest.mark.parametrize("name", ["sp ace", "100%n", 'quo"te\\', "$HOME"])
def test_the_units_of_init_hold_every_path_as_systemd_reads_it(typed: Typed, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "To pass a literal dollar sign, use $$", "%%": "A single percent sign" (systemd.service(5), systemd.unit(5))."""
    there = Path(name).absolute()
    there.mkdir()
    (there / "bleen.yaml").write_text(Path("bleen.yaml").read_text())
    monkeypatch.chdir(there)
    monkeypatch.setenv("BLEEN_STATE", str(there / "state"))
    said = typed("init", "--systemd")[1]
    assert shlex.quote(str(there / "bleen-shop.service")) in said
    lines = dict(line.split("=", 1) for line in Path("bleen-shop.service").read_text().splitlines() if "=" in line)
    words, variables = ([word.replace("%%", "%") for word in shlex.split(lines[key])] for key in ("ExecStart", "Environment"))
    assert [word.replace("$$", "$") for word in words[-2:]] == ["--file", str(there / "bleen.yaml")]
    assert variables == [f"BLEEN_STATE={there}/state"]
    assert not re.search(r"(?<!%)(%%)*%(?!%)", lines["ExecStart"] + lines["Environment"])
    assert not re.search(r"(?<!\$)(\$\$)*\$(?!\$)", lines["ExecStart"])
