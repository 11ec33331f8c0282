# lsp-mode 10: utf-32, "inlineCompletion": null.
initialize 1 emacs-lsp-mode-10
expect {"id": 1, "result": {"capabilities": {"positionEncoding": "utf-32", "inlineCompletionProvider": {}}}}
send {"method": "initialized", "params": {}}
expect {"method": "fimd/status", "params": {"state": "idle"}}
open file:///home/user/project/x.go go 0 "package main\n// 😀\nfunc main() {\n\t\n}\n"
type file:///home/user/project/x.go 1 1 4 "!"
ask 2 file:///home/user/project/x.go 1 5
expect {"id": 2, "result": "<any>"}
ask 3 file:///home/user/project/x.go 3 1
send {"method": "$/cancelRequest", "params": {"id": 3}}
expect {"id": 3}
send {"id": 4, "method": "shutdown", "params": null}
expect {"id": 4, "result": null}
send {"method": "exit", "params": null}
exit 0
