# Neovim 0.12: utf-8, version 0, debounced changes, no cancelling: the newest request wins.
initialize 1 nvim-0.12
expect {"id": 1, "result": {"capabilities": {"positionEncoding": "utf-8", "textDocumentSync": {"change": 2, "openClose": true}}}}
send {"method": "initialized", "params": {}}
expect {"method": "workspace/configuration", "params": {"items": [{"section": "fimd"}]}}
expect {"method": "fimd/status", "params": {"state": "idle", "model": "<text>", "backend": "<text>"}}
open file:///p/main.py python 0 "def area(w, h):\n    # größe\n    \n"
type file:///p/main.py 3 2 4 "ret"
ask 2 file:///p/main.py 2 7
type file:///p/main.py 4 2 7 "u"
ask 3 file:///p/main.py 2 8
type file:///p/main.py 5 2 8 "rn w"
ask 4 file:///p/main.py 2 12
expect {"id": 2, "result": "<any>"}
expect {"id": 3, "result": "<any>"}
expect {"id": 4, "result": "<any>"}
expect {"method": "fimd/report", "params": {"uri": "file:///p/main.py", "version": 5, "source": "<text>", "cachedTokens": "<number>", "computedTokens": "<number>", "decodedTokens": "<number>", "totalMs": "<number>"}}
# what is not open, or out of the text, is an error; the document is still known
ask 5 file:///p/other.py 0 0
expect {"id": 5, "error": {"code": -32602}}
ask 6 file:///p/main.py 99 0
expect {"id": 6, "error": {"code": -32602}}
ask 7 file:///p/main.py 2 12
expect {"id": 7, "result": "<any>"}
send {"id": 8, "method": "workspace/executeCommand", "params": {"command": "fimd.accepted", "arguments": ["1-0", 3]}}
expect {"id": 8, "result": null}
send {"method": "textDocument/didSave", "params": {"textDocument": {"uri": "file:///p/main.py"}}}
send {"method": "textDocument/didClose", "params": {"textDocument": {"uri": "file:///p/main.py"}}}
ask 9 file:///p/main.py 0 0
expect {"id": 9, "error": {"code": -32602}}
send {"id": 10, "method": "shutdown"}
expect {"id": 10, "result": null}
send {"method": "exit"}
exit 0
