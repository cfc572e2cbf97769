"""Print a completion script for bash, zsh or fish.

bash: bleen completion bash > /etc/bash_completion.d/bleen
zsh:  bleen completion zsh > "${fpath[1]}/_bleen"
fish: bleen completion fish > ~/.config/fish/completions/bleen.fish
"""

import importlib
import json
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

import shtab

from bleen.cli import VERBS, exits
from bleen.cli import arguments as common

SHELLS = ("bash", "zsh", "fish")
FILES = ("file", "files", "tests")
"""The arguments, of whichever verb, that are paths."""


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS)


def run(args: Namespace) -> int:
    script = shtab.complete(whole(), args.shell)
    print(json.dumps({"shell": args.shell, "script": script}) if args.json else script)
    return exits.DONE


def whole() -> ArgumentParser:
    """All verbs in one parser: only completions need it."""
    parser = ArgumentParser(prog="bleen")
    _add(parser, "", VERBS)
    return parser


def _add(parser: ArgumentParser, above: str, verbs: Mapping[str, str]) -> None:
    below = parser.add_subparsers()
    for verb, summary in verbs.items():
        module = importlib.import_module(f"bleen.cli.verbs.{above}{verb}")
        if hasattr(module, "SUBVERBS"):
            _add(below.add_parser(verb, help=summary), f"{above}{verb}.", module.SUBVERBS)
            continue
        alone = common.parser(verb, module)
        for action in alone._actions:
            if action.dest in FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        below.add_parser(verb, help=summary, parents=[alone], add_help=False)
