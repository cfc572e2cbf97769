"""bleen.yaml: what it says, every fault of it at once, and the plan that is made of it."""

import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bleen import config
from bleen.config import Active, Config, Faults
from bleen.config.fields import filled
from bleen.config.source import read, typed
from bleen.errors import UserError
from bleen.host import processes
from bleen.model import Environment
from bleen.plan import Plan, Probe, Step, fill
from bleen.testing.interrupt import fork

EXAMPLE = """\
service: shop
platform:
  process:
    command: [python3, app.py, --port, "{port}"]
    directory: releases/{version}    # working directory
    env: {VERSION: "{version}", ENVIRONMENT: "{environment}"}   # plus PORT, and PATH and HOME as at deploy
    replicas: 2
    stop: {signal: TERM, timeout: 10s}
    keep_alive: 2s                   # the application's own; the proxy closes idle connections before it
router:
  envoy: {listen: "127.0.0.1:8080", preview: "127.0.0.1:8081"}
checks:
  health: {path: /health, interval: 200ms, timeout: 30s}
  smoke: smoke-tests.yml
promotion: {mode: auto}          # {mode: manual, deadline: 2h, then: abort}
bake: 5s
rollback_window: 15m             # length of HOLDING, after the bake
drain: 30s
after_window: stop               # what becomes of the old environment: stop | keep | {replicas: 1}
"""
ARTICLE = """\
# smoke-tests.yml
tests:
- name: Health check
  url: https://green.internal/health
  expect_status: 200
- name: API response
  url: https://green.internal/api/v1/status
  expect_status: 200
  expect_body_contains: "ok"
- name: Database connectivity
  url: https://green.internal/api/v1/db-check
  expect_status: 200
  max_response_time_ms: 500
- name: Auth flow
  url: https://green.internal/api/v1/auth/test
  method: POST
  expect_status: 200
"""
SMALL = """\
service: shop
platform: {process: {command: [cat]}}
router: {haproxy: {listen: "127.0.0.1:8080", preview: "127.0.0.1:8081"}}
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes, environ: Mapping[str, str] | None = {}, **files: str) -> Config:
        Path("bleen.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        for name, content in files.items():
            Path(name.replace("_", ".")).write_text(content)
        return config.load(Path("bleen.yaml"), environ)

    return write


@pytest.fixture
def faults(load: Callable[..., Config]) -> Callable[..., list[str]]:
    def collect(text: str | bytes, **more: Any) -> list[str]:
        with pytest.raises(Faults) as found:
            load(text, **more)
        return str(found.value).splitlines()

    return collect


def example(load: Callable[..., Config], text: str = EXAMPLE) -> Config:
    Path("smoke-tests.yml").write_text(ARTICLE)
    Path("releases/1.0").mkdir(parents=True, exist_ok=True)
    return load(text)


@pytest.mark.parametrize("router", ["envoy", "haproxy"])
def test_the_example_of_the_issue_works_as_it_stands(load: Callable[..., Config], tmp_path: Path, router: str) -> None:
    loaded = example(load, EXAMPLE.replace("envoy:", f"{router}:"))
    assert config.router(loaded) == {"kind": router, "listen": "127.0.0.1:8080", "preview": "127.0.0.1:8081", "tls": None, "keep_alive": 2.0}
    plan = config.plan(loaded, "1.0", None)
    assert plan.platform == {
        "kind": "process",
        "command": ["python3", "app.py", "--port", "{port}"],
        "directory": str(tmp_path / "releases/1.0"),
        "env": {"VERSION": "{version}", "ENVIRONMENT": "{environment}"},
        "secrets": "",
        "replicas": 2,
        "stop": {"signal": "TERM", "timeout": 10.0},
        "user": "",
        "ports": [20000, 29999],
        "log_bytes": 10_000_000,
    }
    assert plan.probe == Probe("/health", 0.2, 1.0, 30.0, 3)
    assert plan.steps == (Step(100, 5.0),)
    assert (plan.environment, plan.old, plan.mode, plan.window, plan.drain, plan.keep) == ("blue", None, "auto", 900.0, 30.0, 0)
    assert [test["name"] for test in plan.smoke] == ["Health check", "API response", "Database connectivity", "Auth flow"]
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_a_first_release_has_no_steps_and_is_the_same_as_one_that_had_some(load: Callable[..., Config]) -> None:
    """ "What is shown is what is run": nobody could have the rest of its traffic."""
    loaded = load(SMALL + "promotion: {steps: [{share: 10, bake: 1m}, {share: 100, bake: 2m}]}\n")
    first, later = (config.plan(loaded, "1.0", active) for active in (None, Active(Environment("blue", 1), "1.0", 1)))
    assert first.steps == (Step(100, 120.0),)
    assert later.steps == (Step(10, 60.0), Step(100, 120.0))
    assert first.digest == later.digest


def test_the_version_in_smoke_tests_is_the_one_that_is_tested_and_in_env_a_variable(load: Callable[..., Config]) -> None:
    text = SMALL.replace("[cat]", '[cat], env: {BUILD: "${VERSION}"}') + "checks: {smoke: smoke.yml}\n"
    tests = {"smoke_yml": 'tests: [{name: t, url: "/${VERSION}/${ENVIRONMENT}/${KEY}"}]'}
    environ = {"VERSION": "0", "ENVIRONMENT": "production", "KEY": "k"}
    assert load(text, environ, **tests).values == {"KEY": "k", "VERSION": "0"}
    assert load(text.replace("${VERSION}", "x"), {"KEY": "k"}, **tests).values == {"KEY": "k"}


@pytest.mark.parametrize("router", ["envoy", "haproxy"])
def test_what_init_writes_loads(load: Callable[..., Config], router: str) -> None:
    loaded = load(config.template(router, "my-shop"))
    assert loaded.service == "my-shop"
    assert config.router(loaded)["kind"] == router


def test_every_fault_is_reported_in_one_go(faults: Callable[..., list[str]]) -> None:
    """Every fault of the file is reported in one go as `bleen.yaml:12:7: …` with what would be right."""
    said = faults("""\
