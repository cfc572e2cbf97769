"""bleen.yaml: reading it with every fault located, and making a plan out of it. Only commands that make a plan load this package (pydantic, ruamel.yaml)."""

from bleen.config.load import Config, load
from bleen.config.planning import Active, Database, check_version, database, lacking, listener, plan, program, router, secrets
from bleen.config.schema import json_schema as schema
from bleen.config.smoke import Tests
from bleen.config.smoke import load as load_tests
from bleen.config.source import Fault, Faults
from bleen.config.template import template

__all__ = [
    "Active",
    "Config",
    "Database",
    "Fault",
    "Faults",
    "Tests",
    "check_version",
    "database",
    "lacking",
    "listener",
    "load",
    "load_tests",
    "plan",
    "program",
    "router",
    "schema",
    "secrets",
    "template",
]
