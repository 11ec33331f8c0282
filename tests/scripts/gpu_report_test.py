"""scripts/gpu_report.py: parts that ran replace what the report had of them, others stay."""

import json
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import gpu_report  # noqa: E402

DOCTEST = "[doctest] test cases: {0} | {0} passed\n[doctest] assertions: 9\n[doctest] Status: SUCCESS!\n"


class GpuReport(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.work = pathlib.Path(folder.name)
        self.result = str(self.work / "gpu-2026-01-01-abc")

    def leave(self, n_tests, ms):
        (self.work / "tests.txt").write_text("noise\n" + DOCTEST.format(n_tests))
        (self.work / "kernels.json").write_text(json.dumps([{"us": ms}]))
        (self.work / "engine.json").write_text(json.dumps({"commit": "abc", "models": [{"ms": ms}]}))
        (self.work / "engine.md").write_text(f"# GPU\n\n| ms | {ms} |\n")
        (self.work / "session.txt").write_text(f"key {ms}\n\n")

    def report(self, parts, failed="", sanitizer=None):
        arguments = [str(self.work), self.result, "580.1", parts, failed]
        gpu_report.main(arguments + ([sanitizer] if sanitizer is not None else []))
        return json.loads(pathlib.Path(self.result + ".json").read_text())

    def text(self):
        return pathlib.Path(self.result + ".md").read_text()

    def test_whole(self):
        self.leave(86, 2.5)
        report = self.report("tests,sanitizer,kernels,models,sessions", "", "clean")
        self.assertEqual(list(report["parts"].values()), ["passed"] * 5)
        self.assertIn("86 passed", report["tests"][0])
        self.assertEqual(report["models"], [{"ms": 2.5}])
        self.assertIn("| ms | 2.5 |", self.text())
        self.assertIn("compute-sanitizer: clean.", self.text())
        self.assertIn("key 2.5", self.text())

    def test_parts_one_after_another(self):
        self.leave(86, 2.5)
        self.report("models,sessions")
        self.assertNotIn("tests", json.loads(pathlib.Path(self.result + ".json").read_text()))
        self.assertNotIn("compute-sanitizer", self.text())
        self.leave(87, 9.0)
        report = self.report("tests,kernels", "tests")
        self.assertEqual(
            report["parts"],
            {"tests": "failed", "kernels": "passed", "models": "passed", "sessions": "passed"},
        )
        self.assertIn("87 passed", report["tests"][0])
        self.assertEqual(report["kernels"], [{"us": 9.0}])
        self.assertEqual(report["models"], [{"ms": 2.5}])
        self.assertIn("tests failed, kernels passed", self.text())
        self.assertIn("key 2.5", self.text())

    def test_nothing_timed(self):
        (self.work / "tests.txt").write_text(DOCTEST.format(1))
        self.report("tests,models", "models")
        self.assertIn("# No model was timed", self.text())
        self.assertIn("tests passed, models failed", self.text())


if __name__ == "__main__":
    unittest.main()
