#!/usr/bin/env python3
"""Types lines of real files into fimd over LSP, one character at a time, and shows what comes back.

A daemon of its own is started (its socket in a temporary folder) and stopped at the end; a daemon that is
already running is not touched.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from lsp_client import LspClient, LspError

LANGUAGES = {".py": "python", ".ts": "typescript", ".cc": "cpp", ".h": "cpp", ".hpp": "cpp", ".go": "go"}
GHOST, BOLD, PLAIN = ("\033[2;36m", "\033[1m", "\033[0m") if sys.stdout.isatty() else ("‹", "", "›")


class Typist:
    """Owns one document and types into it."""

    def __init__(self, client, path, text, line):
        self.client, self.uri = client, "file://" + path
        self.lines = text.split("\n")
        self.wanted = self.lines[line]  # what will be typed
        self.line, self.typed, self.version = line, "", 1
        self.lines[line] = ""
        client.notify("textDocument/didOpen", {"textDocument": {
            "uri": self.uri, "languageId": LANGUAGES.get(os.path.splitext(path)[1], "plaintext"),
            "version": 1, "text": "\n".join(self.lines)}})

    def key(self, character):
        column = len(self.typed)
        here = {"line": self.line, "character": column}
        self.version += 1
        self.typed += character
        self.client.notify("textDocument/didChange", {
            "textDocument": {"uri": self.uri, "version": self.version},
            "contentChanges": [{"range": {"start": here, "end": here}, "text": character}]})

    def complete(self):
        """(ghost text, milliseconds, report) at the cursor."""
        start = time.monotonic()
        result = self.client.request("textDocument/inlineCompletion", {
            "textDocument": {"uri": self.uri},
            "position": {"line": self.line, "character": len(self.typed)},
            "context": {"triggerKind": 2}})
        milliseconds = (time.monotonic() - start) * 1e3
        report = self.client.wait_for("fimd/report")
        items = result["items"] if isinstance(result, dict) else (result or [])
        ghost = items[0]["insertText"] if items else ""
        return ghost, milliseconds, report

    def close(self):
        self.client.notify("textDocument/didClose", {"textDocument": {"uri": self.uri}})


def interesting_lines(text, count):
    """Indices of `count` code lines spread over the second half of a file."""
    lines = text.split("\n")
    code = [i for i in range(len(lines) // 2, len(lines))
            if 16 <= len(lines[i].strip()) <= 70 and lines[i].strip()[0].isalpha()]
    step = max(1, len(code) // count)
    return code[::step][:count]


def type_line(typist, fast, totals):
    indent = len(typist.wanted) - len(typist.wanted.lstrip())
    for character in typist.wanted[:indent]:
        typist.key(character)
    print(f"\n  line {typist.line + 1}: {BOLD}{typist.wanted.strip()}{PLAIN if BOLD else ''}")
    print(f"  {'reply':>8} {'reused':>7} {'computed':>8} {'decoded':>7}  source")
    accepted = False
    for at in range(indent, len(typist.wanted) + 1):
        if at > indent:
            typist.key(typist.wanted[at - 1])
            if not fast:
                time.sleep(0.03)  # a person's pace
        ghost, milliseconds, report = typist.complete()
        rest = typist.wanted[at:]
        first = totals["cold"] is None
        if first:
            totals["cold"] = milliseconds
        elif report["source"] == "model":
            totals["model"].append(milliseconds)
            totals["computed"].append(report["computedTokens"])
        else:
            totals["cached"].append(milliseconds)
        shown = ghost.replace("\n", "⏎")
        print(f"  {milliseconds:6.1f}ms {report['cachedTokens']:7} {report['computedTokens']:8} "
              f"{report['decodedTokens']:7}  {report['source']:15} {typist.typed.lstrip()}{GHOST}{shown}{PLAIN}"
              f"{'   (cold)' if first else ''}")
        if rest and ghost.split("\n")[0].rstrip() == rest.rstrip():
            print(f"  accepted: {at - indent} of {len(typist.wanted) - indent} characters were typed")
            totals["saved"] += len(rest)
            accepted = True
            break
    totals["characters"] += len(typist.wanted) - indent
    totals["lines"] += 1
    totals["accepted"] += accepted


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fimd", default="build/release/lsp/fimd")
    parser.add_argument("--file", action="append", help="a source file to type into (default: tests/data/demo)")
    parser.add_argument("--lines", type=int, default=3, help="lines to type in each file")
    parser.add_argument("--fast", action="store_true", help="no pause between keys")
    arguments = parser.parse_args()
    files = arguments.file or sorted(
        os.path.join("tests/data/demo", name) for name in os.listdir("tests/data/demo")
        if os.path.splitext(name)[1] in LANGUAGES)

    folder = tempfile.mkdtemp(prefix="fimd-demo-")
    environment = {"XDG_RUNTIME_DIR": folder, "XDG_CONFIG_HOME": folder, "XDG_STATE_HOME": folder}
    fimd = os.path.abspath(arguments.fimd)
    totals = {"cold": None, "model": [], "cached": [], "computed": [], "saved": 0, "characters": 0,
              "lines": 0, "accepted": 0}
    try:
        started = time.monotonic()
        client = LspClient(fimd, {"editor": {"reports": True, "status": "on"}}, folder=os.path.abspath("."), environment=environment)
        status = client.wait_for("fimd/status", lambda s: s["state"] in ("idle", "error"))
        if status["state"] == "error":
            sys.exit(f"demo: {status.get('message', 'the model did not load')}")
        print(f"daemon and model ready after {time.monotonic() - started:.2f} s: "
              f"{status['model']} on {status['backend']}")
        for path in files:
            text = open(path, encoding="utf-8").read()
            print(f"\n{BOLD}{path}{PLAIN if BOLD else ''} ({len(text.splitlines())} lines)")
            for line in interesting_lines(text, arguments.lines):
                typist = Typist(client, os.path.abspath(path), text, line)
                type_line(typist, arguments.fast, totals)
                typist.close()
        client.close()
    except LspError as error:
        sys.exit(f"demo: the daemon answered with an error: {error}")
    finally:
        subprocess.run([fimd, "stop"], env={**os.environ, **environment}, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(folder, ignore_errors=True)

    print(f"\ncold first reply        {totals['cold']:.0f} ms")
    if totals["model"]:
        print(f"keystroke, model asked  median {statistics.median(totals['model']):.0f} ms, "
              f"{statistics.median(totals['computed']):.0f} tokens computed "
              f"({len(totals['model'])} keystrokes)")
    if totals["cached"]:
        print(f"keystroke, typed along  median {statistics.median(totals['cached']):.1f} ms "
              f"({len(totals['cached'])} keystrokes)")
    print(f"lines completed         {totals['accepted']} of {totals['lines']}; "
          f"{totals['saved']} of {totals['characters']} characters not typed")


if __name__ == "__main__":
    main()
