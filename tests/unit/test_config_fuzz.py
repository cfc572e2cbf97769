"""Bad input: a located fault or a valid value, never a traceback, never another exception."""

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from bleen import config
from bleen.config import Faults
from bleen.errors import UserError
from bleen.plan import Plan, lines
from bleen.providers.checks.smoke_runner import run

QUICK = settings(max_examples=150)
LOCATED = re.compile(r"(bleen\.yaml|smoke\.yml|x\.env):[1-9][0-9]*:[1-9][0-9]*: .+")
NOT_THERE = re.compile("is no directory|is no program that can be executed in ")

WORDS = """
    service platform process command directory env env_file replicas stop signal timeout keep_alive user ports router envoy haproxy listen preview tls trusted
    certificate key checks health path interval patience fall smoke promotion mode auto manual deadline then abort steps share bake rollback_window drain
    after_window keep tests name url method headers body json expect_status expect_body_contains expect_json value expect_header capture header cookie
    max_response_time_ms retries verify_tls GET POST /health http://127.0.0.1:8080/ ${A} ${capture.a} $${ ${ {port} {version} {{x}} {nope} 5s 0s 1d 5 -1 0 1.5
    true null ~ 100 127.0.0.1:8080 127.0.0.1:8081 [::1]:80 20000-29999 x.env smoke.yml bleen.yaml . .. / \u00e9 \U0001f600
"""
SIGNS = ": |:\n  |\n|\n- |\n  - |{|}|[|]|, |\"|'|\t| |#|&a |*a|!!str |>-\n |---\n|? |%YAML 1.1\n|\\|\0|\ufeff|\u2028|\r"
TOKENS = st.sampled_from(WORDS.split())
GLUE = st.sampled_from([*SIGNS.split("|"), "|\n  "])
NOISE = st.lists(st.one_of(TOKENS, GLUE, st.text(max_size=5)), max_size=60).map("".join)

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), TOKENS)
TREES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(TOKENS, st.text(max_size=6)), inner, max_size=6)), max_leaves=25
)

GOOD = """\
service: shop
platform:
  process: {command: [run, "{port}"], directory: ".", env: {A: "${A}"}, env_file: x.env, replicas: 2, stop: {signal: TERM, timeout: 1s}, ports: 20000-29999}
router: {envoy: {listen: "127.0.0.1:8080", preview: "127.0.0.1:8081"}}
checks: {health: {path: /health}, smoke: smoke.yml}
promotion: {mode: auto, steps: [{share: 10, bake: 1s}, {share: 100}]}
bake: 5s
after_window: {replicas: 1}
"""
GOOD_TESTS = """\
tests:
- {name: a, url: /x, method: POST, headers: {X: "${A}"}, json: {a: [1, "x"]}, capture: {t: {json: "a[0].b"}}, retries: 1, timeout: 1s}
- {name: b, url: "/${capture.t}", expect_status: [200], expect_json: {path: a, value: null}, expect_header: {A: b}, max_response_time_ms: 5}
"""


