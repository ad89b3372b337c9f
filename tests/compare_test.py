"""Comparisons: what is run, what goes on, and what is told of it."""

import csv
import json
import pathlib
import signal
from typing import Any

import numpy as np
from absl.testing import absltest, parameterized

from scripts import comparison
from tests import processes
from tests.script_case import ScriptTestCase

GRID = {
  "title": "Small copies",
  # The preset has the task, and sizes of its own.
  "flags": {"preset": "copy", "num_bits": 1, "max_length": 2}
  | {"hidden_size": 4, "memory_size": 4, "word_size": 3, "batch_size": 2},
  "settings": {"Links": {}, "no links": {"links": "off"}},
  "seeds": 1,
  "updates": 4,
  "report_interval": 2,
  "evaluations": {"8 slots": {"memory_size": 8, "episodes": 4}},
}


class CompareTest(ScriptTestCase):
  def write(self, **changes):
    path = self.folder / "small.json"
    path.write_text(json.dumps(GRID | changes))
    return str(path)

  def test_a_comparison_and_going_on(self):
    path = self.write()
    told = self.run_script("compare", path)
    root = self.folder / "runs" / "small"
    table = (root / "results.md").read_text()
    self.assertIn(table, told)
    self.assertIn("| Links | 1 | ", table)
    self.assertIn("| no links | 1 | ", table)
    self.assertIn(" | 8 slots | 8 slots, units |\n", table)
    self.assertGreater((root / "curves.png").stat().st_size, 5000)
    for setting in ("links", "no_links"):
      config = json.loads((root / setting / "0" / "config.json").read_text())
      links = "dense" if setting == "links" else "off"
      self.assertEqual(config["model"]["links"], links)
      self.assertEqual(config["seed"], 0)
      notes = comparison.read_notes(root / setting / "0")
      self.assertGreater(notes["seconds"], 0)
      self.assertBetween(notes["measured"]["8 slots"]["accuracy"], 0, 1)
    with (root / "results.csv").open() as file:
      rows = list(csv.DictReader(file))
    self.assertEqual([x["setting"] for x in rows], ["Links", "no links"])
    self.assertEqual([x["updates"] for x in rows], ["4", "4"])

    # One more seed: what is done is left as it is, and so it is told. An
    # evaluation that is no longer asked for is no longer told.
    done = root / "links" / "0" / "metrics.csv"
    before = done.stat().st_mtime_ns
    more = {"settings": {"Links": {}}, "seeds": 2, "evaluations": {}}
    again = self.run_script("compare", self.write(**more))
    self.assertIn("2 of 2", again)
    self.assertEqual(done.stat().st_mtime_ns, before)
    table = (root / "results.md").read_text()
    self.assertIn("| Links | 2 | ", table)
    self.assertNotIn("8 slots", table)

    # What is trained further is measured anew.
    folder = root / "links" / "0"
    notes = comparison.read_notes(folder)
    notes["measured"]["8 slots"]["accuracy"] = 7.0
    comparison.write_notes(folder, notes)
    self.run_script("compare", self.write(settings={"Links": {}}, updates=6))
    notes = comparison.read_notes(folder)
    self.assertEqual(notes["measured_of"]["8 slots"]["updates"], 6)
    self.assertBetween(notes["measured"]["8 slots"]["accuracy"], 0, 1)

  def test_together_with_a_stop_and_going_on(self):
    same = {
      "seeds": 2,
      "together": True,
      # Too hard to be learned meanwhile.
      "settings": {"one": {"num_bits": 8, "max_length": 9}},
      "report_interval": 1,
      "evaluations": {},
    }
    path = self.write(updates=100_000, **same)
    metrics = self.folder / "runs" / "small" / "one" / "0" / "metrics.csv"
    child = processes.start_script("compare", path, folder=self.folder)
    processes.wait_until(
      lambda: metrics.is_file() and len(metrics.read_text().splitlines()) > 5,
      child,
    )
    child.send(signal.SIGTERM)
    ended = child.wait()
    self.assertEqual(ended.status, 128 + signal.SIGTERM, ended)
    self.assertIn("Stopped by SIGTERM", ended.stdout)
    first = metrics.read_text().splitlines()
    updates = len(first) + 2
    self.run_script("compare", self.write(updates=updates, **same))
    rows = metrics.read_text().splitlines()
    self.assertEqual(rows[: len(first)], first)
    for seed in (0, 1):
      folder = self.folder / "runs" / "small" / "one" / str(seed)
      config = json.loads((folder / "config.json").read_text())
      self.assertEqual(config["seed"], seed)
      rows = (folder / "metrics.csv").read_text().splitlines()
      self.assertLen(rows, updates + 1)
      self.assertGreater(comparison.read_notes(folder)["seconds"], 0)

  def test_ends_when_learned_and_tells_what_fails(self):
    wrong = {"wrong": {"episodes": 0}}
    path = self.write(settings={"one": {}}, threshold=0.0, evaluations=wrong)
    done = processes.run_script("compare", path, folder=self.folder)
    root = self.folder / "runs" / "small"
    self.assertIn("| 1 of 1 | 2 | ", (root / "results.md").read_text())
    self.assertEqual(done.status, 1)
    self.assertRegex(done.stderr, "1 runs failed: one, seed 0: .*episod")

  def test_a_search(self):
    search = {"learning_rate": [1e-9, 0.01], "num_bits": [1]}
    told = self.run_script(
      "compare", self.write(search=search, evaluations={}, settings={"one": {}})
    )
    self.assertIn("one, learning_rate 0.01, num_bits 1, seed 1000", told)
    root = self.folder / "runs" / "small" / "one"
    tried = {
      rate: comparison.read_outcome(root / "search" / name / "1000", 0, 1, 1)
      for rate, name in (
        ("1e-09", "learning_rate_1e_09_num_bits_1"),
        ("0.01", "learning_rate_0_01_num_bits_1"),
      )
    }
    right = {
      rate: outcome.unit_accuracies[-1]
      for rate, outcome in tried.items()
      if outcome is not None
    }
    best = max(right, key=lambda rate: right[rate])
    config = json.loads((root / "0" / "config.json").read_text())
    self.assertEqual(config["optimiser"]["learning_rate"], float(best))
    table = (self.folder / "runs" / "small" / "results.md").read_text()
    self.assertIn("| setting | seeds | learning_rate | num_bits |", table)
    self.assertIn(f"| one | 1 | {best} | 1 |", table)

  @parameterized.parameters(
    ({"settings": {}}, "at least one setting"),
    ({"settings": {"a b": {}, "A-B": {}}}, "differ in letters or digits"),
    ({"settings": {"a": {"wordsize": 3}}}, "setting 'a': .*wordsize"),
    ({"settings": {"a": {"word_size": 0}}}, "setting 'a': word_size must be"),
    ({"seeds": 0}, "seeds must be at least 1, got 0"),
    ({"threshold": 2}, "threshold must be from 0 to 1, got 2"),
    ({"updates": 5}, "updates must be a multiple of report_interval, 2, got 5"),
    ({"search": {"learning_rate": []}}, "search must be an object of lists"),
    ({"search": {"learning_rat": [1]}}, "setting 'Links': .*learning_rat"),
    ({"search": {"learning_rate": [-1]}}, "setting 'Links': learning_rate"),
    ({"together": 1}, "together must be true or false, got 1"),
    ({"colour": "red"}, "'colour', which is none of title, settings"),
  )
  def test_a_wrong_file_is_refused(self, changes, pattern):
    self.check_refusal(pattern, "compare", self.write(**changes))

  def test_no_file_is_refused(self):
    self.check_refusal("Name the file", "compare")
    self.check_refusal("none.json cannot be read", "compare", "none.json")


