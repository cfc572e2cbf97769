"""Run a file of smoke tests by itself, against any address.

Relative URLs are resolved against --url. Exit 1 if a test fails or could not be run.
"""

import json
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from bleen import config, wiring
from bleen.cli import exits, show
from bleen.config.smoke import GIVEN, used
from bleen.errors import UserError
from bleen.model import Result


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("tests", metavar="TESTS", help="the smoke tests, such as smoke-tests.yml")
    parser.add_argument("--url", default="", metavar="BASE", help="what relative URLs are resolved against, such as http://127.0.0.1:8081")
    parser.add_argument("--version", metavar="VERSION", help="what ${VERSION} stands for in the tests: the version that is there")
    parser.add_argument("--environment", metavar="NAME", help="what ${ENVIRONMENT} stands for in the tests: blue or green")


def run(args: Namespace) -> int:
    given = {name: value for name, value in zip(GIVEN, (args.version, args.environment), strict=True) if value is not None}
    values = {name: value for name, value in os.environ.items() if name not in GIVEN}
    tests = config.load_tests(Path(args.tests), None, {*values, *given}.__contains__)
    if tests.source.faults:
        raise config.Faults(tests.source.faults)
    if not args.url and any(test["url"].startswith("/") for test in tests.rows):
        raise UserError("some tests have a relative url: say with --url what they are resolved against")
    if args.url and not args.url.startswith(("http://", "https://")):
        raise UserError(f"--url {args.url} is no address of a service; it begins with http:// or https://")
    named = {name: values[name] for _, name in used(list(tests.rows)) if name in values}
    verdict = wiring.smoke(tests.rows, args.url, named, given)
    if args.json:
        print(json.dumps({"ok": verdict.result is Result.PASS, "result": verdict.result.value, "text": verdict.why, "tests": list(verdict.evidence)}))
    else:
        for evidence in verdict.evidence:
            print(f"{evidence['result']:12}  {evidence['test']}")
        print("\n".join(show.evidence_lines(verdict.evidence)) or "all passed")
    return exits.DONE if verdict.result is Result.PASS else exits.SAID_NO
