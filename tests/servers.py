"""A server on this machine that behaves as the servers of data sets do: it cuts, forgets, replaces, refuses."""

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Shelf:
    """What a server holds, by path, and how it behaves; a test changes it while it serves."""

    files: dict[str, bytes]
    tags: dict[str, str] = field(default_factory=dict)  # ETag by path; default: "1"
    dated: bool = False  # Last-Modified instead of a tag
    bare: bool = False  # neither
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)  # bytes after which the next answers end; then whole ones
    statuses: list[int] = field(default_factory=list)  # of the next answers, instead of the file
    kind: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)  # more of them
    redirects: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path and Range
    sent: int = 0
    address: str = ""


class _Handler(BaseHTTPRequestHandler):
    shelf: Shelf

    def log_message(self, *_):
        pass

    def do_GET(self):
        shelf, wanted = self.shelf, self.headers.get("Range")
        shelf.asked.append((self.path, wanted))
        if shelf.statuses:
            return self.end(shelf.statuses.pop(0), {})
        if self.path in shelf.redirects:
            return self.end(302, {"Location": shelf.redirects[self.path], **shelf.headers})
        if self.path not in shelf.files:
            return self.end(404, {})
        content, tag = shelf.files[self.path], shelf.tags.get(self.path, '"1"')
        validator = {} if shelf.bare else {"Last-Modified": tag} if shelf.dated else {"ETag": tag}
        headers = {"Content-Type": shelf.kind, **validator}
        match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
        if match and shelf.ranges and self.headers.get("If-Range", tag) == tag:
            start = int(match[1])
            if start >= len(content):
                return self.end(416, {"Content-Range": f"bytes */{len(content)}"})
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return self.end(206, headers, content[start:])
        return self.end(200, headers, content)

    def end(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if content and self.shelf.cuts:
            content = content[: self.shelf.cuts.pop(0)]
        self.shelf.sent += len(content)
        self.wfile.write(content)


@contextmanager
def serving(shelf: Shelf):
    """The shelf served at `shelf.address` within the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"shelf": shelf}))
    shelf.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield shelf
    finally:
        server.shutdown()
        server.server_close()