servce: shop
platform:
  process:
    command: python3 app.py --port {port}
    directory: releases/{vers}
    env: {A: "${SECRET}", 2B: x, C: "{prot}", PORT: 80, D: 1.10}
    replicas: 200
    stop: {signal: NOPE, timeout: 10}
    listen: 5
router:
  envoy: {listen: "127.0.0.1:8080", preview: "0.0.0.0:8080", tls: {certificate: a}}
  haproxy:
checks:
  health: [path]
  smoke: nix.yml
promotion: {mode: atuo}
bake: 5
bake: 6s
drain: &x 3s
after_window: {replicas: 0}
rollback_window: *x
""")
    assert said == [
        "bleen.yaml:1:1: `servce` is not a key of this file; did you mean `service`?",
        "bleen.yaml:1:1: `service` is missing; for example `service: shop`",
        'bleen.yaml:4:14: command: is one string, and no shell will split it; write a list: [python3, app.py, --port, "{port}"]',
        "bleen.yaml:5:16: directory: `{vers}` is not known in `directory`; there is {version}, and {{vers}} is the literal text",
        "bleen.yaml:6:14: ${SECRET} is not set; set the variable SECRET where bleen runs, or, for a release, in env_file",
        "bleen.yaml:6:27: 2B: `2B` cannot be the name of a variable; use letters, digits and underscores, and begin with a letter",
        "bleen.yaml:6:37: C: `{prot}` is not known in `env`; there is {port} {version} {environment} {instance}, and {{prot}} is the literal text",
        "bleen.yaml:6:47: PORT: PORT is always set to the port that the copy was given; remove it here",
        "bleen.yaml:7:15: replicas: `200` is not a whole number from 1 to 100",
        "bleen.yaml:8:20: signal: `NOPE` is not a signal that ends a service; one of TERM, INT, QUIT, HUP, USR1, USR2, WINCH, KILL",
        "bleen.yaml:8:35: timeout: `10` has no unit; write 10s for seconds (units: ms s m h d)",
        "bleen.yaml:9:5: `listen` is not a key of platform.process; it belongs under `router.envoy`",
        'bleen.yaml:11:46: preview: 0.0.0.0:8080 cannot be listened on beside `listen`, 127.0.0.1:8080; choose another port, such as "127.0.0.1:8081"',
        "bleen.yaml:11:67: `key` is missing in router.envoy.tls; for example `key: tls/shop.key`",
        "bleen.yaml:12:3: haproxy: is empty; give it a value, or remove the line",
        "bleen.yaml:14:11: health: is a list; it is a mapping with the keys path, interval, timeout, patience, fall",
        "bleen.yaml:15:10: smoke: `nix.yml` is no file; create nix.yml, or remove the line",
        "bleen.yaml:16:19: mode: `atuo` is not one of auto, manual",
        "bleen.yaml:17:7: bake: `5` has no unit; write 5s for seconds (units: ms s m h d)",
        "bleen.yaml:18:1: `bake` is given twice, first in line 17; keep one",
        "bleen.yaml:19:8: the anchor `&x`; anchors are not used here, write the value out where it is needed",
        "bleen.yaml:20:15: after_window: is not {replicas: N} with N from 1 to 100",
        "bleen.yaml:21:18: the alias `*x`; aliases are not used here, write the value out",
    ]


def test_a_value_that_is_wrong_by_itself_hides_none_that_do_not_go_together(faults: Callable[..., list[str]]) -> None:
    """ "Every fault of the file is reported in one go": of the smoke tests that it names, too."""
    Path("smoke-tests.yml").write_text("""\
tests:
  - {name: a, url: "http://127.0.0.1:8080/", frob: 1}
  - {name: a, url: "/${capture.nope}/${NOPE}", expect_status: x}
  - {name: b, url: /, capture: {token: {jsn: token}}}
""")
    said = faults("""\
service: shop
platform:
  process: {command: [app], replicas: 5, ports: 20000-20001, log_size: 1}
router:
  envoy: {listen: "127.0.0.1:8080", preview: 8081}
