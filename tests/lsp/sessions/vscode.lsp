# VS Code: utf-16, cancels what it no longer wants, asks again (invoked) to cycle.
initialize 0 vscode
expect {"id": 0, "result": {"capabilities": {"positionEncoding": "utf-16", "workspace": {"workspaceFolders": {"supported": true}}}}}
send {"method": "initialized", "params": {}}
expect {"method": "client/registerCapability", "params": {"registrations": [{"method": "workspace/didChangeConfiguration"}]}}
expect {"method": "fimd/status", "params": {"state": "idle"}}
open file:///home/user/project/a.ts typescript 1 "const s = '😀é';\nfunction f(x: number) {\n  return \n}\n"
type file:///home/user/project/a.ts 2 0 14 "😀"
ask 1 file:///home/user/project/a.ts 0 16
send {"method": "$/cancelRequest", "params": {"id": 1}}
expect {"id": 1}
ask 2 file:///home/user/project/a.ts 2 9 1
expect {"id": 2, "result": "<any>"}
send {"id": 3, "method": "textDocument/inlineCompletion", "params": {"textDocument": {"uri": "file:///home/user/project/a.ts", "version": 1}, "position": {"line": 2, "character": 9}, "context": {"triggerKind": 2}}}
expect {"id": 3, "error": {"code": -32801}}
send {"id": 4, "method": "textDocument/inlineCompletion", "params": {"textDocument": {"uri": "file:///home/user/project/a.ts"}, "position": {"line": 2, "character": 9}, "context": {"triggerKind": 2, "selectedCompletionInfo": {"range": {"start": {"line": 2, "character": 2}, "end": {"line": 2, "character": 9}}, "text": "return Math"}}}}
expect {"id": 4, "result": "<any>"}
send {"method": "workspace/didChangeWorkspaceFolders", "params": {"event": {"added": [{"uri": "file:///tmp/x", "name": "x"}], "removed": [{"uri": "file:///home/user/project", "name": "ws"}]}}}
send {"method": "workspace/didChangeConfiguration", "params": {"settings": null}}
expect {"method": "workspace/configuration"}
send {"method": "$/setTrace", "params": {"value": "messages"}}
send {"method": "textDocument/didFocus", "params": {"textDocument": {"uri": "file:///home/user/project/a.ts"}}}
expect {"method": "$/logTrace", "params": {"message": "<text>"}}
send {"method": "$/setTrace", "params": {"value": "off"}}
send {"id": 5, "method": "shutdown"}
expect {"id": 5, "result": null}
send {"method": "exit"}
exit 0
