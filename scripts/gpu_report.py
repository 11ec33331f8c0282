"""Writes down what scripts/gpu-check measured: RESULT.json and RESULT.md.

usage: gpu_report.py WORK RESULT DRIVER PARTS FAILED [SANITIZER]
  WORK       the folder of what the parts left: tests.txt, kernels.json, engine.json, engine.md, session.txt
  RESULT     path without extension
  PARTS      which parts ran, with commas between; those that did not stay as RESULT.json has them
  FAILED     those of them that failed, likewise
  SANITIZER  what compute-sanitizer found, if it ran
"""

import json
import pathlib
import sys

ORDER = ["tests", "sanitizer", "kernels", "models", "sessions"]


def names(text):
    return [name for name in text.split(",") if name]


def merge(report, work, driver, parts, failed, sanitizer):
    """The report, with what `parts` left in `work` in place of what it had of them."""
    report = dict(report)
    report["driver_version"] = driver
    outcome = dict(report.get("parts", {}))
    for part in parts:
        outcome[part] = "failed" if part in failed else "passed"
    report["parts"] = {part: outcome[part] for part in ORDER if part in outcome}
    if "tests" in parts:
        lines = (work / "tests.txt").read_text().splitlines()
        report["tests"] = [line for line in lines if "[doctest]" in line][-3:]
    if "sanitizer" in parts:
        report["compute_sanitizer"] = sanitizer
    if "kernels" in parts and (work / "kernels.json").exists():
        report["kernels"] = json.loads((work / "kernels.json").read_text())
    if "models" in parts and (work / "engine.json").exists():
        report.update(json.loads((work / "engine.json").read_text()))
        report["table"] = (work / "engine.md").read_text()
    if "sessions" in parts and (work / "session.txt").exists():
        report["sessions"] = (work / "session.txt").read_text()
    return report


def markdown(report):
    text = report.get("table", "# No model was timed\n")
    said = [f"{part} {outcome}" for part, outcome in report["parts"].items()]
    text += f"\nDriver {report['driver_version']}. Parts of `scripts/gpu-check`: {', '.join(said)}.\n"
    if "compute_sanitizer" in report:
        text += f"compute-sanitizer: {report['compute_sanitizer']}.\n"
    if report.get("sessions"):
        command = "fimd bench keystrokes tests/data/demo/tableutils.py --backend cuda --model ..."
        text += f"\n`{command}`:\n\n```\n{report['sessions'].rstrip()}\n```\n"
    return text


def main(arguments):
    if not 5 <= len(arguments) <= 6:
        sys.exit(__doc__)
    work, result, driver, parts, failed = arguments[:5]
    sanitizer = arguments[5] if len(arguments) == 6 else ""
    path = pathlib.Path(result + ".json")
    before = json.loads(path.read_text()) if path.exists() else {}
    report = merge(before, pathlib.Path(work), driver, names(parts), names(failed), sanitizer)
    path.write_text(json.dumps(report, indent=1) + "\n")
    pathlib.Path(result + ".md").write_text(markdown(report))


if __name__ == "__main__":
    main(sys.argv[1:])
