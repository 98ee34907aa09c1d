"""facet pull, and models named by a URL, against a server that drops, lies, stalls and redirects.
   test_download.py FACET MODEL"""
import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

from web import Web

FACET, MODEL = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])
HERE = os.path.dirname(os.path.realpath(__file__))
DATA = open(MODEL, "rb").read()
LAST = len(DATA) - 1
SHA = hashlib.sha256(DATA).hexdigest()
QUICK = ["--stall", "30", "--retries", "1"]
SHORT = ["--stall", "2"]
ANSWER = ["--temp", "0", "-t", "2", "-n", "20", "What is the capital of Italy?"]


class Case(unittest.TestCase):
    def setUp(self):
        self.began = time.time()
        self.folder = tempfile.mkdtemp()
        served = os.path.join(self.folder, "served")
        os.mkdir(served)
        shutil.copy(MODEL, os.path.join(served, "tiny.gguf"))
        self.web = Web(served)
        self.work = os.path.join(self.folder, "work")
        os.mkdir(self.work)

    def tearDown(self):
        self.web.close()
        if "TIMES" in os.environ:
            print(f"{time.time() - self.began:6.2f} s  {self.id()}")
        shutil.rmtree(self.folder)

    def environment(self, more={}):
        kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        return {**kept, "HOME": self.folder, **more}

    def facet(self, *args, env={}, timeout=120):
        return subprocess.run([FACET, *args], cwd=self.work, capture_output=True, text=True, timeout=timeout,
                              env=self.environment(env), stdin=subprocess.DEVNULL)

    def files(self):
        return sorted(os.listdir(self.work))

    def pulled(self, path, *args, name="tiny.gguf", env={}):
        r = self.facet("pull", self.web.url(path) if "://" not in path else path, *QUICK, *args, env=env)
        self.assertEqual((r.returncode, r.stdout), (0, name + "\n"), r.stderr)
        self.assertEqual(self.files(), [name])
        self.assertEqual(open(os.path.join(self.work, name), "rb").read(), DATA)
        return r

    def refused(self, path, *words, status=1, left=(), args=()):
        r = self.facet("pull", self.web.url(path) if "://" not in path else path, *QUICK, *args)
        self.assertEqual(r.returncode, status, r.stderr)
        self.assertEqual(r.stdout, "")
        for word in words:
            self.assertIn(word, r.stderr)
        self.assertEqual(r.stderr.count("\n"), 1, r.stderr)
        self.assertEqual(self.files(), sorted(left))
        return r


