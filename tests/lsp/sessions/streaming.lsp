# A partialResultToken: everything comes as $/progress, the last with the final items; the reply is empty.
initialize 1 vscode
expect {"id": 1, "result": {}}
send {"method": "initialized", "params": {}}
expect {"method": "fimd/status", "params": {"state": "idle"}}
open file:///p/a.py python 1 "def f(x):\n    return \n"
send {"id": 2, "method": "textDocument/inlineCompletion", "params": {"textDocument": {"uri": "file:///p/a.py"}, "position": {"line": 1, "character": 11}, "context": {"triggerKind": 1}, "partialResultToken": "t-1"}}
expect {"method": "$/progress", "params": {"token": "t-1", "value": "<any>"}}
expect {"id": 2, "result": {"items": []}}
send {"id": 3, "method": "shutdown"}
expect {"id": 3, "result": null}
send {"method": "exit"}
exit 0
