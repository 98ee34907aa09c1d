"""Starts facet serve with the demonstration model for the tests of this folder."""

import atexit
import json
import os
import re
import subprocess
import time
import urllib.request

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Server:
    def __init__(self, *options):
        self.process = subprocess.Popen(
            [os.environ["FACET"], "serve", "--port", "0", *options], stderr=subprocess.PIPE, text=True
        )
        atexit.register(self.process.kill)
        self.before = ""  # what it said first
        for line in self.process.stderr:
            self.before += line
            found = re.search(r"served at (http\S+)", line)
            if found:
                self.url = found[1]
                return
        raise RuntimeError("the server did not start")

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data)) as answer:
            return json.load(answer)

    def metric(self, name):
        with urllib.request.urlopen(self.url + "/metrics") as answer:
            return float(re.search(rf"^{name} (\S+)$", answer.read().decode(), re.M)[1])

    def wait_idle(self):
        end = time.monotonic() + 30
        while self.metric("facet_requests_running") or self.metric("facet_requests_waiting"):
            assert time.monotonic() < end, "a request does not end"
            time.sleep(0.05)

    def resident(self):
        with open(f"/proc/{self.process.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def stop(self):
        self.process.terminate()
        _, rest = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, rest
        assert "Sanitizer" not in rest, rest