checks: {smoke: smoke-tests.yml}
promotion: {mode: atuo, steps: [{share: 10}]}
bake: -5s
""")
    assert [each.partition(";")[0].replace("-tests.yml", "") for each in said] == [
        "bleen.yaml:3:49: ports: 2 ports are not enough",
        "bleen.yaml:3:72: log_size: `1` is not a size from 10KB to 100GB",
        "bleen.yaml:5:46: preview: `8081` is not an address",
        "bleen.yaml:7:19: mode: `atuo` is not one of auto, manual",
        "bleen.yaml:7:32: steps: the last step is not 100",
        "bleen.yaml:8:7: bake: `-5s` is not a duration",
        "smoke:2:20: 127.0.0.1:8080 is where users are served",
        "smoke:2:46: `frob` is not a key of tests.0",
        "smoke:3:12: `a` is the name of two tests",
        "smoke:3:20: ${NOPE} is not set",
        "smoke:3:20: ${capture.nope} is not captured by an earlier test",
        "smoke:3:63: expect_status: `x` is not a status",
        "smoke:4:41: `jsn` is not a key of tests.2.capture.token",
    ]
    both = '{envoy: {listen: "127.0.0.1:1", preview: 8081}, haproxy: {listen: "127.0.0.1:1", preview: "127.0.0.1:2"}}'
    said = faults(f"service: shop\nplatform: {{process: {{command: [app]}}}}\nrouter: {both}\n")
    assert [each.partition(";")[0] for each in said] == [
        "bleen.yaml:3:50: preview: `8081` is not an address",
        "bleen.yaml:3:66: haproxy: a service has one router",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "1:1: the file is empty; it begins with `service: shop`"),
        (b"# nothing\n", "1:1: the file is empty"),
        (b"- a\n- b\n", "1:1: the file has a list at the top"),
        (b"shop\n", "1:1: the file has a single value at the top"),
        (b"service: shop\nplatform:\n\tprocess: x\n", "3:1: a tab; indent with spaces"),
        (b"service: caf\xe9\n", "1:13: byte 0xe9 is not UTF-8"),
        (b"service: a\x00b\n", "1:11: the character U+0000 cannot be in YAML"),
        (b'service: "a\\0b"\n', "1:10: the character U+0000 cannot be in a value"),
        (b'service: "\\ud800"\n', "1:10: the character U+D800 cannot be in a value"),
        (b'service: "\\UFFFFFFFF"\n', "cannot be read as YAML"),
        (b"service: shop\n---\nservice: x\n", "2:1: a second document"),
        (b"service: !!python/object:os.system x\n", "1:10: the tag"),
        (b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", "2:8: the alias `*a`"),
        (b"a: &a\n  b: *a\n", "2:6: the alias `*a`"),
        (b"? *a\n: b\n", "1:3: the alias `*a`"),
        ("a: *b\u2028".encode(), "1:4: the alias `*b"),
        (b"<<: {a: b}\n", "1:1: the merge key `<<`"),
        (b"? [a]\n: b\n", "1:3: a mapping or a list as a key"),
        (b"[" * 100_000, "1:21: nested deeper than 20 levels"),
        (b"{a: " * 10_000, "nested deeper than 20 levels"),
        (b"a: b: c\n", "1:5: a second `:` in one line"),
        (b"a: @b\n", "1:4: character '@' that cannot start any token; put the value in quotes"),
        (b"a: 'b\n", "cannot be read as YAML"),
        (b"%YAML 9.9\n---\na: b\n", "cannot be read as YAML"),
        (b"a" * (10 << 20), "1:1: is larger than 256 KiB"),
        (b"bake: .inf\n", "1:7: `.inf` is not a number that can be used"),
        (b"bake: 1e999\n", "1:7: `1e999` is too large for a number"),
        (b"bake: " + b"9" * 5000, "1:7: a number of more than 100 digits"),
    ],
)
def test_a_file_that_is_no_good_yaml_is_a_located_fault(faults: Callable[..., list[str]], text: bytes, said: str) -> None:
    lines = faults(text)
    assert all(line.startswith("bleen.yaml:") for line in lines)
    assert any(said in line for line in lines), lines


def test_a_file_that_is_not_there_or_a_directory_is_a_fault(tmp_path: Path) -> None:
    for path in (tmp_path / "bleen.yaml", tmp_path):
        with pytest.raises(Faults, match=r":1:1: cannot be read: "):
            config.load(path)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("service", "Shop", "cannot name a service"),
        ("service", "a" * 41, "cannot name a service"),
        ("service", "-a", "cannot name a service"),
        ("service", "a-", "cannot name a service"),
        ("service", "../x", "cannot name a service"),
        ("service", "", "is empty"),
        ("bake", "5 s", "is not a duration"),
        ("bake", "1h30m", "is not a duration"),
        ("bake", "-1s", "is not a duration"),
        ("bake", "[5s]", "is a list; it is text such as 30s"),
        ("bake", "400d", "at most 365d"),
        ("drain", "0.5", "write 0.5s for seconds"),
        ("checks", "{health: {interval: 0s}}", "too short; at least 10ms"),
        ("checks", "{health: {interval: 4s, timeout: 4s}}", "make it longer than `interval`"),
        ("checks", "{health: {path: health}}", "is not the path of a request"),
        ("checks", '{health: {path: "/a b"}}', "is not the path of a request"),
        ("checks", "{health: {fall: 0}}", "whole number from 1 to 100"),
        ("checks", "{health: {fall: true}}", "whole number from 1 to 100"),
        ("promotion", "{steps: []}", "the last step is not 100"),
        ("promotion", "{steps: [{share: 10}]}", "the last step is not 100"),
        ("promotion", "{steps: [{share: 100}, {share: 100}]}", "do not grow"),
        ("promotion", "{steps: [{share: 50}, {share: 20}, {share: 100}]}", "do not grow"),
        ("promotion", "{steps: [{share: 0}, {share: 100}]}", "whole number from 1 to 100"),
        ("promotion", "{steps: [{bake: 1s}, {share: 100}]}", "`share` is missing in promotion.steps.0"),
        ("promotion", "{mode: manual, deadline: 0s}", "too short"),
        ("promotion", "auto", "is a single value; it is a mapping with the keys mode, deadline, then, steps"),
        ("after_window", "stopp", "is not one of stop, keep"),
        ("after_window", "{replicas: 1, x: 2}", "is not {replicas: N}"),
        ("database", "{url: 'sqlite:////x.db', apart: {shop: why}}", "apart names shop, which is this service"),
        ("database", "{url: 'sqlite:////x.db', apart: {desk: ''}}", "is empty"),
        ("router", "{}", "names no router"),
        ("router", '{nginx: {listen: "127.0.0.1:80"}}', "`nginx` is not a key of router; there are envoy, haproxy"),
        (
            "router",
            '{envoy: {listen: "127.0.0.1:1", preview: "127.0.0.1:2"}, haproxy: {listen: "127.0.0.1:1", preview: "127.0.0.1:2"}}',
            "a service has one router",
        ),
    ],
)
def test_a_value_that_cannot_be_is_a_fault_that_says_what_would_be_right(faults: Callable[..., list[str]], key: str, value: str, said: str) -> None:
    lines = [line for line in SMALL.splitlines() if not line.startswith(f"{key}:")]
    found = faults("\n".join([*lines, f"{key}: {value}"]))
    assert len(found) == 1, found
    assert found[0].startswith("bleen.yaml:"), found
    assert said in found[0]


@pytest.mark.parametrize(
    ("listen", "preview", "said"),
    [
        ("localhost:8080", "127.0.0.1:8081", 'write "127.0.0.1:8080"'),
        (":8080", "127.0.0.1:8081", '"0.0.0.0:8080" for every address'),
        ("8080", "127.0.0.1:8081", "is not an address"),
        ("127.0.0.1:0", "127.0.0.1:8081", "port 0 does not exist"),
        ("127.0.0.1:65536", "127.0.0.1:8081", "port 65536 does not exist"),
        ("127.0.0.256:80", "127.0.0.1:8081", "is not an IP address"),
        ("::1:80", "127.0.0.1:8081", "in brackets"),
        ("[fe80::1%eth0]:80", "127.0.0.1:8081", "without a zone"),
        ("[127.0.0.1]:80", "127.0.0.1:8081", "in brackets"),
        ("example.org:80", "127.0.0.1:8081", "is not an IP address"),
        ("127.0.0.1:8081", "127.0.0.1:8081", "cannot be listened on beside"),
        ("0.0.0.0:8081", "127.0.0.1:8081", "cannot be listened on beside"),
        ("[::]:8081", "127.0.0.1:8081", "cannot be listened on beside"),
        ("${LISTEN}:80", "127.0.0.1:8081", "is not an IP address"),
    ],
)
def test_addresses_that_cannot_be_listened_on_are_faults(faults: Callable[..., list[str]], listen: str, preview: str, said: str) -> None:
    found = faults(f'service: a\nplatform: {{process: {{command: [a]}}}}\nrouter: {{envoy: {{listen: "{listen}", preview: "{preview}"}}}}')
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    ("trusted", "said"),
    [
        ("10.0.0.1/8", 'write "10.0.0.0/8", or "10.0.0.1" for this address alone'),
        ("fe80::1%eth0", "is neither an IP address nor a network"),
        ("cloudflare", "is neither an IP address nor a network"),
        ("10.0.0.0/33", "is neither an IP address nor a network"),
        ("10", "is neither an IP address nor a network"),
        ("::/0", "the form that IPv4 has in IPv6"),
        ("::ffff:10.0.0.1", "the form that IPv4 has in IPv6"),
    ],
)
def test_networks_that_cannot_be_trusted_are_faults(faults: Callable[..., list[str]], trusted: str, said: str) -> None:
    found = faults(SMALL.replace('"127.0.0.1:8081"', f'"127.0.0.1:8081", trusted: ["fc00::/7", "{trusted}"]'))
    assert len(found) == 1
    assert said in found[0]


def test_a_router_knows_of_trust_only_where_somebody_is_trusted(load: Callable[..., Config]) -> None:
    """Or every service would find its router changed, and want `bleen up --apply`."""
    assert "trusted" not in config.router(load(SMALL))
    text = SMALL.replace('"127.0.0.1:8081"', '"127.0.0.1:8081", trusted: [127.0.0.1, "2000::/3", 10.0.0.0/8]')
    assert config.router(load(text))["trusted"] == ["127.0.0.1/32", "2000::/3", "10.0.0.0/8"]


def test_addresses_are_ipv4_or_bracketed_ipv6(load: Callable[..., Config]) -> None:
    text = SMALL.replace("127.0.0.1:8080", "[::1]:80").replace("127.0.0.1:8081", "[0:0:0:0:0:0:0:1]:81")
    assert config.router(load(text)) == {"kind": "haproxy", "listen": "[::1]:80", "preview": "[::1]:81", "tls": None, "keep_alive": None}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("command: []", "is an empty list"),
        ('command: [""]', "begins with an empty string"),
        ('command: [a, "${TOKEN}"]', "cannot be used in `command`, which everybody on the host can read"),
        ('command: [a, "$${A} ${TOKEN}"]', "cannot be used in `command`"),
        ("command: [a, [b]]", "is a list; it is text"),
        ('command: [a, "{name}"]', "{{name}} is the literal text"),
        ("command: {a: b}", "is a mapping; it is a list"),
        ('command: [a]\n    env: {A: "${B"}', "`${` has no `}` after it"),
        ('command: [a]\n    env: {A: "${B:-x}"}', "is not a reference"),
        ('command: [a]\n    env: {A: "${capture.x}"}', "is not a reference"),
        ("command: [a]\n    env: {A: }", "is empty"),
        ("command: [a]\n    env: [A]", "env: is a list; it is a mapping"),
        ("command: [a]\n    env:", "env: is empty; it is a mapping"),
        ("command: [a]\n    user: root${X}", "cannot be used in this value"),
        ("command: [a]\n    ports: 1-5", "is not a range of ports"),
        ("command: [a]\n    ports: 30000-20000", "is not a range of ports"),
        ("command: [a]\n    ports: {from: 3000}", "is not a range of ports"),
        ("command: [a]\n    ports: 3000-3003\n    replicas: 3", "4 ports are not enough"),
        ("command: [a]\n    log_size: 10", "is not a size"),
        ("command: [a]\n    env_file: nix.env", "`nix.env` is no file"),
        ("env: {A: b}", '`command` is missing in platform.process; for example `command: [python3, app.py, --port, "{port}"]`'),
    ],
)
def test_a_process_that_cannot_be_is_a_fault(faults: Callable[..., list[str]], line: str, said: str) -> None:
    found = faults(f'service: a\nplatform:\n  process:\n    {line}\nrouter: {{envoy: {{listen: "127.0.0.1:1", preview: "127.0.0.1:2"}}}}\n')
    assert len(found) == 1, found
    assert said in found[0]


def test_plain_values_of_env_and_command_are_what_is_written(load: Callable[..., Config]) -> None:
    loaded = load(SMALL.replace("[cat]", "[cat, 1.10, true, 0x1F], env: {A: 1.10, B: yes, C: True, D: 007, E: '', F: '{{port}} $${X}'}"))
    plan = config.plan(loaded, "1", None)
    assert plan.platform["command"] == ["cat", "1.10", "true", "0x1F"]
    assert plan.platform["env"] == {"A": "1.10", "B": "yes", "C": "True", "D": "007", "E": "", "F": "{{port}} $${X}"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{port}", "8"),
        ("{{port}}", "{port}"),
        ("{{{port}}}", "{{port}}"),
        ("awk '{{print}}'", "awk '{print}'"),
        ("$${A}", "${A}"),
        ('{"a": {"b": {}}}', '{"a": {"b": {}}}'),
        ("$A {A} {0}", "$A {A} {0}"),
    ],
)
def test_what_is_written_as_literal_text_reaches_the_process_as_such(load: Callable[..., Config], written: str, meant: str) -> None:
    loaded = load(SMALL.replace("[cat]", f"[cat, {json.dumps(written)}], env: {{A: {json.dumps(written)}}}"))
    plan = config.plan(loaded, "1", None)
    assert fill(plan.platform["command"][1], {"port": "8"}, None) == meant
    assert fill(plan.platform["env"]["A"], {"port": "8"}, {}) == meant
    assert filled(written, {"port": "8"}) == meant


def test_steps_bake_as_long_as_they_say_or_as_the_file_does(load: Callable[..., Config]) -> None:
    loaded = load(SMALL + "bake: 3s\npromotion: {steps: [{share: 10, bake: 1m}, {share: 100}]}\nafter_window: {replicas: 1}\n")
    plan = config.plan(loaded, "1", Active(Environment("blue", 3), "0.9", 2))
    assert plan.steps == (Step(10, 60.0), Step(100, 3.0))
    assert (plan.environment, plan.old, plan.old_version, plan.old_replicas, plan.keep) == ("green", Environment("blue", 3), "0.9", 2, 1)


def test_references_take_their_values_from_who_deploys_then_from_env_file(load: Callable[..., Config]) -> None:
    """`${NAME}` and `env_file:` are the only interpolation."""
    text = SMALL.replace("[cat]", '[cat], env_file: .env, env: {A: "x${ONE}${TWO}", B: "$${THREE}"}') + "checks: {smoke: smoke.yml}\n"
    Path("smoke.yml").write_text('tests: [{name: t, url: /, headers: {X-Key: "${FOUR}"}}]')
    Path(".env").write_text('ONE=env file\nexport TWO=\'two # "\'\nTHREE="3\\n\\"\\$" # comment\nFOUR = 4 # comment\n# x\n\nFIVE=\n')
    loaded = load(text, environ={"ONE": "from who deploys", "PATH": "/bin", "HOME": "/home/x", "OTHER": "o"})
    held = config.secrets(loaded, {"PATH": "/bin", "HOME": "/home/x", "OTHER": "o"})
    assert held["values"] == {"ONE": "from who deploys", "TWO": 'two # "', "FOUR": "4"}
    assert held["base"] == {
        "PATH": "/bin",
        "HOME": "/home/x",
        "ONE": "env file",
        "TWO": 'two # "',
        "THREE": '3\n"$',
        "FOUR": "4",
        "FIVE": "",
    }
    plan = config.plan(loaded, "1", None)
    assert plan.platform["env"] == {"A": "x${ONE}${TWO}", "B": "$${THREE}"}
    for secret in ("from who deploys", "two #"):
        assert secret not in repr(loaded) + json.dumps(plan.to_json())


@pytest.mark.parametrize(
    ("env", "shell", "told"),
    [("", "other", True), ("", "", True), ("", "same", False), ("", None, False), (', env: {URL: "${URL}"}', "other", False)],
    ids=["another in the shell", "an empty one there", "the same there", "none there", "what the versions are given is the shell's too"],
)
def test_a_database_is_the_same_for_the_migrations_and_for_the_versions(tmp_path: Path, env: str, shell: str | None, told: bool) -> None:
    """What the shell of who deploys said was migrated, and the release promoted onto what env_file said, which was not."""
    (tmp_path / ".env").write_text("URL=same\n")
    (file := tmp_path / "bleen.yaml").write_text(SMALL.replace("[cat]", f"[cat], env_file: .env{env}") + 'database: {url: "${URL}"}\n')
    environ = {} if shell is None else {"URL": shell}
    if told:
        with pytest.raises(Faults, match=r"bleen\.yaml:\d+:\d+: URL has one value where bleen runs, and another in env_file, which the versions get"):
            config.load(file, environ)
    else:
        assert config.load(file, environ).values["URL"] == (shell or "same")


def test_faults_of_env_file_and_smoke_tests_are_told_in_the_same_go(faults: Callable[..., list[str]]) -> None:
    Path(".env").write_bytes(b"GOOD=1\nnot an assignment of a secret\nQUOTE='s3cret\nPORT=80\n\xff=1\n")
    Path("smoke.yml").write_text('tests: [{name: t, url: /, expct_status: 200, headers: {X: "${UNSET}"}}]')
    said = faults(SMALL.replace("[cat]", '[cat], env_file: .env, env: {A: "${UNSET}"}').replace("shop", "Shop") + "checks: {smoke: smoke.yml}\n")
    assert said[0] == ".env:5:1: byte 0xff is not UTF-8; save the file as UTF-8"
    assert said[1].startswith("bleen.yaml:1:10: service: `Shop` cannot name a service")
    assert said[2] == "bleen.yaml:2:63: ${UNSET} is not set; set the variable UNSET where bleen runs, or, for a release, in env_file"
    assert said[3] == "smoke.yml:1:27: `expct_status` is not a key of tests.0; did you mean `expect_status`?"
    Path(".env").write_text("GOOD=1\nnot an assignment of a secret\nQUOTE='s3cret\nPORT=80\n")
    assert faults(SMALL.replace("[cat]", "[cat], env_file: .env")) == [
        ".env:2:1: is not NAME=value; the name has letters, digits and underscores",
        ".env:3:7: the value of QUOTE begins with a quote that does not end at the end of the line",
        ".env:4:1: PORT is always set to the port that the copy was given; remove it here",
    ]


def test_the_router_needs_no_values(load: Callable[..., Config]) -> None:
    text = SMALL.replace("[cat]", '[cat], env_file: .env, env: {A: "${UNSET}"}')
    assert config.router(load(text, environ=None))["kind"] == "haproxy"


@pytest.mark.parametrize("version", ["1", "1.0", "v1.2.3-rc.1+build_7@sha", "a" * 128])
def test_a_version_is_data(version: str) -> None:
    assert config.check_version(version) == version


@pytest.mark.parametrize(
    "version", ["", "1.0; rm -rf /", "../../x", "a/b", "1..2", ".1", "-1", "a" * 129, "1\n", "1 0", "ü", "${X}", "{port}", "\x1b[2J", "\ud800"]
)
def test_what_could_be_a_path_or_a_command_is_no_version(load: Callable[..., Config], version: str) -> None:
    """A version such as `1.0; rm -rf /` or `../../x` is data: no shell, no path escape."""
    with pytest.raises(UserError, match="cannot be a version; use 1 to 128"):
        config.plan(load(SMALL), version, None)


def test_a_version_whose_directory_is_missing_is_refused_by_name(load: Callable[..., Config], tmp_path: Path) -> None:
    """A version's directory, image or program that is missing: exit 2 before anything is touched."""
    with pytest.raises(UserError) as refused:
        config.plan(example(load), "2.0", None)
    assert str(refused.value).startswith(f"version 2.0 is not there: {tmp_path}/releases/2.0 is no directory")
    assert "(bleen.yaml:5)" in str(refused.value)


