#!/usr/bin/env python3
"""Measures completion quality through the real daemon: exact match, and pass@1 where tests exist.

Each item of a JSONL file (plain or .gz) is opened as a document over LSP, the cursor is put where text is
missing, and the first suggestion is compared with the missing text. Two forms of item are read:

  prompt / suffix / canonical_solution [/ test / entry_point]    HumanEval-Infilling
  prefix / suffix / middle [/ path / language]                   any other set

Whole missing lines (the prompt ends in a line break and the answer too) are asked for as an editor would:
with the cursor on an empty line in their place. --raw leaves the text as it is.

Programs are only run with --run-tests, each in its own process with a time and a memory limit.
"""

import argparse
import collections
import concurrent.futures
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "scripts"))
from lsp_client import LspClient, LspError  # noqa: E402

EXTENSIONS = {"python": "py", "c": "c", "cpp": "cc", "javascript": "js", "typescript": "ts", "go": "go",
              "rust": "rs", "java": "java", "lua": "lua", "bash": "sh", "shellscript": "sh"}


def read_items(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            raw = json.loads(line)
            humaneval = "canonical_solution" in raw
            language = raw.get("language", "python" if humaneval else "unknown")
            item = {
                "prefix": raw["prompt"] if humaneval else raw["prefix"],
                "suffix": raw["suffix"],
                "middle": raw["canonical_solution"] if humaneval else raw["middle"],
                "path": raw.get("path") or "solution." + EXTENSIONS.get(language, "py" if humaneval else "txt"),
                "language": language,
                "test": raw.get("test"),
                "entry_point": raw.get("entry_point"),
                "name": raw.get("task_id", f"{os.path.basename(path)}:{number}"),
            }
            yield item


def place_cursor(item, raw):
    """(text before, text after, wanted): an empty line stands where whole lines are missing."""
    before, after, wanted = item["prefix"], item["suffix"], item["middle"]
    whole_lines = wanted.endswith("\n") and (before.endswith("\n") or not before)
    if whole_lines and not raw:
        return before, "\n" + after, wanted[:-1]
    return before, after, wanted


def complete(client, number, item, raw):
    before, after, wanted = place_cursor(item, raw)
    uri = f"file:///eval/{number}/{item['path']}"
    client.notify("textDocument/didOpen", {"textDocument": {
        "uri": uri, "languageId": item["language"], "version": 1, "text": before + after}})
    line = before.count("\n")
    column = len(before) - (before.rfind("\n") + 1)
    start = time.monotonic()
    result = None
    for _ in range(600):  # while the model is still loading
        try:
            result = client.request("textDocument/inlineCompletion", {
                "textDocument": {"uri": uri},
                "position": {"line": line, "character": column},
                "context": {"triggerKind": 2},
            })
            break
        except LspError as error:
            if "load" not in str(error):
                raise
            time.sleep(0.1)
    elapsed_ms = (time.monotonic() - start) * 1e3
    client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    items = result["items"] if isinstance(result, dict) else (result or [])
    if not items:
        return before, after, wanted, "", elapsed_ms
    first = items[0]
    text = first["insertText"]
    if isinstance(text, dict):
        text = text["value"]
    # A range beside the cursor replaces text there.
    lines = (before + after).split("\n")
    edit = first.get("range") or {"start": {"line": line, "character": column},
                                  "end": {"line": line, "character": column}}
    begin, end = edit["start"]["character"], edit["end"]["character"]
    typed = lines[line][begin:column]
    if typed and text.startswith(typed):
        text = text[len(typed):]
    consumed = end - column
    return before, after[consumed:], wanted, text, elapsed_ms


def limit_resources():
    resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


def passes(item, before, text, after):
    program = f"{before}{text}{after}\n{item['test']}\ncheck({item['entry_point']})\n"
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run([sys.executable, "-I", "-c", program], cwd=folder, timeout=15,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, preexec_fn=limit_resources)
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="JSONL files, plain or .gz")
    parser.add_argument("--fimd", default="build/release/lsp/fimd", help="the program to measure")
    parser.add_argument("--limit", type=int, default=0, help="only the first N items of each file")
    parser.add_argument("--raw", action="store_true", help="ask in the raw text, not on an empty line")
    parser.add_argument("--multi-line", action="store_true", help="let suggestions have several lines")
    parser.add_argument("--run-tests", action="store_true", help="also run the items' tests (pass@1)")
    parser.add_argument("--output", help="write every item's suggestion as JSONL")
    arguments = parser.parse_args()

    client = LspClient(arguments.fimd, {"completion": {"multi_line": arguments.multi_line}})
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count())
    records = []
    for path in arguments.files:
        for number, item in enumerate(read_items(path)):
            if arguments.limit and number >= arguments.limit:
                break
            before, after, wanted, text, ms = complete(client, number, item, arguments.raw)
            record = {"file": os.path.basename(path), "name": item["name"], "language": item["language"],
                      "wanted": wanted, "got": text, "ms": round(ms, 1),
                      "exact": text.strip() == wanted.strip()}
            if arguments.run_tests and item["test"]:
                record["pass"] = pool.submit(passes, item, before, text, after)
            records.append(record)
            if sys.stderr.isatty() and number % 20 == 0:
                print(f"\r{os.path.basename(path)} {number}", end="", file=sys.stderr)
    client.close()
    for record in records:
        if "pass" in record:
            record["pass"] = record["pass"].result()

    groups = collections.defaultdict(list)
    for record in records:
        groups[(record["file"], record["language"])].append(record)
        groups[(record["file"], "all")].append(record)
    print(f"{'file':44} {'language':12} {'items':>6} {'exact':>7} {'shown':>7} {'pass@1':>7} {'median ms':>10}")
    for (file, language), group in sorted(groups.items()):
        exact = 100 * sum(r["exact"] for r in group) / len(group)
        shown = 100 * sum(bool(r["got"]) for r in group) / len(group)
        tested = [r["pass"] for r in group if "pass" in r]
        pass_at_1 = f"{100 * sum(tested) / len(tested):6.1f}%" if tested else "      -"
        median = sorted(r["ms"] for r in group)[len(group) // 2]
        print(f"{file[:44]:44} {language:12} {len(group):6} {exact:6.1f}% {shown:6.1f}% {pass_at_1} {median:10.1f}")
    if arguments.output:
        with open(arguments.output, "w", encoding="utf-8") as out:
            for record in records:
                out.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
