"""The smallest LSP client that can open documents, edit them and ask for inline completions.

Used by scripts/demo and tests/eval/infill.py. It runs `fimd lsp` and speaks through its stdin and stdout.
"""

import json
import os
import subprocess


class LspError(Exception):
    """An error response; `.code` is JSON-RPC's."""

    def __init__(self, error):
        super().__init__(error.get("message", ""))
        self.code = error.get("code")


class LspClient:
    def __init__(self, fimd, options=None, folder=None, environment=None):
        """Starts `fimd lsp`; `options` are the initializationOptions, `folder` the workspace folder."""
        self.notifications = []  # (method, params) of the server, oldest first
        self.process = subprocess.Popen([fimd, "lsp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env={**os.environ, **(environment or {})})
        self.next_id = 0
        folders = [{"uri": "file://" + folder, "name": os.path.basename(folder)}] if folder else None
        self.server = self.request("initialize", {
            "processId": os.getpid(),
            "rootUri": None,
            "workspaceFolders": folders,
            "capabilities": {"general": {"positionEncodings": ["utf-32"]}},
            "initializationOptions": options or {},
        })
        self.notify("initialized", {})

    def send(self, message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def receive(self):
        length = 0
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError("fimd lsp ended; its messages are above")
            line = line.strip()
            if not line:
                break
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return json.loads(self.process.stdout.read(length))

    def notify(self, method, params):
        self.send({"method": method, "params": params})

    def request(self, method, params):
        """The result of a request; raises LspError. Answers what the server asks meanwhile."""
        self.next_id += 1
        wanted = self.next_id
        self.send({"id": wanted, "method": method, "params": params})
        while True:
            message = self.receive()
            if "method" in message:
                self.handle(message)
            elif message.get("id") == wanted:
                if "error" in message:
                    raise LspError(message["error"])
                return message["result"]

    def handle(self, message):
        if "id" not in message:
            self.notifications.append((message["method"], message.get("params")))
            return
        items = (message.get("params") or {}).get("items", [])
        asked_for_settings = message["method"] == "workspace/configuration"
        self.send({"id": message["id"], "result": [None] * len(items) if asked_for_settings else None})

    def wait_for(self, method, accept=lambda params: True):
        """The parameters of the next (or a kept) notification that `accept` takes."""
        while True:
            for i, (name, params) in enumerate(self.notifications):
                if name == method and accept(params):
                    del self.notifications[: i + 1]
                    return params
            self.handle(self.receive())

    def close(self):
        self.request("shutdown", None)
        self.notify("exit", None)
        self.process.wait(timeout=10)
