"""A fake Hugging Face Hub on the loopback interface, with faults on demand."""

import hashlib
import json
import re
import socket
import struct
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REVISION = "a" * 40

# Faults that are a status code and the Hub's name for the error.
REFUSALS = {
    "no repository": (404, "RepoNotFound"),
    "no revision": (404, "RevisionNotFound"),
    "no file": (404, "EntryNotFound"),
    "gated": (403, "GatedRepo"),
    "busy": (503, ""),
}


class FakeHub(ThreadingHTTPServer):
    """Serve `files` by path; each request takes the next of the `faults` listed for its method and path.

    A fault is `spoil` (a wrong body of the right size), `reset` (the connection breaks in mid-body), `stall`
    (the body stops half-way), `hang` (no answer at all), `endless` (a body without end), `gzip` (a body that
    unpacks to a gigabyte), `page` (HTML in place of the file), `bare` (no headers of the Hub), `astray` (a
    redirect without them), `wait N` (503 and `Retry-After: N`), or one of `REFUSALS`. `elsewhere` is another
    host that serves the bodies, like the Hub's CDN.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.requests: list[str] = []
        self.posted: dict[str, list[bytes]] = defaultdict(list)
        self.elsewhere: str = ""
        self.ranges: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def count(self, method: str) -> int:
        """Return the number of requests of this method."""
        return sum(request.startswith(method) for request in self.requests)


class Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._take()

    def do_POST(self) -> None:
        self._take()

    def _answer(self) -> None:
        request = f"{self.command} {self.path}"
        self.server.requests.append(request)
        faults = self.server.faults[request]
        fault = faults.pop(0) if faults else ""
        content = self.server.files.get(self.path.removeprefix("/cdn"))
        if fault == "hang":
            time.sleep(30)
        elif fault in ("endless", "gzip"):
            self._send_too_much(content or b"", fault)
        elif fault in ("page", "bare", "astray"):
            self._send_strange(fault)
        elif fault.startswith("wait"):
            self._refuse(503, "", fault.split()[1])
        elif fault in REFUSALS or content is None:
            self._refuse(*REFUSALS[fault or "no file"])
        elif self.server.elsewhere and not self.path.startswith("/cdn"):
            self._redirect(content)
        else:
            self._send(content, fault)

    def _send_too_much(self, content: bytes, fault: str) -> None:
        self.send_response(200)
        self._describe(content)
        if fault == "gzip":
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        for _ in range(1024):
            block = packer.compress(bytes(2**20)) if fault == "gzip" else bytes(2**20)
            if block:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
        self.wfile.write(b"0\r\n\r\n")

    def _send_strange(self, fault: str) -> None:
        page = b"<html>please log in</html>"
        self.send_response(302 if fault == "astray" else 200)
        if fault == "astray":
            self.send_header("Location", "http://localhost:9/login")
        if fault == "page":
            self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(page)

    def _refuse(self, status: int, code: str, wait: str = "") -> None:
        self.send_response(status)
        if wait:
            self.send_header("Retry-After", wait)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _describe(self, content: bytes) -> None:
        digest = hashlib.sha256(content).hexdigest()
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("ETag", f'"{digest}"')
        self.send_header("X-Linked-Etag", f'"{digest}"')
        self.send_header("X-Linked-Size", str(len(content)))

    def _redirect(self, content: bytes) -> None:
        self.send_response(302)
        self._describe(content)
        self.send_header("Location", f"{self.server.elsewhere}/cdn{self.path}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, content: bytes, fault: str) -> None:
        if "Range" in self.headers:
            self.server.ranges.append(self.headers["Range"])
        start = int(re.sub(r"\D", "", self.headers.get("Range", "bytes=0-").split("-")[0]))
        self.send_response(206 if start else 200)
        self._describe(content)
        body = content[start:]
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "spoil":
            body = body[:1] + bytes(byte ^ 1 for byte in body[1:])
        if fault not in ("reset", "stall"):
            self.wfile.write(body)
            return
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        if fault == "stall":
            time.sleep(5)
        else:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        self.close_connection = True

    def _take(self) -> None:
        """Store what a client uploads, and answer as its protocol expects."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append(f"{self.command} {self.path}")
        faults = self.server.faults[f"{self.command} {self.path}"]
        if faults:
            self._refuse(*REFUSALS[faults.pop(0)])
            return
        self.server.posted[self.path].append(body)
        answer = json.dumps(self._reply(body)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _reply(self, body: bytes) -> object:
        if self.path.startswith("/upload/"):
            return {}
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            return {"url": f"{self.server.url}/{asked['organization']}/{asked['name']}"}
        if "/preupload/" in self.path:
            large = ("safetensors", "pth", "pt")
            return {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(large) else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(body)["files"]
                ]
            }
        if self.path.endswith("/info/lfs/objects/batch"):
            return {
                "transfer": "basic",
                "objects": [
                    {**one, "actions": {"upload": {"href": f"{self.server.url}/upload/{one['oid']}"}}}
                    for one in json.loads(body)["objects"]
                ],
            }
        if "/commit/" in self.path:
            repo = self.path.removeprefix("/api/").removeprefix("models/").split("/commit/")[0]
            address = f"{self.server.url}/{repo}/commit/{REVISION}"
            return {"success": True, "commitUrl": address, "commitOid": REVISION}
        return {}

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def handle(self) -> None:
        with suppress(OSError):  # the client went away, or a fault closed the connection
            super().handle()


@contextmanager
def serve() -> Iterator[FakeHub]:
    """Serve until the end of the block."""
    server = FakeHub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
