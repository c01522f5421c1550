"""As much of a W&B server as `wandb sync` talks to: it says yes, and keeps what it was sent."""

import base64
import gzip
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """GraphQL at /graphql, curves at /files/.../file_stream, files at what CreateRunFiles names."""

    def do_POST(self):
        body = self.read()
        if self.path == "/graphql":
            asked = json.loads(body)
            name = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])[1]
            self.server.sent.append((name, asked.get("variables")))
            self.answer({"data": self.reply(name, asked.get("variables"))})
        elif self.path.endswith("/file_stream"):
            self.server.sent.append(("file_stream", (self.path.split("/")[-2], json.loads(body))))
            self.answer({})
        else:
            self.answer({})

    def do_PUT(self):
        self.server.sent.append(("file", (self.path, self.read())))
        self.answer({})

    def reply(self, name, variables):
        if name == "UpsertBucket":
            project = {"name": "p", "entity": {"name": "me"}}
            bucket = {"id": "1", "name": variables["name"], "displayName": "", "project": project}
            return {"upsertBucket": {"inserted": True, "bucket": bucket}}
        if name == "CreateArtifact":
            number = base64.b64encode(variables["input"]["artifactCollectionName"].encode())
            artifact = {"id": number.decode(), "state": "COMMITTED", "artifactSequence": {"id": ""}}
            return {"createArtifact": {"artifact": artifact}}
        if name == "UseArtifact":
            return {"useArtifact": {"artifact": {"id": variables["input"]["artifactID"]}}}
        if name == "CreateRunFiles":
            url = f"http://127.0.0.1:{self.server.server_port}/upload"
            files = [{"name": f, "uploadUrl": f"{url}/{f}"} for f in variables["files"]]
            return {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}
        return {}

    def read(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@contextmanager
def wandb_server():
    """The address of a running server, and the list of what it was sent."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.sent = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.sent
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
