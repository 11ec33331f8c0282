# An editor without inline completion (Helix, Kate): suggestions come in its completion menu.
send {"id": 1, "method": "initialize", "params": {"processId": null, "clientInfo": {"name": "helix", "version": "25.07"}, "rootUri": "file:///p", "capabilities": {"general": {"positionEncodings": ["utf-8", "utf-32", "utf-16"]}, "textDocument": {"completion": {}}, "window": {"workDoneProgress": true}}, "initializationOptions": {"completion": {"maxTokensSingleLine": 8}}}}
expect {"id": 1, "result": {"capabilities": {"positionEncoding": "utf-8", "completionProvider": {"triggerCharacters": "<any>"}}}}
send {"method": "initialized", "params": {}}
expect {"method": "fimd/status", "params": {"state": "idle"}}
open file:///p/a.rs rust 0 "fn main() {\n    let x = \n}\n"
send {"id": 2, "method": "textDocument/completion", "params": {"textDocument": {"uri": "file:///p/a.rs"}, "position": {"line": 1, "character": 12}, "context": {"triggerKind": 1}}}
expect {"id": 2, "result": {"isIncomplete": true, "items": "<any>"}}
send {"id": 3, "method": "textDocument/completion", "params": {"textDocument": {"uri": "file:///p/none.rs"}, "position": {"line": 1, "character": 12}}}
expect {"id": 3, "error": {"code": -32602}}
send {"id": 4, "method": "shutdown"}
expect {"id": 4, "result": null}
send {"method": "exit"}
exit 0
