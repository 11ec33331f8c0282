# The daemon is killed between and during requests: typing goes on as if nothing had happened.
modes: proxy
initialize 1 nvim-0.12
expect {"id": 1, "result": {"capabilities": {"positionEncoding": "utf-8"}}}
send {"method": "initialized", "params": {}}
expect {"method": "fimd/status", "params": {"state": "idle"}}
open file:///p/a.py python 0 "def f():\n    \n"
open file:///p/b.py python 7 "x = 1\n"
type file:///p/a.py 3 1 4 "ré"
ask 2 file:///p/a.py 1 7
expect {"id": 2, "result": "<any>"}
kill-daemon
type file:///p/a.py 4 1 7 "t"
ask 3 file:///p/a.py 1 8
expect {"id": 3, "result": "<any>"}
expect {"method": "fimd/report", "params": {"uri": "file:///p/a.py", "version": 4, "outcome": "<text>"}}
# the other document is known to the new daemon too, in its version
send {"id": 4, "method": "textDocument/inlineCompletion", "params": {"textDocument": {"uri": "file:///p/b.py", "version": 7}, "position": {"line": 0, "character": 5}, "context": {"triggerKind": 2}}}
expect {"id": 4, "result": "<any>"}
# positions go on in the encoding agreed on: byte 8 is the end of the line
ask 5 file:///p/a.py 1 8
kill-daemon
expect {"id": 5, "result": "<any>"}
type file:///p/b.py 8 0 5 "2"
kill-daemon
ask 6 file:///p/b.py 0 6
expect {"id": 6, "result": "<any>"}
never window/showMessage
send {"id": 7, "method": "shutdown"}
expect {"id": 7, "result": null}
send {"method": "exit"}
exit 0
