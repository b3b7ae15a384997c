"""A local Hugging Face Hub with one repository: as much of its protocol as a model needs."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

COMMIT = "1" * 40


class Hub(BaseHTTPRequestHandler):
    """Keep the files of ``ada/shapes`` in memory."""

    protocol_version = "HTTP/1.1"
    files: ClassVar[dict[str, bytes]] = {}

    def log_message(self, *_):
        pass

    def answer(self, value, status=200, **headers):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for key, text in {"Content-Type": "application/json", "Content-Length": len(data), **headers}.items():
            self.send_header(key.replace("_", "-"), str(text))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def do_POST(self):
        data, here = self.body(), f"http://{self.headers['Host']}/ada/shapes"
        if self.path.startswith("/api/repos/create"):
            self.answer({"url": here})
        elif "/preupload/" in self.path:
            asked = [one["path"] for one in json.loads(data)["files"]]
            told = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in asked]
            self.answer({"files": told})
        elif "/commit/" in self.path:
            for line in map(json.loads, data.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer({"commitUrl": f"{here}/commit/{COMMIT}", "commitOid": COMMIT, "success": True})
        else:
            self.answer({"errors": [], "warnings": []})  # the check of the card

    def do_GET(self):
        path = self.path.partition("?")[0]
        names = {name: f"/ada/shapes/resolve/{COMMIT}/{name}" for name in self.files}
        if path.startswith("/api/models/ada/shapes/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in self.files.items()
            ]
            self.answer(tree)
        elif path.startswith("/api/models/ada/shapes"):
            siblings = [{"rfilename": name} for name in names]
            self.answer({"id": "ada/shapes", "sha": COMMIT, "siblings": siblings})
        elif path in names.values():
            data = self.files[path.rpartition("/")[2]]
            etag = f'"{hashlib.sha1(data).hexdigest()}"'
            self.answer(data, ETag=etag, X_Repo_Commit=COMMIT)
        else:
            self.answer({"error": "not found"}, 404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET


def serve():
    """Start a server; return its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"
