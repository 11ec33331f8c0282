# A model that chats (what it says is noise): an answer that streams, and one that is cancelled.
model: tests/fixtures/qwen3-chat-tiny.gguf
send {"id": 1, "method": "initialize", "params": {"processId": null, "capabilities": {"experimental": {"fimdCommands": true}}}}
expect {"id": 1, "result": {}}
send {"method": "initialized", "params": {}}
open file:///p/a.go go 1 "package a\n\nfunc Add(a, b int) int {\n\treturn a + b\n}\n"
send {"id": 2, "method": "workspace/executeCommand", "params": {"command": "fimd.explain", "arguments": [{"textDocument": {"uri": "file:///p/a.go"}, "range": {"start": {"line": 3, "character": 3}, "end": {"line": 3, "character": 3}}, "partialResultToken": 11}]}}
expect {"method": "$/progress", "params": {"token": 11, "value": {"kind": "start"}}}
expect {"method": "$/progress", "params": {"token": 11, "value": {"kind": "text", "text": "<text>"}}}
expect {"id": 2, "result": {"kind": "markdown", "text": "<text>", "truncated": "<any>"}}
# In one write, so that the answer cannot be complete before.
bytes "Content-Length: 301\r\n\r\n{\"id\": 3, \"method\": \"workspace/executeCommand\", \"params\": {\"command\": \"fimd.review\", \"arguments\": [{\"textDocument\": {\"uri\": \"file:///p/a.go\"}, \"range\": {\"start\": {\"line\": 3, \"character\": 3}, \"end\": {\"line\": 3, \"character\": 3}}, \"instruction\": \"rename a\", \"partialResultToken\": 12}]}, \"jsonrpc\": \"2.0\"}Content-Length: 68\r\n\r\n{\"jsonrpc\": \"2.0\", \"method\": \"$/cancelRequest\", \"params\": {\"id\": 3}}"
expect {"id": 3, "error": {"code": -32800}}
send {"id": 4, "method": "workspace/executeCommand", "params": {"command": "fimd.refactor", "arguments": [{"textDocument": {"uri": "file:///p/a.go"}, "range": {"start": {"line": 3, "character": 3}, "end": {"line": 3, "character": 3}}}]}}
expect {"id": 4, "error": {"code": -32602, "message": "`refactor` wants to be told what to do"}}
send {"id": 5, "method": "shutdown"}
expect {"id": 5, "result": null}
send {"method": "exit"}
exit 0
