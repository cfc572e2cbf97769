"""The smoke tests themselves, against a real server on loopback."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bleen.config import load_tests
from bleen.model import Result, Verdict
from bleen.providers.checks.smoke_runner import run

CANARY = "canary-6f1e/+&x"
NOBODY = """
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgUvD1nef5yPb3jAo0
rpd7HTJSDGz+JPzPuUDXpZgWnuChRANCAATeWnf/eokihCNyAbFPDBiNtlxrcYwx
ThTNK/C4D4ZF5ZGwyn+Byd8LE0yAfB8Fc6SvzkY6kzfHEM60LvcLG/4W
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBijCCAS+gAwIBAgIUcqITpw1mcV68rYioWLkQ19pyJC0wCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwObm9ib2R5LmludmFsaWQwIBcNMjYxMTIzMDIwMjA2WhgPMjEy
NjEwMzAwMjAyMDZaMBkxFzAVBgNVBAMMDm5vYm9keS5pbnZhbGlkMFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAE3lp3/3qJIoQjcgGxTwwYjbZca3GMMU4UzSvwuA+G
ReWRsMp/gcnfCxNMgHwfBXOkr85GOpM3xxDOtC73Cxv+FqNTMFEwHQYDVR0OBBYE
FEMcBupuq7ac4kTB7DtN2aZHP+XdMB8GA1UdIwQYMBaAFEMcBupuq7ac4kTB7DtN
2aZHP+XdMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhANKm1C0y
7TBxm8I6AJGchw0v1g4mP92wACWIbztAR56uAiEAwPVO8hKJcI6s1k9izytHMlIi
TkEwRpd1/OVXgtMCIrE=
-----END CERTIFICATE-----
"""
"""A certificate of nobody.invalid, signed by itself, and its key: of use to no one."""
Route = Callable[[BaseHTTPRequestHandler, bytes], tuple[int, list[tuple[str, str]], bytes]]


class Site:
    """A server whose routes are functions; ``seen`` counts the requests to each path."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self.seen: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                site.seen.append(self.path)
                route = site.routes.get(self.path.partition("?")[0])
                status, headers, text = route(self, body) if route else (404, [], b"nothing here")
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                if not any(name == "Content-Length" for name, _ in headers):
                    self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text)

            do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = answer

            def handle(self) -> None:
                with suppress(ConnectionError):  # a client that has given up
                    super().handle()

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def says(self, path: str, body: object = b"ok", status: int = 200, headers: list[tuple[str, str]] | None = None) -> None:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.routes[path] = lambda _, __: (status, headers or [], text)


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    thread = threading.Thread(target=site.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        site.server.server_close()
        thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as made:
        yield made


@pytest.fixture
def tests(tmp_path: Path) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        path = tmp_path / "smoke-tests.yml"
        path.write_text(text)
        found = load_tests(path, None, None)
        assert not found.source.faults, "\n".join(map(str, found.source.faults))
        return json.loads(json.dumps(found.rows))  # as a plan carries them

    return read


def one(verdict: Verdict) -> dict[str, Any]:
    assert len(verdict.evidence) == 1
    return dict(verdict.evidence[0])


def test_the_articles_file_passes_against_a_service_that_is_well(site: Site, tests: Callable[[str], Any]) -> None:
    """The article's file to the letter."""
    site.says("/health")
    site.says("/api/v1/status", b"all ok here")
    site.says("/api/v1/db-check")
    site.routes["/api/v1/auth/test"] = lambda request, _: (200 if request.command == "POST" else 405, [], b"")
    rows = tests(f"""# smoke-tests.yml
tests:
- name: Health check
  url: {site.url}/health
  expect_status: 200
- name: API response
  url: {site.url}/api/v1/status
  expect_status: 200
  expect_body_contains: "ok"
- name: Database connectivity
  url: {site.url}/api/v1/db-check
  expect_status: 200
  max_response_time_ms: 5000
- name: Auth flow
  url: {site.url}/api/v1/auth/test
  method: POST
  expect_status: 200
""")
    verdict = run(rows, "http://127.0.0.1:9", {})
    assert verdict.result is Result.PASS, verdict
    assert verdict.why == "4 of 4 passed"


def test_a_failure_shows_the_request_the_answer_and_the_expectation(site: Site, tests: Callable[[str], Any]) -> None:
    """The report shows the request, the answer and the expectation."""
    site.says("/status", b"broken " + b"x" * 2000, 500, [("X-Why", "tables")])
    verdict = run(tests("tests: [{name: API, url: /status, expect_status: 200, expect_body_contains: fine}]"), site.url, {})
    row = one(verdict)
    assert verdict.result is Result.FAIL
    assert row["request"] == {"method": "GET", "url": f"{site.url}/status", "headers": []}
    assert row["answer"]["status"] == 500
    assert ["X-Why", "tables"] in row["answer"]["headers"]
    assert row["answer"]["body"].startswith("broken xxx")
    assert len(row["answer"]["body"]) == 503
    assert row["answer"]["bytes"] == 2007
    assert row["expected"] == {"status": [200], "body_contains": ["fine"]}
    assert verdict.why == '0 of 1 passed; API: the status was 500, not 200; the body does not contain "fine"'


@pytest.mark.parametrize(
    ("expectation", "said"),
    [
        ("expect_status: [201, 204]", "the status was 200, not 201 or 204"),
        ("expect_body_contains: [items, absent]", 'does not contain "absent"'),
        ("expect_json: {path: 'items[0].id', value: 8}", "items[0].id was 7, not 8"),
        ("expect_json: {path: 'items[0].id', value: '7'}", 'items[0].id was 7, not "7"'),
        ("expect_json: {path: on, value: 1}", "on was true, not 1"),
        ("expect_json: {path: 'items[1].id', value: 8}", "items[1].id is not in the answer; expected 8"),
        ("expect_json: [{path: on, value: true}, {path: $, value: {}}]", "$ was {"),
        ("expect_header: {content-type: text/plain}", 'the header content-type was "application/json", not "text/plain"'),
        ("expect_header: {X-Not: there}", 'there was no header X-Not; expected "there"'),
        ("capture: {token: {json: token}}", "token could not be captured"),
        ("capture: {token: {json: nothing}}", "token could not be captured"),
    ],
)
def test_each_expectation_that_is_not_met_fails_and_says_so(site: Site, tests: Callable[[str], Any], expectation: str, said: str) -> None:
    site.says("/", {"items": [{"id": 7}], "on": True, "nothing": None}, headers=[("Content-Type", "application/json")])
    verdict = run(tests(f"tests:\n- name: t\n  url: /\n  {expectation}\n"), site.url, {})
    assert verdict.result is Result.FAIL
    assert said in verdict.why


def test_each_expectation_that_is_met_passes(site: Site, tests: Callable[[str], Any]) -> None:
    site.says("/", {"items": [{"id": 7.0}], "a.b": {"on": True}, "list": [1, "x", None]}, 202, [("X-A", "1"), ("X-A", "2")])
    rows = tests("""
tests:
- name: t
  url: /
  expect_status: 202
  expect_body_contains: ["items", "on"]
  expect_header: {x-a: "2"}
  expect_json:
  - {path: "items[0].id", value: 7}
  - {path: '["a.b"].on', value: true}
  - {path: list, value: [1, x, null]}
""")
    verdict = run(rows, site.url, {})
    assert verdict.result is Result.PASS, verdict


def test_a_captured_value_is_used_by_later_tests_with_its_type(site: Site, tests: Callable[[str], Any]) -> None:
    bodies: list[Any] = []
    site.routes["/login"] = lambda _, __: (200, [("Set-Cookie", "sid=abc123; Path=/; HttpOnly"), ("X-Next", "/cart")], b'{"user": {"id": 7}}')

    def cart(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        bodies.append((request.headers["Cookie"], request.headers["Content-Type"], json.loads(body)))
        return 201, [], body

    site.routes["/cart/7"] = cart
    rows = tests("""
tests:
- name: login
  url: /login
  method: POST
  capture: {id: {json: user.id}, session: {cookie: sid}, next: {header: x-next}}
- name: cart
  url: "${capture.next}/${capture.id}"
  method: POST
  headers: {Cookie: "sid=${capture.session}"}
  json: {id: "${capture.id}", text: "no ${capture.id}", literal: "$${capture.id}"}
  expect_json: {path: id, value: "${capture.id}"}
""")
    verdict = run(rows, site.url, {})
    assert verdict.result is Result.PASS, verdict
    assert bodies == [("sid=abc123", "application/json", {"id": 7, "text": "no 7", "literal": "${capture.id}"})]


def test_what_depends_on_a_failed_capture_is_inconclusive_and_the_whole_fails(site: Site, tests: Callable[[str], Any]) -> None:
    site.says("/login", {"error": "no"})
    site.says("/last")
    rows = tests("""
tests:
- {name: login, url: /login, capture: {token: {json: token}}}
- name: cart
  url: /cart
  headers: {Authorization: "Bearer ${capture.token}"}
- {name: last, url: /last}
""")
    verdict = run(rows, site.url, {})
    assert [row["result"] for row in verdict.evidence] == ["fail", "inconclusive", "pass"]
    assert verdict.result is Result.FAIL
    assert "${capture.token}" in verdict.evidence[1]["why"]
    assert site.seen == ["/login", "/last"]


def test_a_test_that_could_not_run_is_not_a_pass(tests: Callable[[str], Any]) -> None:
    """A check that could not run, an empty list of targets, a metric with no data: not a pass."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    refused = run(tests("tests: [{name: t, url: /}]"), f"http://127.0.0.1:{port}", {})
    assert refused.result is Result.INCONCLUSIVE
    assert "cannot be connected to" in refused.why
    unset = run(tests('tests: [{name: t, url: /, headers: {X-Key: "${NOT_SET}"}}]'), f"http://127.0.0.1:{port}", {})
    assert unset.result is Result.INCONCLUSIVE
    assert "${NOT_SET} has no value" in unset.why
    broken = run(tests('tests: [{name: t, url: /, headers: {X-Key: "${KEY}"}}]'), f"http://127.0.0.1:{port}", {"KEY": "a\r\nX-Evil: 1"})
    assert broken.result is Result.INCONCLUSIVE
    assert "line break" in broken.why
    assert run([], f"http://127.0.0.1:{port}", {}).result is Result.INCONCLUSIVE


def test_no_secret_is_in_what_is_returned(site: Site, tests: Callable[[str], Any]) -> None:
    """Reports redact Authorization, Cookie, Set-Cookie and captured values."""

    def echo(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        text = f"{request.path} {dict(request.headers)} {body.decode()} captured-later-991 literal-77 login-cookie-55"
        return 500, [("Set-Cookie", "sid=login-cookie-55; Path=/"), ("X-Echo", CANARY), ("Location", "/?t=captured-later-991")], text.encode()

    site.routes["/echo"] = echo
    site.says("/token", {"token": "captured-later-991"})
    rows = tests("""
tests:
- name: echoed
  url: "/echo?q=${KEY}"
  method: POST
  headers: {X-Api-Key: "${KEY}", Authorization: Bearer literal-77, Cookie: "a=${KEY}; b=cookie-literal-88"}
  json: {key: "${KEY}"}
  expect_body_contains: "${KEY} and more"
  expect_json: {path: $, value: "is ${KEY}"}
  expect_header: {X-Echo: "not ${KEY}"}
- {name: token, url: /token, capture: {token: {json: token}}}
- name: fails
  url: "/echo?token=${capture.token}"
  headers: {X-Token: "${capture.token}"}
  expect_header: {X-Echo: "${capture.token}"}
""")
    verdict = run(rows, site.url, {"KEY": CANARY, "UNUSED": "unused-secret-3"})
    said = repr(verdict) + json.dumps(verdict._replace(result=None))  # type: ignore[arg-type]
    assert verdict.result is Result.FAIL
    assert len(verdict.evidence) == 3
    for secret in (CANARY, "canary-6f1e", "captured-later-991", "literal-77", "cookie-literal-88", "login-cookie-55"):
        assert secret not in said
    assert "[redacted]" in said
    assert verdict.evidence[0]["expected"]["header"] == {"X-Echo": "not ${KEY}"}


def test_a_secret_on_the_edge_of_what_is_shown_is_not_shown_in_part(site: Site, tests: Callable[[str], Any]) -> None:
    secret = "s3cr3t-" * 30
    for before in (b"x" * 400, b"x" * ((64 << 10) - 20), secret.encode() * 311 + b"yy"):
        site.says("/", before + secret.encode() + b"z" * 70_000, 500)
        verdict = run(tests('tests: [{name: t, url: /, headers: {X-Key: "${KEY}"}, expect_json: {path: $, value: "a${KEY}"}}]'), site.url, {"KEY": secret})
        assert "s3cr3t" not in repr(verdict)


def test_an_answer_that_never_ends_is_given_up_and_fails(site: Site, tests: Callable[[str], Any]) -> None:
    release = threading.Event()

    def drip(request: BaseHTTPRequestHandler, _: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not release.wait(0.02):
            request.wfile.write(b"X-Drip: 1\r\n")
        return 200, [], b""

    site.routes["/"] = drip
    try:
        verdict = run(tests("tests: [{name: t, url: /, timeout: 200ms}]"), site.url, {})
    finally:
        release.set()
    assert verdict.result is Result.FAIL
    assert "no whole answer within 0.2 s" in verdict.why


def test_an_answer_that_is_cut_fails(site: Site, tests: Callable[[str], Any]) -> None:
    site.says("/", b"half", headers=[("Content-Length", "100"), ("Connection", "close")])
    verdict = run(tests("tests: [{name: t, url: /}]"), site.url, {})
    assert verdict.result is Result.FAIL
    assert "the connection broke before a whole answer" in verdict.why


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 70_000 + b"\r\n\r\n",
    ],
)
def test_no_part_of_an_answer_passes_for_one(tests: Callable[[str], Any], text: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(text)

        thread = threading.Thread(target=answer)
        thread.start()
        verdict = run(tests("tests: [{name: t, url: /}]"), f"http://127.0.0.1:{server.getsockname()[1]}", {})
        thread.join()
    assert verdict.result is Result.FAIL
    assert "the connection broke" in verdict.why


def test_an_answer_that_is_too_large_is_read_in_part_and_said_to_be(site: Site, tests: Callable[[str], Any]) -> None:
    site.says("/", b"x" * (5 << 20))
    verdict = run(tests("tests: [{name: t, url: /, expect_body_contains: y}]"), site.url, {})
    assert verdict.result is Result.FAIL
    assert "in its first 4 MiB" in verdict.why
    assert one(verdict)["answer"]["bytes"] == 4 << 20


def test_a_redirect_is_an_answer_and_not_followed(site: Site, tests: Callable[[str], Any]) -> None:
    site.says("/old", b"", 302, [("Location", "/new")])
    site.says("/new")
    assert run(tests("tests: [{name: t, url: /old}]"), site.url, {}).result is Result.FAIL
    assert run(tests("tests: [{name: t, url: /old, expect_status: 302, expect_header: {Location: /new}}]"), site.url, {}).result is Result.PASS
    assert site.seen == ["/old", "/old"]


def test_a_test_is_tried_again_as_often_as_it_asks_for(site: Site, tests: Callable[[str], Any]) -> None:
    site.routes["/"] = lambda _, __: (200 if len(site.seen) == 3 else 503, [], b"")
    verdict = run(tests("tests: [{name: t, url: /, retries: 2}]"), site.url, {})
    assert verdict.result is Result.PASS
    assert one(verdict)["attempts"] == 3
    site.seen.clear()
    assert run(tests("tests: [{name: t, url: /, retries: 1}]"), site.url, {}).result is Result.FAIL
    assert len(site.seen) == 2


def test_a_slow_answer_fails_the_response_time(site: Site, tests: Callable[[str], Any]) -> None:
    def slow(_: BaseHTTPRequestHandler, __: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        time.sleep(0.05)  # what is measured
        return 200, [], b"ok"

    site.routes["/"] = slow
    verdict = run(tests("tests: [{name: t, url: /, max_response_time_ms: 20}]"), site.url, {})
    assert verdict.result is Result.FAIL
    assert "more than 20 ms" in verdict.why


def test_a_connection_that_leads_to_production_sends_nothing(site: Site, tests: Callable[[str], Any]) -> None:
    """An absolute smoke URL that is the production listener is an error."""
    port = site.server.server_address[1]
    for name, listener in (("localhost", f"127.0.0.1:{port}"), ("127.0.0.1", f"0.0.0.0:{port}")):
        verdict = run(tests(f"tests: [{{name: t, url: 'http://{name}:{port}/'}}]"), "http://127.0.0.1:9", {}, listener)
        assert verdict.result is Result.INCONCLUSIVE
        assert "where users are served" in verdict.why
    assert site.seen == []
    site.says("/")
    assert run(tests("tests: [{name: t, url: /}]"), site.url, {}, "127.0.0.1:1").result is Result.PASS


def test_a_certificate_is_verified_unless_told_otherwise(tests: Callable[[str], Any], tmp_path: Path) -> None:
    pem = tmp_path / "nobody.pem"
    pem.write_text(NOBODY)
    site = Site()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    site.server.socket = context.wrap_socket(site.server.socket, server_side=True)
    site.says("/")
    with serving(site):
        url = site.url.replace("http:", "https:")
        refused = run(tests("tests: [{name: t, url: /}]"), url, {})
        assert refused.result is Result.INCONCLUSIVE
        assert "CERTIFICATE_VERIFY_FAILED" in refused.why
        assert run(tests("tests: [{name: t, url: /, verify_tls: false}]"), url, {}).result is Result.PASS


def test_a_body_that_lies_about_its_encoding_is_read_all_the_same(site: Site, tests: Callable[[str], Any]) -> None:
    for charset in ("nonsense", "hex", "idna", "utf-7", "undefined"):
        site.says("/", b"all is fine \xff", headers=[("Content-Type", f"text/plain; charset={charset}")])
        assert run(tests("tests: [{name: t, url: /, expect_body_contains: fine}]"), site.url, {}).result is Result.PASS


def test_nothing_in_a_report_drives_a_terminal(site: Site, tests: Callable[[str], Any]) -> None:
    site.says("/", b"\x1b[2Jgone", 500)
    verdict = run(tests("tests: [{name: t, url: /}]"), site.url, {})
    assert "\x1b" not in one(verdict)["answer"]["body"]
    assert "gone" in one(verdict)["answer"]["body"]
