"""Running the server for others: TLS, secret files, clients that are slow or leave, stopping, small contexts, a proxy.
Needs Python alone; the programs openssl and haproxy where they are there."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest
from urllib.parse import urlparse

from support import Server

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
STORY = {"messages": [{"role": "user", "content": "Tell me a story."}], "ignore_eos": True, "stream": True}
SUM = {"messages": [{"role": "user", "content": "What is 3 + 4?"}], "temperature": 0}


def address(server):
    url = urlparse(server.url)
    return url.hostname, url.port


def post(server, body, path="/v1/chat/completions", headers=()):
    connection = http.client.HTTPConnection(*address(server), timeout=60)
    connection.request("POST", path, json.dumps(body), dict(headers))
    return connection, connection.getresponse()


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def write(self, name, text, mode=0o600):
        with open(self.path(name), "w") as f:
            f.write(text)
        os.chmod(self.path(name), mode)
        return self.path(name)


@unittest.skipUnless(shutil.which("openssl"), "openssl is not there")
class TLS(Folder):
    def certificate(self, name):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
             "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout",
             self.path(name + ".key"), "-out", self.path(name + ".crt")],
            check=True, capture_output=True,
        )
        return ["--tls-cert", self.path(name + ".crt"), "--tls-key", self.path(name + ".key")]

    def test_https(self):
        server = Server(*self.certificate("a"))
        self.addCleanup(server.stop)
        self.assertTrue(server.url.startswith("https://"))
        context = ssl.create_default_context(cafile=self.path("a.crt"))
        host, port = address(server)
        connection = http.client.HTTPSConnection(host, port, context=context, timeout=60)
        connection.request("POST", "/v1/chat/completions", json.dumps({**SUM, "stream": True}))
        answer = connection.getresponse().read().decode()
        self.assertIn('"content":"7"', answer.replace('" 7"', '"7"'))
        self.assertTrue(answer.rstrip().endswith("[DONE]"))
        connection.close()
        with self.assertRaises(ssl.SSLError):  # nobody else's certificate is believed
            ssl.create_default_context().wrap_socket(socket.create_connection((host, port)), server_hostname=host)
        with self.assertRaises((ConnectionError, http.client.HTTPException, TimeoutError)):  # no plain HTTP beside it
            plain = http.client.HTTPConnection(host, port, timeout=3)
            plain.request("GET", "/health")
            plain.getresponse()
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises((ssl.SSLError, OSError)):
            old.wrap_socket(socket.create_connection((host, port)), server_hostname=host)

    def test_wrong_files(self):
        a, b = self.certificate("a"), self.certificate("b")
        for options, words in (
            ([*a[:3], b[3]], "certificate and its key"),
            ([*a[:3], self.path("none")], "cannot read"),
            (["--tls-cert", self.write("x.crt", "nothing"), *a[2:]], "certificate and its key"),
        ):
            run = subprocess.run([os.environ["FACET"], "serve", "--port", "0", *options], capture_output=True, text=True,
                                 timeout=60)
            self.assertEqual(run.returncode, 1)
            self.assertIn(words, run.stderr)

    def test_key_that_others_can_read(self):
        options = self.certificate("a")
        os.chmod(options[3], 0o644)
        server = Server(*options)
        self.assertIn("can be read by others (mode 644)", server.before)
        server.stop()


class Secrets(Folder):
    def test_permissions(self):
        for mode, warned in ((0o600, False), (0o400, False), (0o640, True), (0o604, True)):
            server = Server("--api-key-file", self.write("keys", "# mine\nsecret\n\nother\n", mode))
            self.assertEqual("can be read by others" in server.before, warned)
            server.stop()
            os.remove(self.path("keys"))

    def test_no_keys(self):
        for name, words in ((self.write("keys", "# none\n"), "holds no API key"), (self.path("x"), "cannot read")):
            run = subprocess.run([os.environ["FACET"], "serve", "--port", "0", "--api-key-file", name], timeout=60,
                                 capture_output=True, text=True)
            self.assertEqual(run.returncode, 1)
            self.assertIn(words, run.stderr)


class Clients(unittest.TestCase):
    def test_slow_loris(self):
        """Heads and bodies that come byte by byte are ended; meanwhile others are answered."""
        server = Server("--timeout", "1")
        self.addCleanup(server.stop)
        pieces = (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
                  b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
        slow = []
        for piece in pieces * 10:
            s = socket.create_connection(address(server))
            s.sendall(piece)
            slow.append(s)
        end, gone = time.monotonic() + 30, set()
        while len(gone) < len(slow) and time.monotonic() < end:
            for i, s in enumerate(slow):
                try:
                    s.sendall(b"a")
                    s.setblocking(False)
                    if s.recv(4096) == b"":
                        gone.add(i)
                except BlockingIOError:
                    pass
                except OSError:
                    gone.add(i)
                finally:
                    s.setblocking(True)
            self.assertEqual(server.ask("/health")["status"], "ok")
            time.sleep(0.2)
        self.assertEqual(len(gone), len(slow))
        for s in slow:
            s.close()
        self.assertEqual(server.metric("facet_requests_running"), 0)

    def test_silent_and_idle(self):
        server = Server("--timeout", "1")
        self.addCleanup(server.stop)
        s = socket.create_connection(address(server))
        s.settimeout(20)
        self.assertEqual(s.recv(1), b"")
        s.close()

    def test_leaving_during_the_prompt(self):
        server = Server("--parallel", "1", "-c", "4096")
        self.addCleanup(server.stop)
        ask = {"messages": [{"role": "user", "content": "word " * 3000}], "max_tokens": 5}
        for stream in (True, False):
            s = socket.create_connection(address(server))
            body = json.dumps({**ask, "stream": stream}).encode()
            s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body))
            s.sendall(body)
            while not server.metric("facet_requests_running"):
                time.sleep(0.01)
            s.close()
            server.wait_idle()
        self.assertEqual(server.ask("/v1/chat/completions", SUM)["choices"][0]["message"]["content"], "3 + 4 = 7")

    def test_a_client_that_takes_nothing(self):
        """An answer waits for it a while, then it is left; the others go on."""
        server = Server("--timeout", "1", "--parallel", "2", "--context-shift", "-c", "256")
        self.addCleanup(server.stop)
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(address(server))
        body = json.dumps({**STORY, "max_tokens": 200000, "logprobs": True, "top_logprobs": 20}).encode()
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        for _ in range(5):
            self.assertEqual(server.ask("/v1/chat/completions", SUM)["choices"][0]["finish_reason"], "stop")
        server.wait_idle()
        s.close()

    def test_huge_headers(self):
        server = Server()
        self.addCleanup(server.stop)
        for head in (b"X: " + b"a" * 200000, b"X: a\r\n" * 40000):
            s = socket.create_connection(address(server))
            s.settimeout(20)
            try:
                s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n\r\n")
                self.assertRegex(s.recv(100), rb"HTTP/1.1 4\d\d|^$")
            except ConnectionError:
                pass
            s.close()
        self.assertEqual(server.ask("/health")["status"], "ok")

    def test_retry_after(self):
        server = Server("--parallel", "1", "--queue", "0")
        self.addCleanup(server.stop)
        connection, answer = post(server, STORY)
        answer.readline()
        _, second = post(server, SUM)
        self.assertEqual(second.status, 429)
        self.assertGreaterEqual(int(second.headers["Retry-After"]), 1)
        connection.sock and connection.sock.close()
        answer.close()

    def test_context_of_one(self):
        for context in (1, 2, 12):
            server = Server("-c", str(context))
            _, answer = post(server, SUM)
            self.assertEqual((answer.status, json.load(answer)["error"]["code"]), (400, "context_length_exceeded"))
            _, answer = post(server, {"prompt": "", "max_tokens": 5}, "/v1/completions")
            self.assertEqual(answer.status, 400 if context == 1 else 200)
            server.stop()

    def test_a_large_message(self):
        server = Server("-c", "32")
        self.addCleanup(server.stop)
        _, answer = post(server, {"messages": [{"role": "user", "content": "é" * 25000}]})
        self.assertEqual((answer.status, json.load(answer)["error"]["code"]), (400, "context_length_exceeded"))


class Stopping(unittest.TestCase):
    def test_drain(self):
        """What runs ends, nothing new begins."""
        server = Server("--drain", "60")
        connection, answer = post(server, {**STORY, "max_tokens": 60})
        answer.readline()
        server.process.terminate()
        text = answer.read().decode()
        self.assertIn("[DONE]", text)
        connection.close()
        server.stop()
        with self.assertRaises(OSError):
            socket.create_connection(address(server), timeout=5)

    def test_drain_that_ends(self):
        for second_signal in (False, True):
            server = Server("--drain", "60" if second_signal else "0", "--context-shift", "-c", "256")
            connection, answer = post(server, {**STORY, "max_tokens": 1000000})
            answer.readline()
            server.process.terminate()
            if second_signal:
                time.sleep(0.5)
                self.assertIsNone(server.process.poll())
                server.process.send_signal(signal.SIGTERM)
            server.stop()
            connection.close()


class Packaging(unittest.TestCase):
    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not there")
    def test_unit(self):
        with tempfile.TemporaryDirectory() as folder:
            unit = os.path.join(folder, "facet.service")
            with open(os.path.join(ROOT, "packaging/facet.service")) as f:
                text = f.read().replace("/usr/bin/facet", os.environ["FACET"]).replace("Documentation=", "#")
            with open(unit, "w") as f:
                f.write(text)
            run = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
            self.assertEqual([l for l in run.stderr.splitlines() if "facet" in l], [])
            run = subprocess.run(["systemd-analyze", "security", "--offline=true", unit], capture_output=True, text=True)
            self.assertLess(float(re.search(r"exposure level for .*: ([0-9.]+)", run.stdout)[1]), 2)

    @unittest.skipUnless(shutil.which("haproxy"), "haproxy is not there")
    def test_proxy(self):
        """Conversations come back to the server that knows them; the others take over when it is gone."""
        path = os.path.join(ROOT, "packaging/haproxy.cfg")
        subprocess.run(["haproxy", "-c", "-f", path], check=True, capture_output=True)
        servers = [Server() for _ in range(3)]
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        with open(path) as f:
            text = f.read().replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        self.assertIn(" fall 2 ", text) # a machine that does other things is slow, not down
        text = text.replace(" fall 2 ", " fall 60 ")
        for i, server in enumerate(servers):
            text = text.replace(f"127.0.0.1:{8081 + i}", "%s:%d" % address(server))
        with tempfile.NamedTemporaryFile("w", suffix=".cfg") as f:
            f.write(text)
            f.flush()
            proxy = subprocess.Popen(["haproxy", "-db", "-f", f.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                self.converse(port, servers)
            finally:
                proxy.terminate()
                proxy.wait()
                for server in servers:
                    server.process.kill()
                    server.process.communicate()

    def ask(self, port, messages, headers=()):
        end = time.monotonic() + 120
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                connection.request("POST", "/v1/chat/completions",
                                   json.dumps({"messages": messages, "temperature": 0, "max_tokens": 12}), dict(headers))
                answer = connection.getresponse()
                body = json.load(answer)
                if answer.status == 200:
                    return body
            except (OSError, ValueError):
                pass
            assert time.monotonic() < end, "the proxy does not answer"
            time.sleep(0.2)

    def converse(self, port, servers):
        served = lambda: [s.metric("facet_requests_total") if s.process.poll() is None else 0 for s in servers]
        used = set()
        for n in range(12):
            system = {"role": "system", "content": f"You are helper {n}. " + "Be kind and brief. " * 150}
            messages, places, reused = [system, {"role": "user", "content": "What is 3 + 4?"}], set(), []
            for _ in range(3):
                before = self.prompts(servers)
                body = self.ask(port, messages)
                places |= {i for i, (a, b) in enumerate(zip(before, self.prompts(servers))) if b > a}
                reused.append(body["usage"]["prompt_tokens_details"]["cached_tokens"])
                messages += [{"role": "assistant", "content": body["choices"][0]["message"]["content"] or ""},
                             {"role": "user", "content": "And 5 + 4?"}]
            self.assertEqual(len(places), 1, "a conversation moved")
            self.assertGreater(reused[1], 300)
            used |= places
        self.assertGreater(len(used), 1, "all conversations on one server")
        servers[0].process.kill()
        for n in range(6):
            self.assertTrue(self.ask(port, SUM["messages"], {"x-session-id": str(n)})["choices"])

    def prompts(self, servers):
        return [s.metric("facet_generated_tokens_total") for s in servers]


if __name__ == "__main__":
    unittest.main()