@pytest.mark.parametrize(
    ("command", "settings", "where"),
    [
        ("no-such-program", "env: {PATH: 'bin/{version}:${MORE}'}", "'no-such-program' is no program that can be executed in PATH (bin/1.0:/more)"),
        ("bin/{version}/{environment}-{instance}", "", "'bin/1.0/blue-1' is no program that can be executed in "),
        ("./plain", "", "'./plain' is no program that can be executed in "),
    ],
)
def test_a_program_that_is_not_there_is_refused_with_where_it_was_looked_for(
    load: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, settings: str, where: str
) -> None:
    """ "A version's directory, image or program that is missing: exit 2 before anything is touched." """
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    Path("plain").touch(mode=0o644)
    loaded = load(SMALL.replace("[cat]", f"['{command}', '{{port}}']{', ' if settings else ''}{settings}"), {"MORE": "/more"})
    with pytest.raises(UserError) as refused:
        config.plan(loaded, "1.0", None)
    assert str(refused.value).startswith(f"version 1.0 cannot be started: {where}{'' if 'PATH' in where else tmp_path}; put it there, or correct `command`")
    assert str(refused.value).endswith("(bleen.yaml:2)")
    program = tmp_path / command.format(version="1.0", environment="blue", instance="1")
    if "PATH" in settings:
        program = tmp_path / "bin/1.0/no-such-program"
    if "/" in command or settings:
        program.parent.mkdir(parents=True, exist_ok=True)
        program.touch()
        program.chmod(0o755)
        plan = config.plan(loaded, "1.0", None)
        assert (plan.platform["command"][0], Path(config.program(loaded, plan))) == (command, program)


