"""Print the JSON Schema of bleen.yaml, so that editors complete and check it.

For editors with a YAML language server, write it beside bleen.yaml and put this on the first line:
  # yaml-language-server: $schema=bleen.schema.json
"""

import json
from argparse import Namespace

from bleen import config
from bleen.cli import exits


def run(args: Namespace) -> int:
    print(json.dumps(config.schema(), indent=2))
    return exits.DONE
