"""A run that was stopped goes on as if it never had been."""

import dataclasses
import json
import pathlib
import shutil
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax.checkpoint import Checkpoints
from dnc_jax.training import OptimiserConfig
from scripts.run import Run
from scripts.saved import RunConfig
from tests import processes
from tests.resume_case import (
  CONFIGS,
  COPY_OPTIONS,
  FLAGS,
  REPEAT_COPY,
  REPORT_INTERVAL,
  STEPS,
  ResumeTestCase,
  assert_same_run,
  files,
  restore,
  train,
)


class InProcessTest(ResumeTestCase):
  @parameterized.named_parameters(
    (f"{name}_{'_'.join(map(str, stops))}_{interval}", name, stops, interval)
    for name, stops, interval in (
      ("repeat_copy", (1,), -1),
      ("repeat_copy", (7,), -1),
      ("repeat_copy", (9,), 4),
      ("repeat_copy", (5, 8, 8, 11), 3),
      ("padded", (4,), -1),
      ("dropped", (3,), -1),
      ("ladder", (13,), -1),
      ("ladder", (10, 11), 4),
      ("traversal", (5,), -1),
      ("traversal", (7, 13), 2),
    )
  )
  def test_stops_anywhere(self, name, stops, checkpoint_interval):
    config, steps = CONFIGS[name], STEPS[name]
    unbroken = self.unbroken(config, steps)
    train(
      config,
      self.folder,
      *stops,
      steps,
      checkpoint_interval=checkpoint_interval,
    )
    assert_same_run(config, self.folder, unbroken)

  @parameterized.parameters("ladder", "traversal")
  def test_stops_around_the_steps_at_which_lessons_begin(self, name):
    config, steps = CONFIGS[name], STEPS[name]
    unbroken = self.unbroken(config, steps)
    begun = [
      step
      for step in range(1, steps)
      if self.lessons[step] > self.lessons[step - 1]
    ]
    # Or this would test nothing.
    self.assertGreaterEqual(len(begun), 2)
    self.assertLess(begun[-1] + 2, steps)
    around = {first + shift for first in begun for shift in (-1, 0, 1, 2)}
    resumed = train(config, self.folder, *sorted(around), steps)
    self.assertEqual(resumed, self.lessons)
    assert_same_run(config, self.folder, unbroken)

  def test_a_batch_that_hangs_on_the_clock_is_noticed(self):
    unbroken = self.unbroken(REPEAT_COPY, 8)
    with mock.patch.object(Run, "batch", drifting(Run.batch)):
      train(REPEAT_COPY, self.folder, 3, 8)
    with self.assertRaisesRegex(AssertionError, "differs|metrics|loss"):
      assert_same_run(REPEAT_COPY, self.folder, unbroken)

  def test_nothing_happens_to_a_run_that_is_done(self):
    train(REPEAT_COPY, self.folder, 7)
    before = files(self.folder)
    train(REPEAT_COPY, self.folder, 7, 5, 0)
    self.assertEqual(files(self.folder), before)

  @parameterized.parameters(0, 1)
  def test_passes_over_damaged_checkpoints(self, more):
    unbroken = self.unbroken(REPEAT_COPY, 11)
    train(REPEAT_COPY, self.folder, 9, checkpoint_interval=2)
    self.damage_newest()
    for _ in range(more):
      newest = max((self.folder / "checkpoints").iterdir())
      shutil.move(newest, self.root / newest.name)
      self.damage_newest()
    with self.assertLogs("absl", "WARNING") as logs:
      run = Run(REPEAT_COPY, self.folder)
      run.close()
    self.assertEqual(run.step, 8 - 2 * more)
    self.assertIn("damaged and is passed over", "\n".join(logs.output))
    with self.assertLogs("absl", "WARNING"):
      train(REPEAT_COPY, self.folder, 11)
    assert_same_run(REPEAT_COPY, self.folder, unbroken)

  def test_without_a_whole_checkpoint_nothing_is_touched(self):
    train(REPEAT_COPY, self.folder, 4)
    self.damage_newest()
    before = files(self.folder)
    with (
      self.assertLogs("absl", "WARNING"),
      self.assertRaisesRegex(ValueError, "no whole checkpoint"),
    ):
      Run(REPEAT_COPY, self.folder)
    self.assertEqual(files(self.folder), before)

  @parameterized.named_parameters(
    ("seed", "seed", 0, {"seed": 5}),
    ("batch_size", "batch_size", 2, {"batch_size": 3}),
    ("threshold", "advance_threshold", 0.9, {"advance_threshold": 0.5}),
    ("task", "task", "repeat_copy", {"task": "copy"}),
    ("option", "num_bits", 1, {"task_options": COPY_OPTIONS | {"num_bits": 3}}),
    (
      "model",
      "hidden_size",
      4,
      {"model": dataclasses.replace(REPEAT_COPY.model, hidden_size=6)},
    ),
    (
      "optimiser",
      "learning_rate",
      0.05,
      {"optimiser": OptimiserConfig(learning_rate=0.02)},
    ),
  )
  def test_refuses_to_go_on_as_another_run(self, name, old, changes):
    train(REPEAT_COPY, self.folder, 4)
    before = files(self.folder)
    if changes == {"task": "copy"}:
      changes = {"task": "copy", "task_options": {"num_bits": 1}}
    config = dataclasses.replace(REPEAT_COPY, **changes)
    new = next(iter(changes.values()))
    if isinstance(new, dict):
      new = new[name]
    elif not isinstance(new, int | float | str):
      new = getattr(new, name)
    with self.assertRaisesRegex(
      ValueError, rf"{name} is {old!r} in the folder and {new!r} now"
    ):
      Run(config, self.folder)
    self.assertEqual(files(self.folder), before)

  def test_goes_on_from_a_checkpoint_of_before_there_were_settings(self):
    unbroken = self.unbroken(REPEAT_COPY, 8)
    save = Checkpoints.save

    def save_less(checkpoints, step, arrays, host):
      kept = {name: x for name, x in host.items() if name != "settings"}
      save(checkpoints, step, arrays, kept)

    with mock.patch.object(Checkpoints, "save", save_less):
      train(REPEAT_COPY, self.folder, 5)
    train(REPEAT_COPY, self.folder, 8)
    assert_same_run(REPEAT_COPY, self.folder, unbroken)

  def test_refuses_metrics_that_are_not_the_runs(self):
    train(REPEAT_COPY, self.folder, 7)
    (self.folder / "metrics.csv").unlink()
    before = files(self.folder)
    with self.assertRaisesRegex(ValueError, "fewer than"):
      Run(REPEAT_COPY, self.folder)
    self.assertEqual(files(self.folder), before)

  def test_what_was_done_is_saved_however_it_ends(self):
    unbroken = self.unbroken(REPEAT_COPY, 11)
    # As when the output is a pipe whose reader has gone.
    broken = mock.Mock(side_effect=[None, BrokenPipeError()])
    with self.assertRaises(BrokenPipeError):
      train(REPEAT_COPY, self.folder, 11, show=broken)
    step, _, _ = restore(REPEAT_COPY, self.folder)
    # A report is shown after the next update.
    self.assertEqual(step, 2 * REPORT_INTERVAL + 1)
    train(REPEAT_COPY, self.folder, 11)
    assert_same_run(REPEAT_COPY, self.folder, unbroken)

  @parameterized.parameters(
    (0, -1), (5, -1), (REPORT_INTERVAL, -1), (7, 8), (8, 4), (11, 5), (12, -1)
  )
  def test_a_loss_that_is_not_finite(self, bad, checkpoint_interval):
    steps = 13
    unbroken = self.unbroken(REPEAT_COPY, steps)
    with (
      mock.patch.object(Run, "batch", poisoned(Run.batch, bad)),
      self.assertRaisesRegex(FloatingPointError, rf"step {bad + 1}\b"),
    ):
      train(
        REPEAT_COPY,
        self.folder,
        steps,
        checkpoint_interval=checkpoint_interval,
      )
    step, state, _ = restore(REPEAT_COPY, self.folder)
    self.assertEqual((step, int(state.step)), (bad, bad))
    rows = (self.folder / "metrics.csv").read_text().splitlines()[1:]
    self.assertLen(rows, bad // REPORT_INTERVAL)
    # What was saved is the state before: it goes on as if nothing had been.
    train(REPEAT_COPY, self.folder, steps)
    assert_same_run(REPEAT_COPY, self.folder, unbroken)


def drifting(batch):
  """Returns `Run.batch`, but of a step of its own at each call."""
  calls = iter(range(100, 200))
  return lambda run, step: batch(run, step + next(calls))


def poisoned(batch, bad):
  """Returns `Run.batch`, but with a NaN at one step."""

  def wrapped(run, step):
    drawn, slots = batch(run, step)
    if step == bad:
      inputs = drawn.inputs.copy()
      inputs[0, 0, 0] = np.nan
      drawn = drawn._replace(inputs=inputs)
    return drawn, slots

  return wrapped


class ConfigTest(absltest.TestCase):
  def test_the_flags_stand_for_the_config(self):
    # Or the processes and the runs in this one would not be comparable.
    folder = self.create_tempdir().full_path
    child = processes.start_script(
      "train", *FLAGS, "--num_training_iterations=0", folder=folder
    )
    self.assertEqual(child.wait().status, 0)
    written = pathlib.Path(folder) / "run" / "config.json"
    fields = json.loads(written.read_text())
    self.assertEqual(RunConfig.from_dict(fields), REPEAT_COPY)
