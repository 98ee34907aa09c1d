#!/usr/bin/env python3
"""How many tokens a second facet serve streams to several clients at once, beside llama-server on the same file.

    bench/serve.py MODEL.gguf [--facet PROGRAM] [--llama PROGRAM] [--clients 8] [--tokens 64] [--prompt 64] [--threads N]

Every client sends one completion, all at the same time; the prompts differ from their first word on, so that nothing is
shared, and end-of-generation tokens are ignored, so that all get the same number of tokens. Measured is the time from the
first request to the last byte, and the time from the first token on. The servers run one after the other, each is asked
once for nothing first. Needs Python and nothing else. The last line is a line of JSON.
"""

import argparse
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

WORDS = "river stone lamp green quiet north paper wind seven garden bread winter copper song little road cloud".split()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(command, port):
    log = open(os.environ.get("SERVE_LOG", os.devnull), "ab")
    process = subprocess.Popen(command, stdout=log, stderr=log)
    end = time.monotonic() + 300
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"{command[0]} ended with status {process.returncode}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return process
        except OSError:
            pass
        time.sleep(0.2)
    process.kill()
    sys.exit(f"{command[0]} does not come up")


class Client(threading.Thread):
    def __init__(self, port, prompt, tokens, barrier):
        super().__init__()
        self.port, self.barrier = port, barrier
        self.body = json.dumps(
            {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True, "ignore_eos": True,
             "cache_prompt": False, "stream_options": {"include_usage": True}}
        )
        self.first, self.last, self.n = None, None, 0

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.connect()
        self.barrier.wait()
        connection.request("POST", "/v1/completions", self.body, {"Content-Type": "application/json"})
        for line in connection.getresponse():
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            self.first = self.first or time.monotonic()
            self.last = time.monotonic()
            self.n = (chunk.get("usage") or {}).get("completion_tokens", self.n)


def measure(port, clients, tokens, prompt):
    rng = random.Random(1)
    barrier = threading.Barrier(clients + 1)
    threads = []
    for i in range(clients):
        text = f"{i} " + " ".join(rng.choice(WORDS) for _ in range(prompt))
        threads.append(Client(port, text, tokens, barrier))
    for t in threads:
        t.start()
    barrier.wait()
    begin = time.monotonic()
    for t in threads:
        t.join()
    total = sum(t.n for t in threads)
    if total != clients * tokens:
        sys.exit(f"{total} tokens came, expected {clients * tokens}")
    end = max(t.last for t in threads)
    first = max(t.first for t in threads)
    return {"tokens_per_second": total / (end - begin), "seconds": end - begin,
            "decode_tokens_per_second": (total - clients) / (end - min(t.first for t in threads)),
            "seconds_to_first": first - begin}


def run(name, command, port, a):
    process = start(command, port)
    try:
        measure(port, a.clients, 2, 8)
        runs = [measure(port, a.clients, a.tokens, a.prompt) for _ in range(a.runs)]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    best = max(runs, key=lambda r: r["tokens_per_second"])
    print(f"{name:14} {best['tokens_per_second']:8.1f} tokens/s   {best['decode_tokens_per_second']:8.1f} decoding   "
          f"{best['seconds_to_first']:6.2f} s until all had a token", flush=True)
    return best


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--facet", default="build/release/facet")
    p.add_argument("--llama", help="llama-server; without it facet is measured alone")
    p.add_argument("--clients", type=int, default=8)
    p.add_argument("--tokens", type=int, default=64)
    p.add_argument("--prompt", type=int, default=64, help="words of a prompt")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--runs", type=int, default=1)
    a = p.parse_args()
    context, result = 1024, {}
    port = free_port()
    result["facet"] = run("facet", [a.facet, "serve", "-m", a.model, "--port", str(port), "-t", str(a.threads), "-c",
                                    str(context), "--parallel", str(a.clients)], port, a)
    if a.llama:
        port = free_port()
        result["llama"] = run("llama-server", [a.llama, "-m", a.model, "--host", "127.0.0.1", "--port", str(port), "-t",
                                               str(a.threads), "-np", str(a.clients), "-c", str(context * a.clients),
                                               "--no-webui"], port, a)
        result["ratio"] = result["facet"]["tokens_per_second"] / result["llama"]["tokens_per_second"]
        print(f"facet streams {result['ratio']:.2f} times as many tokens a second")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
