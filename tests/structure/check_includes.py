#!/usr/bin/env python3
"""Checks who includes whom: the rules of docs/architecture.md, read from the #include lines.

usage: check_includes.py [PROJECT_ROOT]      exit 1 and a line per violation if a rule is broken
"""

import pathlib
import re
import sys

# Folder -> folders whose headers it may include (besides its own).
MAY_INCLUDE = {
    "support": set(),
    "kernels": {"support"},
    "engine": {"kernels", "support"},
    "context": {"support"},
    "completion": {"context", "engine", "support"},
    "lsp": {"completion", "context", "engine", "support"},
}

# Files that the upper folders may include from engine/: the seam, not what is behind it.
ENGINE_SEAM = {"engine/generator.h", "engine/load.h", "engine/model_file.h"}

# Library headers -> the folders (or files, by prefix) that may use them.
LIBRARY_RULES = [
    (re.compile(r"^nlohmann/"), ("lsp/", "engine/")),
    (re.compile(r"^boost/asio"), ("lsp/", "engine/generators/remote")),
    (re.compile(r"^tree_sitter/"), ("context/",)),
    (re.compile(r"^(cuda|cublas|cuda_runtime|mma)"), ("kernels/", "engine/")),
    (re.compile(r"^(CLI/|toml\+\+/)"), ("lsp/",)),
    (re.compile(r"^pcre2"), ("engine/tokenizer/",)),
    (re.compile(r"^spdlog/"), ("support/log.cc",)),
]

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')


def violations(root):
    for folder, allowed in MAY_INCLUDE.items():
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in {".h", ".cc", ".cu", ".cuh"}:
                continue
            name = path.relative_to(root).as_posix()
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                match = INCLUDE.match(line)
                if not match:
                    continue
                header = match.group(2)
                target = header.split("/")[0]
                if target in MAY_INCLUDE and "/" in header:
                    if target != folder and target not in allowed:
                        yield f"{name}:{number}: {folder}/ may not include {header}"
                    if folder in {"completion", "lsp"} and target == "engine" and header not in ENGINE_SEAM \
                            and not header.startswith("engine/tokenizer/"):
                        yield f"{name}:{number}: {folder}/ may include only engine's seam, not {header}"
                for pattern, users in LIBRARY_RULES:
                    if pattern.match(header) and not name.startswith(users):
                        yield f"{name}:{number}: {header} stays in {', '.join(users)}"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    found = list(violations(root))
    for line in found:
        print(line)
    if not found:
        print("include rules hold")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
