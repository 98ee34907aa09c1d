"""A web server that does what servers do on bad days. The first parts of a path say what:

  /plain/FILE              ranges, an ETag
  /drop/N/FILE             the connection ends after N bytes of each answer
  /slow/MS/FILE            a pause of so many milliseconds after each 64 KiB
  /stall/N/FILE            the first answer stops after N bytes and says nothing more; later ones are whole
  /norange/FILE            ranges are ignored
  /dropnorange/N/FILE      both: the first answer ends after N bytes
  /nolength/FILE           no Content-Length; the end of the connection is the end
  /long/FILE               promises 1000 bytes more than there are
  /short/FILE              calls the first half the whole
  /elsewhere/FILE          answers a range with another one
  /changing/N/FILE         ends after N bytes, and each answer is of another version of the file
  /busy/N/FILE             503 N times, then the file
  /status/CODE/FILE        that status
  /html/FILE               a page of text, with status 200
  /to/BASE64/FILE          a redirection to the URL in BASE64
  /loop/FILE               a redirection to itself
  /linked/SHA256/BASE64/FILE   a redirection as Hugging Face's, with the checksum

Every request is remembered in `log`: path, Range and Authorization."""
import base64
import http.server
import os
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        web = self.server.web
        parts = self.path.lstrip("/").split("/")
        how, name = parts[0], parts[-1]
        number = int(parts[1]) if len(parts) > 2 and parts[1].isdigit() else 0
        with web.lock:
            web.log.append((self.path, self.headers.get("Range"), self.headers.get("Authorization"),
                            self.headers.get("Host")))
            web.count[self.path] = web.count.get(self.path, 0) + 1
            count = web.count[self.path]
        if how in ("to", "linked", "loop"):
            target = self.path if how == "loop" else base64.urlsafe_b64decode(parts[-2]).decode()
            self.send_response(302)
            self.send_header("Location", target)
            if how == "linked":
                self.send_header("X-Linked-ETag", '"' + parts[1] + '"')
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"moved")
            return
        if how == "status" or (how == "busy" and count <= number):
            body = b"no such luck"
            self.send_response(number if how == "status" else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        path = os.path.join(web.folder, name)
        if how == "html":
            data = b"<!DOCTYPE html>" + b" " * 100000
        elif not os.path.isfile(path):
            self.send_error(404)
            return
        else:
            data = open(path, "rb").read()
        self.send_file(how, number, count, data)

    def send_file(self, how, number, count, data):
        web = self.server.web
        if how == "short":
            data = data[:len(data) // 2]
        total, begin, end = len(data), 0, len(data)
        asked = self.headers.get("Range") if "norange" not in how and how != "nolength" else None
        if asked:
            first, last = asked.split("=")[1].split("-")
            begin, end = int(first), int(last) + 1 if last else total
            end = min(end, total)
            if begin >= total:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if how == "elsewhere" and begin:
                begin += 1
        promised = 1000 if how == "long" else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{total + promised}")
        self.send_header("ETag", f'"v{count}"' if how == "changing" else '"v"')
        if how != "nolength":
            self.send_header("Content-Length", str(end - begin + promised))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        body = data[begin:end]
        cut = how in ("drop", "changing") or (how in ("stall", "dropnorange") and count == 1)
        if cut:
            body = body[:number]
        try:
            for at in range(0, len(body), 65536):
                self.wfile.write(body[at:at + 65536])
                with web.lock:
                    web.sent += len(body[at:at + 65536])
                if how == "slow":
                    time.sleep(number / 1000)
            if how == "stall" and cut:
                web.stop.wait(30)
        except OSError:
            pass
        if cut or promised or how == "nolength":
            self.close_connection = True


class Web:
    def __init__(self, folder, context=None):
        self.folder, self.log, self.count, self.sent = folder, [], {}, 0
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.web = self
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, path):
        return f"http://127.0.0.1:{self.port}/{path}"

    def to(self, url, name):
        return self.url(f"to/{base64.urlsafe_b64encode(url.encode()).decode()}/{name}")

    def forget(self):
        with self.lock:
            self.log, self.count, self.sent = [], {}, 0

    def close(self):
        self.stop.set()
        self.server.shutdown()
        self.server.server_close()
