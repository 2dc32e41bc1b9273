"""A server of files that behaves as badly as it is told to."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server:
    """Serves a folder over HTTP, with byte ranges.

    Attributes:
        url: of the folder.
        faults: file name -> what goes wrong at its next requests, in order: a status, `drop` (the body ends
            after half of it), `slow` (silence before it), `wrong` (other bytes), `whole` (no ranges).
        requests: how often each file was asked for.
        sent: bytes of each file that were sent.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self.faults: dict[str, list[int | str]] = {}
        self.requests: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, server: list[Server], *args: object) -> None:
        self.served = server
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        server = self.served[0]
        name = self.path.lstrip("/")
        with server.lock:
            server.requests[name] += 1
            waiting = server.faults.get(name, [])
            fault = waiting.pop(0) if waiting else None
        file = server.folder / name
        if isinstance(fault, int) or not file.is_file():
            self.send_error(fault if isinstance(fault, int) else 404)
            return
        content = file.read_bytes()
        body, status = content, 200
        if "Range" in self.headers and fault != "whole":
            start, stop = self.headers["Range"].removeprefix("bytes=").split("-")
            body, status = content[int(start) : int(stop) + 1], 206
        if fault == "wrong":
            body = bytes(len(body))
        if fault == "slow":
            time.sleep(1.5)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        body = body[: len(body) // 2] if fault == "drop" else body
        with server.lock:  # before the client has it all and looks
            server.sent[name] += len(body)
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Not in a test."""


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        # A client that went away; its traceback would land in the output of whichever test is running.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server of `folder` on a free port of this machine."""
    box: list[Server] = []
    http = _Http(("127.0.0.1", 0), partial(_Handler, box))
    box.append(Server(folder, http.server_address[1]))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield box[0]
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
