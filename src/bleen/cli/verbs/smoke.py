"""Run a file of smoke tests by itself, against any address.

Relative URLs are resolved against --base. Exit 1 if a test fails or could not be run.
"""

import json
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from bleen import config
from bleen.cli import exits, show
from bleen.config.smoke import used
from bleen.model import Result
from bleen.providers.checks import smoke_runner


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("tests", metavar="FILE", help="the smoke tests, such as smoke-tests.yml")
    parser.add_argument("--url", default="", metavar="BASE", help="what relative URLs are resolved against, such as http://127.0.0.1:8081")


def run(args: Namespace) -> int:
    tests = config.load_tests(Path(args.tests), None, os.environ.__contains__)