class Pull(Case):
    def test_plain(self):
        self.pulled("plain/tiny.gguf", "--sha256", SHA)

    def test_upper_case_sum_and_name(self):
        self.pulled("plain/tiny.gguf", "--sha256", SHA.upper(), "-o", "other.gguf", name="other.gguf")

    def test_drops(self):
        self.pulled("drop/2000000/tiny.gguf", "--sha256", SHA)
        asked = [r for _, r, _, _ in self.web.log]
        self.assertEqual(asked[:3], [None, f"bytes=2000000-{LAST}", f"bytes=4000000-{LAST}"])

    def test_stalls(self):
        self.pulled("stall/3000000/tiny.gguf", *SHORT)
        self.assertEqual(self.web.log[-1][1], f"bytes=3000000-{LAST}")

    def test_ignores_ranges(self):
        self.pulled("norange/tiny.gguf")
        self.tearDown()
        self.setUp()
        self.pulled("dropnorange/1000000/tiny.gguf", "--sha256", SHA)

    def test_no_length(self):
        self.pulled("nolength/tiny.gguf", "--sha256", SHA)

    def test_busy(self):
        self.pulled("busy/1/tiny.gguf")

    def test_redirected(self):
        self.pulled(self.web.to(self.web.url("drop/3000000/tiny.gguf"), "tiny.gguf"), "--sha256", SHA)

    def test_resumes(self):
        r = self.facet("pull", self.web.url("drop/1000000/tiny.gguf"), "--retries", "0")
        self.assertEqual(r.returncode, 1)
        self.assertEqual(self.files(), ["tiny.gguf.part", "tiny.gguf.part.info"])
        self.web.forget()
        r = self.pulled("plain/tiny.gguf", "--sha256", SHA)
        self.assertIn("going on after 1000000 of", r.stderr)
        self.assertEqual([r for _, r, _, _ in self.web.log], [f"bytes=1000000-{LAST}"])

    def test_killed(self):
        p = subprocess.Popen([FACET, "pull", self.web.url("slow/50/tiny.gguf")], cwd=self.work,
                             env=self.environment(), stderr=subprocess.DEVNULL)
        part = os.path.join(self.work, "tiny.gguf.part")
        for _ in range(400):
            if os.path.exists(part) and os.path.getsize(part) > 500000:
                break
            time.sleep(0.01)
        p.kill()
        p.wait()
        self.assertFalse(os.path.exists(os.path.join(self.work, "tiny.gguf")))
        self.pulled("plain/tiny.gguf", "--sha256", SHA)
        self.assertNotEqual(self.web.log[-1][1], None)

    def test_two_at_once(self):
        p = subprocess.Popen([FACET, "pull", self.web.url("slow/10/tiny.gguf")], cwd=self.work,
                             env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not os.path.exists(os.path.join(self.work, "tiny.gguf.part.info")):
            time.sleep(0.01)
        r = self.facet("pull", self.web.url("plain/tiny.gguf"))
        self.assertEqual(r.returncode, 1)
        self.assertIn("another process", r.stderr)
        self.assertEqual(p.wait(), 0)
        self.assertEqual(open(os.path.join(self.work, "tiny.gguf"), "rb").read(), DATA)

    def test_part_of_another_version(self):
        r = self.facet("pull", self.web.url("changing/1000000/tiny.gguf"), "--retries", "0")
        self.assertEqual(r.returncode, 1)
        r = self.pulled("plain/tiny.gguf", "--sha256", SHA)
        self.assertIn("has changed", r.stderr)

    def test_part_without_description(self):
        with open(os.path.join(self.work, "tiny.gguf.part"), "wb") as f:
            f.write(b"GGUF of something else" * 1000)
        self.pulled("plain/tiny.gguf", "--sha256", SHA)

    def test_changes_meanwhile(self):
        self.refused("changing/1000000/tiny.gguf", "has changed", left=["tiny.gguf.part", "tiny.gguf.part.info"])

    def test_promises_too_much(self):
        self.refused("long/tiny.gguf", "", left=["tiny.gguf.part", "tiny.gguf.part.info"])

    def test_half_a_file(self):
        self.refused("short/tiny.gguf", "ends before")

    def test_other_range(self):
        with open(os.path.join(self.work, "tiny.gguf.part"), "wb") as f:
            f.write(DATA[:1000])
        with open(os.path.join(self.work, "tiny.gguf.part.info"), "w") as f:
            f.write(f'{len(DATA)}\n"v"\n')
        r = self.facet("pull", self.web.url("elsewhere/tiny.gguf"), *QUICK)
        self.assertEqual(r.returncode, 1)
        self.assertIn("another part", r.stderr)

    def test_wrong_sum(self):
        self.refused("plain/tiny.gguf", "SHA-256", SHA, args=["--sha256", "0" * 64])

    def test_bad_sum(self):
        self.refused("plain/tiny.gguf", "64 hexadecimal digits", status=2, args=["--sha256", "12"])

    def test_page(self):
        self.refused("html/tiny.gguf", "no GGUF file")
        self.assertLess(self.web.sent, 1 << 20)

    def test_statuses(self):
        self.refused("status/404/tiny.gguf", "HTTP status 404")
        self.refused("status/401/tiny.gguf", "HTTP status 401", "HF_TOKEN")
        self.assertEqual(len(self.web.log), 2)  # no use in asking again
        self.refused("status/500/tiny.gguf", "HTTP status 500")
        self.assertEqual(len(self.web.log), 4)

    def test_loop(self):
        self.refused("loop/tiny.gguf", "too many redirects")
        self.assertLess(len(self.web.log), 20)

    def test_other_protocols(self):
        self.refused("file://" + MODEL, "no address", status=2)
        self.refused(self.web.to("file://" + MODEL, "tiny.gguf"), "redirects", status=1)

    def test_nobody_there(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.refused(f"http://127.0.0.1:{port}/tiny.gguf", "onnect")

    def test_names(self):
        self.refused("plain/", "-o FILE", status=2)
        self.refused("plain/..%2Ftiny.gguf", "-o FILE", status=2)
        self.refused("plain/%00tiny.gguf", "", status=2)
        r = self.facet("pull", "hf.co/owner/tiny.gguf")
        self.assertEqual(r.returncode, 2)
        self.assertIn("no address", r.stderr)

    def test_there_already(self):
        path = os.path.join(self.work, "tiny.gguf")
        open(path, "w").close()
        self.refused("plain/tiny.gguf", "is there already", left=["tiny.gguf"])
        self.assertEqual(os.path.getsize(path), 0)

    def test_token_stays_here(self):
        self.pulled("plain/tiny.gguf", env={"HF_TOKEN": "secret"})
        self.assertEqual([a for _, _, a, _ in self.web.log], [None])


class HuggingFace(Case):
    """Its servers are played by one of ours, which a proxy leads to, with a certificate of its own."""

    def setUp(self):
        super().setUp()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(HERE, "test-cert.pem"), os.path.join(HERE, "test-key.pem"))
        self.secure = Web(self.web.folder, context)
        self.proxy = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.serve_proxy, daemon=True).start()
        self.env = {"https_proxy": f"http://127.0.0.1:{self.proxy.getsockname()[1]}", "HF_TOKEN": "secret",
                    "CURL_CA_BUNDLE": os.path.join(HERE, "test-cert.pem")}

    def tearDown(self):
        self.secure.close()
        self.proxy.close()
        super().tearDown()

    def serve_proxy(self):
        while True:
            try:
                client, _ = self.proxy.accept()
            except OSError:
                return
            while b"\r\n\r\n" not in client.recv(65536):
                pass
            server = socket.create_connection(("127.0.0.1", self.secure.port))
            client.sendall(b"HTTP/1.1 200 here you are\r\n\r\n")
            for a, b in ((client, server), (server, client)):
                threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    @staticmethod
    def pump(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def seen(self):
        return [(host, token) for _, _, token, host in self.secure.log]

    def test_token(self):
        self.pulled("https://huggingface.co/plain/tiny.gguf", env=self.env)
        self.assertEqual(self.seen(), [("huggingface.co", "Bearer secret")])

    def test_short_form(self):
        r = self.facet("pull", "hf.co/plain/own/tiny.gguf", env=self.env)
        self.assertEqual((r.returncode, r.stdout), (0, "tiny.gguf\n"), r.stderr)
        self.assertEqual(self.secure.log[0][0], "/plain/own/resolve/main/tiny.gguf")

    def test_token_is_not_handed_on(self):
        import base64
        to = base64.urlsafe_b64encode(b"https://cdn.example.com/plain/tiny.gguf").decode()
        self.pulled(f"https://huggingface.co/linked/{SHA}/{to}/tiny.gguf", env=self.env)
        self.assertEqual(self.seen(), [("huggingface.co", "Bearer secret"), ("cdn.example.com", None)])

    def test_other_hosts_get_none(self):
        for host in ("huggingface.co.example.com", "example.com", "xhuggingface.co"):
            self.pulled(f"https://{host}/plain/tiny.gguf", env=self.env)
            os.remove(os.path.join(self.work, "tiny.gguf"))
        self.assertEqual({t for _, t in self.seen()}, {None})
        self.assertGreaterEqual(len(self.seen()), 3)

    def test_checksum_of_the_server(self):
        import base64
        to = base64.urlsafe_b64encode(b"https://cdn.example.com/plain/tiny.gguf").decode()
        r = self.facet("pull", f"https://huggingface.co/linked/{'1' * 64}/{to}/tiny.gguf", *QUICK, env=self.env)
        self.assertEqual(r.returncode, 1)
        self.assertIn("SHA-256", r.stderr)
        self.assertEqual(self.files(), [])

    def test_never_less_than_https(self):
        import base64
        to = base64.urlsafe_b64encode(self.web.url("plain/tiny.gguf").encode()).decode()
        r = self.facet("pull", f"https://huggingface.co/to/{to}/tiny.gguf", *QUICK, env=self.env)
        self.assertEqual(r.returncode, 1)
        self.assertIn("redirects from HTTPS", r.stderr)
        self.assertEqual(self.web.log, [])

    def test_unknown_certificate(self):
        env = {**self.env, "CURL_CA_BUNDLE": ""}
        r = self.facet("pull", "https://huggingface.co/plain/tiny.gguf", *QUICK, env=env)
        self.assertEqual(r.returncode, 1)
        self.assertEqual(self.secure.log, [])


class Model(Case):
    def answer(self, path, *args, **more):
        return self.facet("run", "-m", self.web.url(path), *QUICK, *args, *ANSWER, **more)

    def assert_answers(self, path, *args):
        r = self.answer(path, *args)
        self.assertEqual((r.returncode, r.stdout), (0, "The capital of Italy is Rome.\n"), r.stderr)
        return r

    def test_streams(self):
        for path in ("plain", "drop/2500000", "norange", "slow/5"):
            self.assert_answers(path + "/tiny.gguf")
        self.assert_answers("stall/3000000/tiny.gguf", *SHORT)
        self.assertEqual(self.files(), [])
        self.assert_answers("plain/tiny.gguf", "--sha256", SHA)

    def test_same_logits(self):
        ids = os.path.join(self.work, "ids")
        with open(ids, "w") as f:
            f.write("2 3 4 5 6 7 8 9 10 11")
        self.assertEqual(self.facet("logits", "-m", MODEL, "--ids", "ids", "-o", "a").returncode, 0)
        r = self.facet("logits", "-m", self.web.url("drop/1000000/tiny.gguf"), *QUICK, "--ids", "ids", "-o", "b")
        self.assertEqual(r.returncode, 0, r.stderr)
        a, b = (open(os.path.join(self.work, name), "rb").read() for name in "ab")
        self.assertTrue(a and a == b)

    def assert_fails(self, path, *words, args=()):
        r = self.answer(path, *args)
        self.assertEqual((r.returncode, r.stdout), (1, ""), r.stderr)
        for word in words:
            self.assertIn(word, r.stderr)
        self.assertEqual(r.stderr.count("\n"), 1, r.stderr)

    def test_failures(self):
        self.assert_fails("status/404/tiny.gguf", "404")
        self.assert_fails("html/tiny.gguf", "GGUF")
        self.assert_fails("nolength/tiny.gguf", "size")
        self.assert_fails("short/tiny.gguf", "truncated")
        self.assert_fails("changing/3000000/tiny.gguf", "has changed")
        self.assert_fails("plain/tiny.gguf", "SHA-256", args=["--sha256", "0" * 64])
        self.assertEqual(self.files(), [])

    def test_cache(self):
        cache = os.path.join(self.folder, "cache")
        os.mkdir(cache)
        r = self.answer("changing/3000000/tiny.gguf", "--cache", cache)
        self.assertEqual(r.returncode, 1)
        self.assertEqual(len(os.listdir(cache)), 2)  # a part, and what it is of
        for _ in range(2):
            self.assert_answers("drop/4000000/tiny.gguf", "--cache", cache)
        self.assertEqual(len(self.web.log), 2 + 2)
        kept = [f for f in os.listdir(cache) if f.endswith(".gguf")]
        self.assertEqual(len(kept), 1)
        self.assertEqual(open(os.path.join(cache, kept[0]), "rb").read(), DATA)

    def test_cache_resumes(self):
        cache = os.path.join(self.folder, "cache")
        os.mkdir(cache)
        r = self.facet("run", "-m", self.web.url("drop/4000000/tiny.gguf"), "--retries", "0", "--cache", cache, *ANSWER)
        self.assertEqual(r.returncode, 1)
        self.web.forget()
        self.assert_answers("drop/4000000/tiny.gguf", "--cache", cache)
        self.assertEqual([r for _, r, _, _ in self.web.log], [f"bytes=4000000-{LAST}"])

    def test_front_only(self):
        url = self.web.url("plain/tiny.gguf")
        here = self.facet("info", "--fit", MODEL)
        r = self.facet("info", "--fit", url)
        self.assertEqual(r.returncode, 0, r.stderr)
        fit = [line for line in here.stdout.splitlines() if "MiB" in line]
        self.assertEqual(fit, [line for line in r.stdout.splitlines() if "MiB" in line])
        self.assertEqual({r for _, r, _, _ in self.web.log}, {"bytes=0-1048575"})
        self.assertEqual(self.facet("tokenize", "-m", url, "Hello").stdout,
                         self.facet("tokenize", "-m", MODEL, "Hello").stdout)
        self.assertEqual({r for _, r, _, _ in self.web.log}, {"bytes=0-1048575"})

    def test_interrupted(self):
        for how in ("slow/300", "stall/3000000"):
            p = subprocess.Popen([FACET, "run", "-m", self.web.url(how + "/tiny.gguf"), *ANSWER], cwd=self.work,
                                 env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(1)
            p.send_signal(2)
            self.assertEqual(p.wait(20), 130)
            p.communicate()

    def serve(self, path):
        """A server whose model does not arrive, and its address."""
        p = subprocess.Popen([FACET, "serve", "--port", "0", "-m", self.web.url(path), "--stall", "60"],
                             cwd=self.work, env=self.environment(), stderr=subprocess.PIPE, text=True)
        line = p.stderr.readline()
        self.assertIn("loading", line)
        return p, line.split()[-1]

    def ask(self, address, path):
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address + path, timeout=20) as r:
                return r.status, json.load(r)
        except urllib.error.HTTPError as e:
            with e:
                return e.code, json.load(e)

    def test_serve_answers_while_loading(self):
        p, address = self.serve("stall/1000/tiny.gguf")
        self.assertEqual(self.ask(address, "/health"), (503, {"status": "loading"}))
        status, answer = self.ask(address, "/v1/models")
        self.assertEqual((status, answer["error"]["code"]), (503, "loading"))
        self.web.stop.set() # the connection ends; the next one gives the whole file
        self.assertIn("is served at " + address, p.stderr.readline())
        self.assertEqual(self.ask(address, "/health"), (200, {"status": "ok"}))
        self.assertEqual(self.ask(address, "/v1/models")[0], 200)
        p.send_signal(15)
        self.assertEqual(p.wait(30), 0)
        p.communicate()

    def test_serve_stops_while_loading(self):
        p, address = self.serve("stall/1000/tiny.gguf")
        p.send_signal(15)
        self.assertEqual(p.wait(30), 0)
        p.communicate()

    def test_serve_without_model(self):
        r = self.facet("serve", "--port", "0", "-m", self.web.url("status/404/tiny.gguf"), *QUICK)
        self.assertEqual(r.returncode, 1)
        self.assertIn("404", r.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
