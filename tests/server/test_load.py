"""Many clients at once, streaming, some of whom leave: no wrong answer, nothing lost, memory flat.

FACET_LOAD_SECONDS (30) says how long."""

import http.client
import json
import os
import random
import threading
import time
import unittest
from urllib.parse import urlparse

from support import Server

SECONDS = float(os.environ.get("FACET_LOAD_SECONDS", "30"))
COUNTRIES = ["Italy", "France", "Spain", "Norway", "Japan", "Egypt"]


def body(country, stream):
    ask = [{"role": "user", "content": f"What is the capital of {country}?"}]
    return json.dumps({"messages": ask, "temperature": 0, "stream": stream, "max_tokens": 40})


class Load(unittest.TestCase):
    def setUp(self):
        self.server = Server("--parallel", "8", "--queue", "64")
        self.address = urlparse(self.server.url)
        self.truth = {c: self.whole(c) for c in COUNTRIES}
        self.failures, self.answers, self.left = [], 0, 0
        self.lock = threading.Lock()

    def post(self, country, stream):
        connection = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=60)
        connection.request("POST", "/v1/chat/completions", body(country, stream))
        return connection, connection.getresponse()

    def whole(self, country):
        connection, answer = self.post(country, False)
        text = json.load(answer)["choices"][0]["message"]["content"]
        connection.close()
        return text

    def streamed(self, country, leaves):
        connection, answer = self.post(country, True)
        text = ""
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            for choice in json.loads(line[6:])["choices"]:
                text += choice["delta"].get("content") or ""
            if leaves and random.random() < 0.3:
                connection.close()
                answer.close()
                return None
        connection.close()
        return text

    def client(self, end):
        while time.monotonic() < end:
            country, leaves = random.choice(COUNTRIES), random.random() < 0.3
            try:
                text = self.streamed(country, leaves) if random.random() < 0.7 else self.whole(country)
            except Exception as e:  # noqa: BLE001
                text = f"failed: {e}"
            with self.lock:
                if text is None:
                    self.left += 1
                elif text == self.truth[country]:
                    self.answers += 1
                else:
                    self.failures.append((country, text))

    def test_load(self):
        self.run_clients(min(5, SECONDS / 3))
        before = self.server.resident()
        self.run_clients(SECONDS)
        self.server.wait_idle()
        self.assertEqual(self.failures, [])
        self.assertGreater(self.answers, 10)
        self.assertLess(self.server.resident(), before + (32 << 20))
        self.server.stop()

    def run_clients(self, seconds):
        threads = [threading.Thread(target=self.client, args=(time.monotonic() + seconds,)) for _ in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()


if __name__ == "__main__":
    unittest.main()