def outcome(bleen: bytes, tests: bytes = b"tests: [{name: t, url: /}]", env: bytes = b"A=1\n") -> None:
    """Loads, and makes a plan: each either works or is a located fault."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        for name, data in (("bleen.yaml", bleen), ("smoke.yml", tests), ("x.env", env)):
            (place / name).write_bytes(data)
        try:
            loaded = config.load(place / "bleen.yaml", {"A": "a"})
            plan = config.plan(loaded, "1.0", None)
            config.router(loaded)
        except Faults as error:
            said = str(error).replace(f"{directory}/", "").splitlines()
            strange = [line for line in said if not LOCATED.fullmatch(line)]
        except UserError as error:
            said, strange = [str(error)], [] if NOT_THERE.search(str(error)) else [str(error)]
        else:
            said, strange = ["nothing"], []
            assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
            assert lines(plan)
            json.dumps(config.secrets(loaded))
        assert said
        assert not strange


@given(NOISE)
@QUICK
def test_noise_is_a_located_fault(text: str) -> None:
    outcome(text.encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=200))
@QUICK
def test_bytes_are_a_located_fault(data: bytes) -> None:
    outcome(data, data, data)
    outcome(GOOD.encode(), data, data)


@given(NOISE)
@QUICK
def test_noise_for_smoke_tests_is_a_located_fault(text: str) -> None:
    outcome(GOOD.encode(), text.encode("utf-8", "surrogatepass"))


@given(TREES, TREES)
@QUICK
def test_any_tree_is_a_located_fault_or_valid(one: object, other: object) -> None:
    outcome(json.dumps(one).encode(), json.dumps(other).encode())
    outcome(GOOD.encode(), json.dumps({"tests": other}).encode())


@given(st.data())
@QUICK
def test_a_good_file_with_one_thing_changed_is_a_located_fault_or_valid(data: st.DataObject) -> None:
    def changed(text: str) -> bytes:
        at = data.draw(st.integers(0, len(text) - 1))
        end = data.draw(st.integers(at, min(len(text), at + 12)))
        return (text[:at] + data.draw(st.one_of(TOKENS, GLUE, st.text(max_size=3))) + text[end:]).encode("utf-8", "surrogatepass")

    outcome(changed(GOOD), GOOD_TESTS.encode())
    outcome(GOOD.encode(), changed(GOOD_TESTS))


@given(st.sampled_from(["service", "bake", "checks", "router", "platform", "promotion", "after_window", "drain"]), TREES)
@QUICK
def test_a_good_file_with_any_value_at_a_key_is_a_located_fault_or_valid(key: str, value: object) -> None:
    kept = [line for line in GOOD.splitlines() if not line.startswith((f"{key}:", "  " if key == "platform" else "\0"))]
    outcome("\n".join([*kept, f"{key}: {json.dumps(value)}"]).encode(), GOOD_TESTS.encode())


def paths(node: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a tree, by keys and places."""
    yield way
    for key, inner in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from paths(inner, (*way, key))


def with_value(node: Any, way: tuple[Any, ...], value: object) -> Any:
    """A tree with another value at the end of a way."""
    if not way:
        return value
    changed = node.copy()
    changed[way[0]] = with_value(node[way[0]], way[1:], value)
    return changed


@pytest.mark.parametrize("value", [5, "10%", None, [], [5, "x"], {}, {"share": 5}], ids=repr)
def test_each_value_of_a_good_file_may_be_any_other_and_that_is_a_located_fault_or_valid(value: object) -> None:
    """Every fault of the file is reported in one go; one that the next check stumbles over ended as a bug."""
    tree, tests = (YAML(typ="safe").load(text) for text in (GOOD, GOOD_TESTS))
    for way in paths(tree):
        outcome(json.dumps(with_value(tree, way, value)).encode(), GOOD_TESTS.encode())
    for way in paths(tests):
        outcome(GOOD.encode(), json.dumps(with_value(tests, way, value)).encode())
    outcome(GOOD.replace("127.0.0.1:8081", "127.0.0.1:8080").encode(), GOOD_TESTS.encode())


@given(st.text())
@QUICK
def test_any_text_is_a_version_or_refused(text: str) -> None:
    try:
        version = config.check_version(text)
    except UserError as error:
        said = str(error)
    else:
        said = version
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,127}", version)
        assert Path("releases", version).parts == ("releases", version)
    said.encode()
    assert said.isprintable()


@given(st.text(), st.dictionaries(st.sampled_from(["A", "B"]), st.text(max_size=20), max_size=2))
@settings(QUICK, max_examples=60)
def test_any_value_of_a_reference_is_a_verdict(body: str, values: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "smoke.yml"
        path.write_text('tests: [{name: t, url: "http://127.0.0.1:1/${A}", headers: {X: "${B}"}, body: "${A}${B}"}, {name: u, url: "${B}", retries: 0}]')
        tests = config.load_tests(path, None, None)
    verdict = run(json.loads(json.dumps(tests.rows)), "http://127.0.0.1:1", values)
    assert verdict.result.value == "inconclusive"


@pytest.mark.parametrize("text", [GOOD])
def test_the_file_that_is_changed_is_good(text: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for name, data in (("bleen.yaml", text), ("smoke.yml", GOOD_TESTS), ("x.env", "A=1\n")):
            (Path(directory) / name).write_text(data)
        assert config.load(Path(directory) / "bleen.yaml", {}).service == "shop"
