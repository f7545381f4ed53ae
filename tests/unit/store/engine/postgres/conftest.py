"""Collect these tests where psycopg is. CI must have it, and fails otherwise."""

import os

from tests.support import postgres

if not (postgres.has_driver() or os.environ.get("CI")):
    collect_ignore_glob = ["test_*.py"]
