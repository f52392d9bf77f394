"""A real HTTP server on loopback that misbehaves on demand."""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pile_toolkit.core.remote import RetryPolicy, download_file


class Handler(BaseHTTPRequestHandler):
    """Answers with the next scripted behaviour of the path, or properly when the script is over."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers)))
        script = self.server.scripts[self.path]
        behaviour = script.popleft() if script else self.server.serve()
        with contextlib.suppress(ConnectionError):
            behaviour(self)

    def answer(self, status: int, headers: dict[str, str | None], body: bytes = b"") -> None:
        """A header of None is left out, Content-Length too."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """A script of behaviours per path; `requests` are all that was asked, with headers; `content` is what it has."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = b""
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.scripts: dict[str, deque] = defaultdict(deque)

    def url(self, path: str, *script) -> str:
        """The address of a path whose next answers are these."""
        self.scripts[path].extend(script)
        return f"http://127.0.0.1:{self.server_port}{path}"

    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.requests]

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are what these tests are about."""

    def serve(self, content=None, *, etag='"1"', ranges=True, if_range=True, sent=None, headers=None):
        """A proper static server; of the answer's body only `sent` bytes come before the connection breaks."""
        content = self.content if content is None else content

        def behaviour(handler: Handler) -> None:
            asked = handler.headers.get("Range") if ranges else None
            if asked and if_range and handler.headers.get("If-Range", etag) != etag:
                asked = None
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            extra = {"ETag": etag, **(headers or {})}
            if asked and start >= len(content):
                handler.answer(416, {"Content-Range": f"bytes */{len(content)}", **extra})
                return
            body = content[start:]
            if asked:
                extra["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            length = {"Content-Length": str(len(body))}
            handler.answer(206 if asked else 200, {**length, **extra}, body if sent is None else body[:sent])
            if sent is not None:
                handler.hang_up()

        return behaviour

    @staticmethod
    def fail(status: int, **headers: str):
        """An error answer; header names are spelled with underscores."""
        return lambda handler: handler.answer(status, {key.replace("_", "-"): text for key, text in headers.items()})


@pytest.fixture(scope="module")
def running_server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server(running_server, request):
    """The server without scripts, serving the CONTENT of the test module."""
    running_server.content = request.module.CONTENT
    running_server.requests.clear()
    running_server.scripts.clear()
    return running_server


@pytest.fixture
def target(tmp_path):
    return tmp_path / "raw" / "file.jsonl.zst"


@pytest.fixture
def fetch():
    """download_file without its waits, which are noted instead."""

    def download(urls, target, *, waits=None, **options):
        policy = RetryPolicy(sleep=(waits if waits is not None else []).append, read_timeout_s=5.0)
        return download_file([urls] if isinstance(urls, str) else urls, target, policy=policy, **options)

    return download
