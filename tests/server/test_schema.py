"""Requests made from docs/openapi.yaml by schemathesis: whatever fits or breaks the schema, answers are those that it
promises, and never the server's fault. Where the package is not there the test is skipped; FACET_LOAD_SECONDS beyond 100
(the long tier) makes it thorough."""

import importlib.util
import os
import subprocess
import sys
import unittest

from support import Server

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
LONG = float(os.environ.get("FACET_LOAD_SECONDS", "30")) > 100


@unittest.skipUnless(importlib.util.find_spec("schemathesis"), "the Python package schemathesis is not there")
class Schema(unittest.TestCase):
    def test_schema(self):
        server = Server("-n", "8", "-c", "512")
        self.addCleanup(server.stop)
        run = subprocess.run(
            [sys.executable, "-c", "import sys; from schemathesis.cli import schemathesis; schemathesis()", "run",
             os.path.join(ROOT, "docs/openapi.yaml"), "--url", server.url, "--request-timeout", "300", "--max-examples",
             "50" if LONG else "5", "--phases", "coverage,fuzzing" if LONG else "fuzzing", "--checks",
             "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=os.environ.get("TMPDIR", "/tmp"),
        )
        self.assertEqual(run.returncode, 0, run.stdout[-6000:] + run.stderr[-2000:])
        self.assertEqual(server.ask("/health")["status"], "ok")


if __name__ == "__main__":
    unittest.main()
