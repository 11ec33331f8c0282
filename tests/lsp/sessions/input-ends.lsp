modes: alone proxy
initialize 1 vscode
expect {"id": 1, "result": {}}
close
exit 1