class SummaryTest(absltest.TestCase):
  def outcome(self, seed, learned_at, **changes):
    fields = {
      "seed": seed,
      "steps": np.array([100, 200]),
      "lessons": np.array([0, 0]),
      "accuracies": np.array([0.1, 0.5]),
      "unit_accuracies": np.array([0.2, 0.75]),
      "learned_at": learned_at,
      "seconds": 60.0,
      "measured": {"far": {"accuracy": 0.25 * seed, "unit_accuracy": 0.5}},
    }
    return comparison.Outcome(**(fields | changes))

  def summarise(self, outcomes, num_seeds, **changes):
    given: dict[str, Any] = {"num_seeds": num_seeds, "chosen": {}} | changes
    return comparison.summarise(
      "a", outcomes, batch_size=16, num_params=1234, state_bytes=5678, **given
    )

  def test_median_and_range(self):
    outcomes = [
      self.outcome(0, 100),
      self.outcome(1, 200, seconds=120.0),
      self.outcome(2, None),
    ]
    row = self.summarise(outcomes, 4, chosen={"learning_rate": 0.001})
    self.assertEqual(
      row,
      {
        "setting": "a",
        "seeds": "3 of 4",
        "learning_rate": "0.001",
        "learned": "2 of 3",
        "updates": "200 (100 to > 200)",
        "sequences": "3,200",
        "all right": "50.0 %",
        "units right": "75.0 %",
        "minutes": "1.0 (1.0 to 2.0)",
        "parameters": "1,234",
        "state bytes": "5,678",
        "far": "25.0 % (0.0 to 50.0 %)",
        "far, units": "50.0 %",
      },
    )
    row = self.summarise(outcomes[2:], 1)
    self.assertEqual((row["updates"], row["sequences"]), ("> 200", "> 3,200"))
    self.assertEqual(self.summarise([], 3), {"setting": "a", "seeds": "0 of 3"})

  def test_what_was_learned_when(self):
    folder = pathlib.Path(self.create_tempdir().full_path)
    self.assertIsNone(comparison.read_outcome(folder, 0, 0.5, 2))
    (folder / "metrics.csv").write_text(
      "step,lesson,loss,accuracy,unit_accuracy\n"
      "10,0,1.0,0.9,0.9\n20,1,1.0,0.4,0.5\n30,1,0.5,0.6,0.8\n40,1,0.5,0.3,0.8\n"
    )
    outcome = comparison.read_outcome(folder, 3, 0.5, 2)
    assert outcome is not None
    self.assertEqual((outcome.learned_at, outcome.seed), (30, 3))
    never = comparison.read_outcome(folder, 3, 0.7, 2)
    assert never is not None
    self.assertIsNone(never.learned_at)

  def test_a_table(self):
    self.assertEqual(
      comparison.markdown([{"a": "1"}, {"a": "2", "b": "3"}]),
      "| a | b |\n| --- | --- |\n| 1 |  |\n| 2 | 3 |\n",
    )


if __name__ == "__main__":
  absltest.main()
