# Bytes that are no messages get errors, and the session goes on.
bytes "nonsense without a header\r\n\r\n"
expect {"id": null, "error": {"code": -32700}}
bytes "Content-Length: 9\r\n\r\n{\"id\":1,,"
expect {"id": null, "error": {"code": -32700}}
bytes "Content-Length: 2\r\n\r\n[]"
expect {"id": null, "error": {"code": -32600}}
bytes "Content-Length: 70000000\r\n"
bytes "Content-Length: 5\r\n\r\n"
expect {"id": null, "error": {"code": -32700}}
initialize 1 nvim-0.12
expect {"id": 1, "result": {}}
send {"method": "initialized", "params": {}}
expect {"method": "fimd/status", "params": {"state": "idle"}}
bytes "content-length : 46\n\n{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"no/such\"}   "
expect {"id": 2, "error": {"code": -32601}}
send {"id": 3, "method": "textDocument/inlineCompletion", "params": {"textDocument": 7}}
expect {"id": 3, "error": {"code": -32602}}
send {"method": "textDocument/didOpen", "params": {"textDocument": {"uri": 7}}}
send {"method": "textDocument/didChange", "params": []}
open file:///a.py python 0 "x = \ud83d\ude00\n"
type file:///a.py 1 77 0 "outside"
expect {"method": "window/logMessage", "params": {"type": 1}}
ask 4 file:///a.py 0 0
expect {"id": 4, "error": {"code": -32801}}
bytes "Content-Length: 89\r\n\r\n[{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"no/such\"},{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"neither\"}]"
expect [{"id": 5, "error": {"code": -32601}}, {"id": 6, "error": {"code": -32601}}]
send {"id": 7, "method": "shutdown"}
expect {"id": 7, "result": null}
send {"method": "exit"}
exit 0
