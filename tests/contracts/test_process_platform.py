"""The process platform keeps the contract."""

import os
import random
import sys

from bleen.ports import Platform
from bleen.providers.platforms.process import ProcessPlatform
from bleen.testing.platforms import PROBE, STOP, VERSIONS, Ground, ProcessContract

LOW = random.randrange(30000, 32300)
"""Of this run's own ports: another run on this host has others."""


class TestProcessPlatform(ProcessContract):
    def build(self, ground: Ground, version: str) -> Platform:
        application = [sys.executable, "-m", "bleen.testing.application"]
        settings = {
            "kind": "process",
            "command": [*application, "--port", "{port}", "--name", "{environment}", "--version", "{version}", *VERSIONS.get(version, ())],
            "directory": str(ground.directory(version)),
            "env": {"PATH": os.environ["PATH"]},
            "secrets": "",
            "replicas": 2,
            "stop": {"signal": "TERM", "timeout": STOP},
            "user": "",
            "ports": [LOW, LOW + 400],
            "log_bytes": 1 << 20,
        }
        return ProcessPlatform(ground.place, ground.fence, ground.reserve, ground.root / "ports.lock", settings, PROBE)
