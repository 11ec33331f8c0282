# The shipped model documents by filling in; the other commands say what is missing.
model: models/fimd-small.gguf
send {"id": 1, "method": "initialize", "params": {"processId": null, "capabilities": {"experimental": {"fimdCommands": true}}}}
expect {"id": 1, "result": {"capabilities": {"codeActionProvider": {"codeActionKinds": ["quickfix", "refactor.rewrite"]}, "executeCommandProvider": {"commands": ["fimd.accepted", "fimd.explain", "fimd.refactor", "fimd.fix", "fimd.document", "fimd.review"], "workDoneProgress": true}}}}
send {"method": "initialized", "params": {}}
open file:///p/a.py python 4 "import json\n\n\ndef read_config(path, default=None):\n    if not path:\n        return default\n    with open(path) as f:\n        return json.load(f)\n"
send {"id": 2, "method": "workspace/executeCommand", "params": {"command": "fimd.document", "workDoneToken": 7, "arguments": [{"textDocument": {"uri": "file:///p/a.py", "version": 4}, "range": {"start": {"line": 5, "character": 3}, "end": {"line": 5, "character": 3}}, "partialResultToken": "p"}]}}
expect {"method": "$/progress", "params": {"token": 7, "value": {"kind": "begin", "title": "<text>", "cancellable": true}}}
expect {"method": "$/progress", "params": {"token": "p", "value": {"kind": "start"}}}
expect {"method": "$/progress", "params": {"token": 7, "value": {"kind": "end"}}}
expect {"id": 2, "result": {"kind": "edit", "title": "Document read_config", "textDocument": {"uri": "file:///p/a.py", "version": 4}, "range": {"start": {"line": 4, "character": 0}, "end": {"line": 4, "character": 0}}, "newText": "<text>"}}
send {"id": 3, "method": "workspace/executeCommand", "params": {"command": "fimd.explain", "arguments": [{"textDocument": {"uri": "file:///p/a.py"}, "range": {"start": {"line": 5, "character": 3}, "end": {"line": 5, "character": 3}}}]}}
expect {"id": 3, "error": {"code": -32803, "message": "<text>"}}
send {"id": 4, "method": "textDocument/codeAction", "params": {"textDocument": {"uri": "file:///p/a.py"}, "range": {"start": {"line": 5, "character": 3}, "end": {"line": 5, "character": 3}}, "context": {"diagnostics": []}}}
expect {"id": 4, "result": [{"title": "Write documentation", "kind": "refactor.rewrite", "command": {"command": "fimd.document", "arguments": [{"textDocument": {"uri": "file:///p/a.py"}, "range": {"start": {"line": 5, "character": 3}}}]}}]}
send {"id": 5, "method": "shutdown"}
expect {"id": 5, "result": null}
send {"method": "exit"}
exit 0
