# What may be said before initialize, between, after shutdown.
send {"id": 1, "method": "textDocument/inlineCompletion", "params": {}}
expect {"id": 1, "error": {"code": -32002}}
send {"method": "textDocument/didOpen", "params": {}}
initialize 2 nvim-0.12
expect {"id": 2, "result": {"serverInfo": {"name": "fimd"}, "capabilities": {"inlineCompletionProvider": {}}}}
send {"id": 3, "method": "initialize", "params": {"capabilities": {}}}
expect {"id": 3, "error": {"code": -32600}}
send {"method": "initialized", "params": {}}
send {"id": 4, "method": "textDocument/hover", "params": {}}
expect {"id": 4, "error": {"code": -32601}}
send {"id": "five", "method": "textDocument/inlineCompletion", "params": {"textDocument": {"uri": "file:///none"}, "position": {"line": 0, "character": 0}}}
expect {"id": "five", "error": {"code": -32602}}
send {"id": 6, "method": "shutdown"}
expect {"id": 6, "result": null}
send {"method": "exit"}
exit 0
