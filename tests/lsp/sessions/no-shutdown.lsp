# exit without shutdown is an error, and so is an input that just ends.
modes: alone proxy
initialize 1 vscode
expect {"id": 1, "result": {"capabilities": {"positionEncoding": "utf-16"}}}
send {"method": "initialized", "params": {}}
send {"method": "exit"}
exit 1