def test_a_program_that_is_named_by_its_port_is_looked_for_when_it_has_one(load: Callable[..., Config]) -> None:
    loaded = load(SMALL.replace("[cat]", "['./serve-{port}']"))
    assert config.plan(loaded, "1.0", None).platform["command"] == ["./serve-{port}"]


def test_all_that_the_host_lacks_is_located_and_told_in_one_go(load: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    low = processes.ephemeral()[0]
    text = SMALL.replace("[cat]", f"[no-such-program], user: nobody-of-that-name, ports: {low}-{low + 9}")
    loaded = load(text.replace('"127.0.0.1:8081"', '"127.0.0.1:8081", tls: {certificate: a.pem, key: a.key}'))
    with pytest.raises(Faults) as found:
        config.plan(loaded, "1", None)
    assert found.value.faults == sorted(config.lacking(loaded))
    said = "\n".join(map(str, found.value.faults))
    for part in (
        "bleen.yaml:2:32: `no-such-program` is no program that can be executed in PATH (/bin:/usr/bin); install it",
        "bleen.yaml:2:56: this host has no user `nobody-of-that-name`; create it",
        "bleen.yaml:2:84: two environments of 1 need 2 ports outside",
        "a.pem is no file; create it",
        "a.key is no file; create it",
    ):
        assert part in said
    assert len(found.value.faults) == 5
    Path("a.pem").touch()
    Path("a.key").touch()
    assert config.router(loaded)["tls"] == {"certificate": str(Path("a.pem").absolute()), "key": str(Path("a.key").absolute())}


def test_another_user_is_refused_to_whoever_is_not_root_before_anything_is_touched() -> None:
    with tempfile.TemporaryDirectory() as place:  # one that everybody may look into
        file = Path(place, "bleen.yaml")
        file.write_text(SMALL.replace("[cat]", "[cat], user: daemon"))

        def plan() -> None:
            if os.geteuid() == 0:
                os.chmod(place, 0o755)
                os.setuid(pwd.getpwnam("nobody").pw_uid)
            with pytest.raises(Faults, match=r"bleen.yaml:2:44: only root can run the service as `daemon`; run bleen as root or as daemon"):
                config.plan(config.load(file), "1", None)

        assert os.waitpid(fork(plan), 0)[1] == 0


@pytest.mark.parametrize(("shut", "said"), [("releases/1", "version 1 may not be entered by "), ("releases", "version 1 may not be looked for in ")])
def test_a_version_that_may_not_be_entered_is_told_before_anything_is_touched(shut: str, said: str) -> None:
    """What `plan` prints is what `deploy` runs: copied there with sudo, it failed only once the window had been given up for it."""
    with tempfile.TemporaryDirectory() as place:  # one that everybody may look into
        (file := Path(place, "bleen.yaml")).write_text(SMALL.replace("[cat]", '[cat], directory: "releases/{version}"'))
        Path(place, "releases/1").mkdir(parents=True)

        def plan() -> None:
            os.chmod(place, 0o755)
            Path(place, shut).chmod(0)
            if os.geteuid() == 0:
                os.setuid(pwd.getpwnam("nobody").pw_uid)
            with pytest.raises(UserError, match=rf"{said}.*`chmod a\+rx {place}/{shut}`"):
                config.plan(config.load(file), "1", None)

        assert os.waitpid(fork(plan), 0)[1] == 0
        Path(place, shut).chmod(0o755)


def test_the_plan_warns_of_what_a_person_would_want_to_know(load: Callable[..., Config]) -> None:
    loaded = example(load, EXAMPLE.replace("rollback_window: 15m", "rollback_window: 0s").replace("8080", "20005"))
    assert config.plan(loaded, "1.0", None).warnings[0].startswith("a first release has nothing to return to")
    was = {"command": ["old"], "env": {"VERSION": "{version}", "GONE": "1", "ENVIRONMENT": "x"}, "replicas": 2, "user": ""}
    warnings = "\n".join(config.plan(loaded, "1.0", Active(Environment("green", 3), "0.9", 2, was, False, "0.8")).warnings)
    for part in (
        "0.9 (green) is not healthy: once promoted, there is no rollback to it",
        "0.8 stops being reachable",
        "command changes from old to python3 app.py --port {port}",
        "env drops GONE; changes ENVIRONMENT",
        "rollback_window is 0s",
        "the router listens inside the ports that copies are given (20000-29999)",
    ):
        assert part in warnings
    assert "would run the same files" in "\n".join(config.plan(load(SMALL), "1", None).warnings)
    (warm, *_) = config.plan(loaded, "1.0", Active(Environment("green", 3), "0.9", 2, warm="1.0")).warnings
    assert warm == "1.0 is warm, and would be started anew: `bleen rollback` returns to it at once"


def test_an_env_file_that_others_can_read_is_warned_of(load: Callable[..., Config]) -> None:
    Path(".env").write_text("A=1\n")
    Path(".env").chmod(0o644)
    loaded = load(SMALL.replace("[cat]", "[cat], env_file: .env"))
    assert any("chmod 600 .env" in warning for warning in config.plan(loaded, "1", None).warnings)
    Path(".env").chmod(0o600)
    assert not any("chmod" in warning for warning in config.plan(loaded, "1", None).warnings)


def test_the_schema_is_one_and_takes_what_loads(tmp_path: Path) -> None:
    schema = config.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good = [EXAMPLE, EXAMPLE.replace("envoy:", "haproxy:"), config.template("envoy"), config.template("haproxy"), SMALL]
    for text in good:
        assert list(validator.iter_errors(tree(tmp_path, text))) == []
    bad = [
        EXAMPLE.replace("5s", "5"),
        EXAMPLE.replace("shop", "Shop"),
        EXAMPLE.replace("bake:", "bkae:"),
        EXAMPLE.replace("auto", "atuo"),
        EXAMPLE.replace("replicas: 2", "replicas: 200"),
        EXAMPLE.replace('[python3, app.py, --port, "{port}"]', "python3"),
        SMALL.replace("router: {", 'router: {envoy: {listen: "127.0.0.1:1", preview: "127.0.0.1:2"}, '),
        SMALL.replace("service: shop\n", ""),
        f"{SMALL}checks: {{smoke: }}\n",
    ]
    for text in bad:
        assert list(validator.iter_errors(tree(tmp_path, text)))
    for name, model in {"File": schema, **schema["$defs"]}.items():
        for key, field in model["properties"].items():
            if "default" in field:  # which an editor writes
                assert list(validator.evolve(schema={**field, "$defs": schema["$defs"]}).iter_errors(field["default"])) == [], f"{name}.{key}"


def test_the_schema_describes_every_key() -> None:
    schema = config.schema()
    for name, model in {"File": schema, **schema["$defs"]}.items():
        for key, entry in model["properties"].items():
            assert entry.get("description") or "$ref" in entry, f"{name}.{key}"


def tree(tmp_path: Path, text: str) -> Any:
    (tmp_path / "any.yaml").write_text(text)
    return typed(read(tmp_path / "any.yaml", "").tree)


def test_only_verbs_that_make_a_plan_pay_for_pydantic() -> None:
    code = "import sys, bleen.plan, bleen.ports, bleen.wiring; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}).stdout.split()
    assert not {"pydantic", "ruamel.yaml", "bleen.config"} & set(loaded)


@pytest.mark.parametrize("key", ["url", "clone"])
def test_a_file_of_sqlite_that_is_another_wherever_one_stands_is_a_located_fault(tmp_path: Path, key: str) -> None:
    """What `plan` prints is what `deploy` runs: it read the file beside bleen.yaml, and the release looked for another."""
    urls = {"url": "sqlite:////srv/shop.db", key: "${URL}"}
    (file := tmp_path / "bleen.yaml").write_text(config.template("envoy", "shop") + f"database: {json.dumps(urls)}\n")
    line = file.read_text().count("\n")
    with pytest.raises(Faults, match=rf"bleen\.yaml:{line}:\d+: data/shop\.db is looked for where bleen runs.*write sqlite:///{tmp_path}/data/shop\.db"):
        config.database(config.load(file, {"URL": "sqlite:///data/shop.db"}), "1.0")
    found = config.database(config.load(file, {"URL": "sqlite:////data/shop.db"}), "1.0")
    assert found is not None
