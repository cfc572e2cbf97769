"""smoke-tests.yml: what it may say, and every fault of it at once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bleen.config import load_tests
from bleen.config.fields import Address
from bleen.config.smoke import split_path


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    monkeypatch.chdir(tmp_path)

    def collect(text: str, production: Address | None = None, known: tuple[str, ...] | None = None) -> list[str]:
        Path("smoke.yml").write_text(text)
        found = load_tests(Path("smoke.yml"), production, known.__contains__ if known is not None else None)
        json.dumps(found.rows)
        return [str(fault) for fault in found.source.faults]

    return collect


def test_every_fault_of_the_tests_is_located_and_told_in_one_go(faults: Callable[..., list[str]]) -> None:
    found = faults("""\
tests:
- name: one
  url: green.internal/health
  expect_staus: 200
  timeout: 10
- url: /x
  method: get
  expect_status: ok
  headers: {"bad header": x}
  expect_json: {path: "a[", value: 1}
- name: three
  url: /x
  body: a
  json: {a: b}
- just text
""")
    expected = (
        ("3:8", "url: `green.internal/health` is not a URL; write /path for the new environment, or http://host/path or https://host/path"),
        ("4:3", "`expect_staus` is not a key of tests.0; did you mean `expect_status`?"),
        ("5:12", "timeout: `10` has no unit; write 10s for seconds (units: ms s m h d)"),
        ("6:3", "`name` is missing in tests.1; for example `name: Health check`"),
        ("7:11", "method: `get` is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        ("8:18", "expect_status: `ok` is not a status; write 200, or a list such as [200, 204]"),
        ("9:13", "bad header: `bad header` is not the name of a header"),
        ("10:23", 'path: `a[` is not a path; write one such as items[0].id or items["a.b"], or $ for the whole'),
        ("13:9", "body: a request has one body; keep `body` or `json`"),
        ("15:3", "tests[3]: is a single value; it is a mapping with the keys name, url, method, headers, body, json, expect_status"),
    )
    assert len(found) == len(expected)
    for line, (place, text) in zip(sorted(found, key=lambda line: [int(n) for n in line.split(":")[1:3]]), expected, strict=True):
        assert line.startswith(f"smoke.yml:{place}: {text}")


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("url: //other/x", "is not a URL"),
        ("url: http:///x", "is not a URL"),
        ("url: http://user:secret@host/", "has a name and password in it"),
        ("url: http://host:99999/", "is not a host and a port"),
        ("url: http://a:b:c/", "is not a host and a port"),
        ('url: "/a b"', "percent-encode"),
        ("url: ftp://host/x", "is not a URL"),
        ('url: "/${x y}"', "is not a reference"),
        ('url: "/${x-y}"', "is not a reference"),
        ("url: /\n  retries: -1", "whole number from 0 to 100"),
        ("url: /\n  verify_tls: yes", "neither true nor false"),
        ("url: /\n  capture: {a b: {json: x}}", "cannot be captured to"),
        ("url: /\n  capture: {a: {json: x, header: y}}", "is taken from one place"),
        ("url: /\n  capture: {a: x}", "a mapping with the keys json, header, cookie"),
        ("url: /\n  expect_json: {path: a}", "`value` is missing"),
        ("url: /\n  expect_json: []\n  expect_status: []", "is not a status"),
        ("url: /\n  expect_status: [200, 99]", "is not a status"),
        ("url: /\n  expect_header: {A: [x]}", "is a list; it is text"),
        ('url: /\n  headers: {A: "x\\r\\nB: y"}', "has a line break"),
        ('url: "/${capture.token}"', "is not captured by an earlier test"),
        ('url: /\n  capture: {token: {json: t}}\n  headers: {A: "${capture.token}"}', "is not captured by an earlier test"),
        ('url: /\n  json: {a: ["${KEY"]}', "has no `}` after it"),
    ],
)
def test_a_test_that_cannot_be_is_a_fault(faults: Callable[..., list[str]], test: str, said: str) -> None:
    found = faults(f"tests:\n- name: t\n  {test}\n")
    assert len(found) == 1, found
    assert found[0].startswith("smoke.yml:")
    assert said in found[0]


@pytest.mark.parametrize("text", ["tests: []", "tests:", "{}", "- name: t", ""])
def test_no_tests_are_no_tests_that_pass(faults: Callable[..., list[str]], text: str) -> None:
    """A check that could not run, an empty list of targets, a metric with no data: not a pass."""
    assert len(faults(text)) == 1


def test_names_and_captures_are_given_once(faults: Callable[..., list[str]]) -> None:
    found = faults("tests:\n- {name: t, url: /, capture: {a: {json: a}}}\n- {name: t, url: /, capture: {a: {json: a}}}\n")
    assert found == [
        "smoke.yml:3:10: `t` is the name of two tests; reports could not tell them apart",
        "smoke.yml:3:31: `a` is captured twice; choose another name",
    ]


def test_a_reference_without_a_value_is_a_fault_wherever_it_stands(faults: Callable[..., list[str]]) -> None:
    text = 'tests:\n- {name: t, url: "${BASE}/x", headers: {A: "${SET}"}, json: {a: ["$${LITERAL}", "${KEY}"]}}\n'
    found = faults(text, known=("SET",))
    assert [line.partition(" is")[0] for line in found] == ["smoke.yml:2:18: ${BASE}", "smoke.yml:2:81: ${KEY}"]
    assert faults(text) == []


@pytest.mark.parametrize(
    ("url", "listen", "refused"),
    [
        ("http://127.0.0.1:8080/x", Address("127.0.0.1", 8080), True),
        ("HTTP://LOCALHOST:8080", Address("127.0.0.1", 8080), True),
        ("http://localhost.:8080/", Address("0.0.0.0", 8080), True),
        ("http://127.0.0.1:8080", Address("0.0.0.0", 8080), True),
        ("http://127.0.0.1/", Address("0.0.0.0", 80), True),
        ("https://[::1]/", Address("[::]", 443), True),
        ("http://0.0.0.0:8080", Address("127.0.0.1", 8080), True),
        ("http://[0:0::1]:80", Address("[::1]", 80), True),
        ("http://127.0.0.1:8081/", Address("127.0.0.1", 8080), False),
        ("http://10.0.0.1:8080/", Address("127.0.0.1", 8080), False),
        ("http://localhost:8080/", Address("10.0.0.1", 8080), False),
        ("https://green.internal/health", Address("0.0.0.0", 443), False),
        ("/health", Address("127.0.0.1", 8080), False),
    ],
)
def test_an_absolute_url_that_is_the_production_listener_is_a_fault(faults: Callable[..., list[str]], url: str, listen: Address, refused: bool) -> None:
    """An absolute smoke URL that is the production listener is an error."""
    found = faults(f'tests: [{{name: t, url: "{url}"}}]', listen)
    assert [("where users are served" in line) for line in found] == ([True] if refused else [])


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("id", ["id"]),
        ("items[0].id", ["items", 0, "id"]),
        ("[0][1]", [0, 1]),
        ("$", []),
        ("$.a", ["a"]),
        ("$[2]", [2]),
        ('a["b.c"].d', ["a", "b.c", "d"]),
        ("a-b.c d", ["a-b", "c d"]),
    ],
)
def test_a_path_is_keys_and_indices(path: str, steps: list[Any]) -> None:
    assert split_path(path) == steps


@pytest.mark.parametrize("path", ["", ".a", "a..b", "a.", "a[", "a[x]", "a[-1]", "a]b", 'a["', "a[0]b", "a[99999999999]", "$$", "a" * 501])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        split_path(path)
