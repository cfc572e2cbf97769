"""What is loaded on the way of a command: ``rollback`` is typed by a person whose site is down."""

import gc
import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bleen import cli
from bleen.cli import main

HEAVY = {"pydantic", "httpx", "rich", "ruamel", "yaml", "asyncio", "dataclasses", "http.client", "urllib.request", "ssl", "email", "psutil", "shtab"}

ROLLBACK = """
import bleen.cli, bleen.cli.arguments, bleen.cli.verbs.rollback, bleen.engine.drive  # the last only once a service is found
from bleen import wiring
for where in (wiring.JOURNAL, *wiring.ROUTERS.values(), *wiring.PLATFORMS.values()):
    wiring._load(where)
bleen.cli.main(["rollback", "--service", "nobody"])
"""


def loaded(program: str) -> set[str]:
    """The modules that a program has loaded at its end."""
    code = f"{program}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_a_rollback_loads_nothing_heavy_even_if_it_has_to_drive_everything_itself() -> None:
    modules = loaded(ROLLBACK)
    assert "bleen.cli.access" in modules, "the way of a rollback was not walked"
    assert "bleen.providers.routers.envoy" in modules
    assert not modules & HEAVY


def test_no_command_looks_for_garbage_in_what_it_has_loaded_neither_meanwhile_nor_at_its_end() -> None:
    program = """
import atexit, gc
from bleen import cli
from bleen.cli import main
looks = lambda: sum(each["collections"] for each in gc.get_stats())
before = looks()
atexit.register(lambda: print(looks() - before, gc.get_freeze_count()))
main(["status", "--service", "nobody"])
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    looks, frozen = map(int, done.stdout.split())
    assert looks == 0
    assert frozen > 1_000, "what is not frozen is looked through by the interpreter when it ends"


def test_help_loads_no_verb() -> None:
    modules = loaded("from bleen.cli import main\nmain(['--help'])")
    assert not {each for each in modules if each.startswith("bleen.") and each not in ("bleen.cli", "bleen.errors")}
    assert not modules & HEAVY


@pytest.mark.parametrize("verb", ["status", "history", "logs"])
def test_a_verb_that_only_looks_loads_no_engine(verb: str) -> None:
    modules = loaded(f"from bleen.cli import main\nmain(['{verb}', '--service', 'nobody'])")
    assert f"bleen.cli.verbs.{verb}" in modules
    assert not {each for each in modules if each.startswith("bleen.engine.")}


@pytest.mark.parametrize("verb", ["status", "promote", "abort", "retire", "resume", "close", "wait", "history", "logs"])
def test_a_verb_that_makes_no_plan_does_not_load_the_reader_of_bleen_yaml(verb: str) -> None:
    modules = loaded(f"from bleen.cli import main\nmain(['{verb}', '--service', 'nobody'])")
    assert f"bleen.cli.verbs.{verb}" in modules
    assert "bleen.config" not in modules
    assert not modules & {"pydantic", "ruamel", "rich"}


@pytest.mark.parametrize("flags", [(), ("-u",)], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("words", [("schema",), ("--help",), ("status", "--service", "nobody", "--json"), ("nonsense", "--json")])
def test_what_is_printed_to_a_full_disk_is_lost_without_a_traceback_and_is_not_done(words: tuple[str, ...], flags: tuple[str, ...]) -> None:
    """ "No traceback reaches a person." """
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, *flags, "-m", "bleen", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "bleen: not all that this says could be written: No space left on device\n")


@pytest.mark.parametrize("flags", ["", "-u "], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(("words", "code"), [("schema", 2), ("--help", 2), ("status --service nobody --json", 2), ("init", 0)])
def test_what_is_printed_to_a_closed_stream_is_lost_too_and_a_verb_that_only_prints_is_not_done(tmp_path: Path, words: str, code: int, flags: str) -> None:
    """ "What cannot be printed is left out [...]; a verb that is there to print (`plan`, `status`) then exits 2." """
    line = ["sh", "-c", f'exec "$0" {flags}-m bleen {words} >&-', sys.executable]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "bleen: not all that this says could be written: Bad file descriptor\n")


class Pressed:
    """Ctrl-C, while the class is made that this is an attribute of."""

    def __set_name__(self, *_: object) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_while_a_verb_is_loaded_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """ "130 Ctrl-C" """

    def loads(name: str) -> None:
        type("Verb", (), {"each": Pressed()})

    monkeypatch.setattr(importlib, "import_module", loads)
    assert main(["deploy", "1.0"]) == 130


@pytest.mark.parametrize(("words", "said"), [("expand 1.1", "how far it came"), ("contract --yes", "how far it came"), ("lint a.sql", "")])
def test_ctrl_c_while_the_schema_changes_says_where_to_look(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, said: str) -> None:
    def pressed(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", pressed)
    assert main(["migrate", *words.split()]) == 130
    assert bool(said) == bool(told := capsys.readouterr().err)
    assert said in told


PRESSED = """
import importlib, os, signal
from bleen import cli
from bleen.cli import main
def loads(name):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        raise ImportError("as a library says it that cannot be loaded")
importlib.import_module = loads
raise SystemExit(main(["deploy", "1.0"]))
"""


def test_a_bug_is_told_in_a_line_where_its_report_finds_no_room_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback reaches a person."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    monkeypatch.setattr("bleen.cli.verbs.status.run", lambda args: args.nothing)
    assert main(["status"]) == 70
    said = capsys.readouterr().err
    assert said.startswith(
        "bleen: a bug in `bleen status`: AttributeError: 'Namespace' object has no attribute 'nothing'\nplease report it; more could not be written"
    )


def test_ctrl_c_while_a_library_is_loaded_ends_the_verb_on_the_spot() -> None:
    """ "130 Ctrl-C" """
    done = subprocess.run([sys.executable, "-I", "-c", PRESSED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_before_any_verb_is_loaded_shows_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """ "No traceback reaches a person." """

    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gc, "set_threshold", pressed)
    assert main(["deploy", "1.0"]) == 130
