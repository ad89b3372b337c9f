"""A run that was stopped, in whatever way, equals one that never was."""

import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized

import tasks
from dnc_jax import ModelConfig, training
from dnc_jax.checkpoint import Checkpoints
from dnc_jax.training import OptimiserConfig
from scripts.run import Run, carry_on
from scripts.saved import RunConfig
from tasks import graphs, repeat_copy, traversal
from tests import processes

# Not one at which lessons begin: a report must not decide when they do.
REPORT_INTERVAL = 4
# Longer than any test lets it run.
FOREVER = 1_000_000

# Three lessons, of which the last is longer and needs more slots.
TINY_LESSONS = (
  traversal.Lesson((3, 3), (2, 2), (1, 1)),
  traversal.Lesson((2, 3), (1, 1), (1, 2)),
  traversal.Lesson((3, 3), (2, 2), (1, 2)),
)


class Ladder(repeat_copy.RepeatCopy):
  """Repeat copy in four lessons, of which only the first step is scored."""

  name = "ladder"

  @property
  def num_lessons(self):
    return 4

  def sample(self, rng, lessons, *, length=None):
    # A bit that is guessed is often right, so that lessons are soon over.
    batch = super().sample(rng, lessons, length=length)
    return batch._replace(mask=batch.mask * (batch.mask.cumsum(axis=0) == 1))


def make_config(task, options, output_size, **fields):
  model = ModelConfig(
    output_size, hidden_size=4, memory_size=4, word_size=3, num_reads=1
  )
  optimiser = OptimiserConfig(learning_rate=0.05)
  config = RunConfig(task, options, model, optimiser, batch_size=2)
  return dataclasses.replace(config, **fields)


COPY_OPTIONS = {"max_length": 2, "max_repeats": 1, "num_bits": 1}
REPEAT_COPY = make_config("repeat_copy", COPY_OPTIONS, 2)
# Goes on when it is often right.
LADDER = make_config(
  "ladder",
  COPY_OPTIONS,
  2,
  advance_interval=3,
  advance_threshold=0.5,
  earlier_fraction=0.5,
)
# Goes on after so many steps.
TRAVERSAL = make_config(
  "traversal",
  {"lessons": "tiny"},
  graphs.TRIPLE_SIZE,
  slots_by_lesson=True,
  advance_interval=3,
  max_steps_per_lesson=4,
  earlier_fraction=0.5,
  model=ModelConfig(
    graphs.TRIPLE_SIZE,
    controller="gru",
    hidden_size=4,
    word_size=3,
    num_reads=1,
    links="off",
  ),
  optimiser=OptimiserConfig("adam", 0.01, warmup_steps=5, decay_steps=20),
)
CONFIGS = {
  "repeat_copy": REPEAT_COPY,
  "padded": dataclasses.replace(REPEAT_COPY, length_multiple=7),
  "ladder": LADDER,
  "traversal": TRAVERSAL,
}
STEPS = {"repeat_copy": 14, "padded": 7, "ladder": 20, "traversal": 14}

# The flags that stand for REPEAT_COPY.
FLAGS = (
  *processes.SMALL_COPY,
  "--checkpoint_dir=run",
  f"--report_interval={REPORT_INTERVAL}",
)

_make_update = training.make_update
_updates = {}
_likes = {}


def make_update_once(config, optimiser, objective):
  """Returns what `training.make_update` does, the same object each time."""
  # Two objectives of one kind are two objects.
  key = config, optimiser, getattr(objective, "func", objective)
  if key not in _updates:
    _updates[key] = _make_update(config, optimiser, objective)
  return _updates[key]


def train(config, folder, *stops, checkpoint_interval=-1, show=None):
  """Trains to each of the stops, each time with a new object.

  Returns the lesson that the run was at after each step.
  """
  lessons = []
  for stop in stops:
    run = Run(config, folder)

    def tick(step, run=run):
      del step
      lessons.append(run.lesson)

    try:
      carry_on(
        run,
        stop,
        report_interval=REPORT_INTERVAL,
        checkpoint_interval=checkpoint_interval,
        show=show or mock.Mock(),
        tick=tick,
      )
    finally:
      run._writer.close()
  return lessons


def restore(config, folder):
  # To find out takes longer than to read a checkpoint.
  key = repr(config)
  if key not in _likes:
    size = config.make_task().input_size
    _likes[key] = jax.eval_shape(
      lambda: training.init_state(
        config.model, config.optimiser, size, config.seed
      )
    )
  restored = Checkpoints(folder / "checkpoints").restore(_likes[key])
  assert restored is not None
  step, state, host = restored
  # How long it is and how often it reports may differ.
  del host["settings"]
  return step, state, host


def files(folder):
  """Returns the bytes of every file in a folder."""
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


def assert_same_run(config, actual, expected):
  """Asserts that two runs are at the same point, bit for bit."""
  step, state, host = restore(config, actual)
  wanted_step, wanted_state, wanted_host = restore(config, expected)
  assert step == wanted_step, (step, wanted_step)
  # The curriculum, the sums since the last report, the rows.
  assert host == wanted_host, (host, wanted_host)
  wanted = jax.tree_util.tree_leaves_with_path(wanted_state)
  for (path, x), y in zip(wanted, jax.tree.leaves(state), strict=True):
    assert (x.shape, x.dtype) == (y.shape, y.dtype)
    if np.asarray(x).tobytes() != np.asarray(y).tobytes():
      raise AssertionError(f"{jax.tree_util.keystr(path)} differs: {y}, {x}")
  for name in ("metrics.csv", "config.json"):
    assert (actual / name).read_bytes() == (expected / name).read_bytes(), name


class ResumeTestCase(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    for patch in (
      # To compile takes longer than all else.
      mock.patch.object(training, "make_update", make_update_once),
      mock.patch.dict(traversal.LESSONS, {"tiny": TINY_LESSONS}),
      mock.patch.dict(tasks.TASKS, {"ladder": Ladder}),
    ):
      cls.enterClassContext(patch)

  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)
    self.folder = self.root / "run"

  def unbroken(self, config, steps):
    """Returns the folder of a run that was never stopped."""
    folder = self.root / "unbroken"
    self.lessons = train(config, folder, steps)
    return folder

  def damage_newest(self):
    newest = max((self.folder / "checkpoints").iterdir())
    paths = [path for path in newest.rglob("*") if path.is_file()]
    path = max(paths, key=lambda path: path.stat().st_size)
    os.truncate(path, path.stat().st_size // 2)


class InProcessTest(ResumeTestCase):
  @parameterized.named_parameters(
    (f"{name}_{'_'.join(map(str, stops))}_{interval}", name, stops, interval)
    for name, stops, interval in (
      ("repeat_copy", (1,), -1),
      ("repeat_copy", (7,), -1),
      ("repeat_copy", (9,), 4),
      ("repeat_copy", (5, 8, 8, 11), 3),
      ("padded", (4,), -1),
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
      run._writer.close()
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
    self.assertEqual(step, 2 * REPORT_INTERVAL)
    train(REPEAT_COPY, self.folder, 11)
    assert_same_run(REPEAT_COPY, self.folder, unbroken)

  @parameterized.parameters(
    (0, -1), (5, -1), (REPORT_INTERVAL, -1), (7, 8), (8, 4), (11, 5)
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


class ProcessesTest(ResumeTestCase):
  """Real processes, that signals reach."""

  def start(self, steps, *flags):
    return processes.start_script(
      "train",
      *FLAGS,
      f"--num_training_iterations={steps}",
      *flags,
      folder=self.root,
    )

  def finish(self, more, *flags):
    """Carries the run on by some steps and compares it with an unbroken one."""
    step, _, _ = restore(REPEAT_COPY, self.folder)
    steps = step + more
    done = self.start(steps, *flags).wait()
    self.assertEqual(done.status, 0, done)
    self.assertIn(f"resuming from step {step}, to step {steps}", done.stdout)
    assert_same_run(REPEAT_COPY, self.folder, self.unbroken(REPEAT_COPY, steps))

  def test_two_processes_equal_one(self):
    environment = os.environ | processes.compilation_cache()
    flags = (*FLAGS, f"--checkpoint_dir={self.folder}")
    for steps in (5, 11):
      command = f"-m scripts.train --num_training_iterations={steps}"
      subprocess.run(
        [sys.executable, *command.split(), *flags],
        cwd=processes.ROOT,
        env=environment,
        check=True,
        capture_output=True,
      )
    assert_same_run(REPEAT_COPY, self.folder, self.unbroken(REPEAT_COPY, 11))

  @parameterized.parameters(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
  def test_a_signal_saves_and_ends_it(self, number):
    if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
      self.skipTest("Under nohup, which the run respects.")
    child = self.start(FOREVER)
    metrics = self.folder / "metrics.csv"
    processes.wait_until(
      lambda: metrics.exists() and metrics.read_bytes().count(b"\n") > 2, child
    )
    child.send(number)
    done = child.wait()
    self.assertEqual(done.status, 128 + number, done)
    step, _, _ = restore(REPEAT_COPY, self.folder)
    self.assertIn(f"Stopped by {number.name} at step {step}", done.stdout)
    self.assertNotIn("Traceback", done.stderr)
    self.finish(more=4)

  def test_kills_at_any_moment(self):
    chance = random.Random(0)
    checkpoints = self.folder / "checkpoints"
    intervals = ("--checkpoint_interval=2",)

    def newest():
      return max((path.name for path in checkpoints.glob("0*")), default="")

    def saving():
      return any(checkpoints.glob(".tmp-0*"))

    half_saved = 0
    for attempt in range(6):
      before = newest()
      child = self.start(FOREVER, *intervals)
      if attempt > 0:
        # A save has cleared away what the last kill left.
        processes.wait_until(lambda old=before: newest() > old, child)
      if attempt > 2:
        processes.wait_until(saving, child, interval=0.0005)
      else:
        time.sleep(0.3 * chance.random())
      child.send(signal.SIGKILL)
      self.assertEqual(child.wait().status, -signal.SIGKILL)
      half_saved += saving()
    # Or these were not the moments that they should be.
    self.assertGreaterEqual(half_saved, 1)
    # A row after the last checkpoint, cut short: what a kill may leave.
    with (self.folder / "metrics.csv").open("a") as file:
      file.write("9999,0,0.1,0.2,0.3\n10002,0,0.")
    self.finish(5, *intervals)

  def test_a_damaged_checkpoint_is_passed_over_with_a_warning(self):
    self.start(7, "--checkpoint_interval=3").wait()
    self.damage_newest()
    done = self.start(9).wait()
    self.assertEqual(done.status, 0, done)
    self.assertIn("resuming from step 6", done.stdout)
    self.assertIn("damaged and is passed over", done.stderr)
    assert_same_run(REPEAT_COPY, self.folder, self.unbroken(REPEAT_COPY, 9))

  def test_flags_that_may_change_and_those_that_may_not(self):
    self.start(4).wait()
    before = files(self.folder)
    refused = self.start(6, "--seed=7").wait()
    self.assertEqual(refused.status, 1)
    self.assertEqual(refused.stderr.count("\n"), 1, refused.stderr)
    self.assertRegex(refused.stderr, r"^error: .*seed is 0 .* 7 now")
    self.assertEqual(files(self.folder), before)

    changed = self.start(
      6, "--report_interval=2", "--checkpoint_interval=5"
    ).wait()
    self.assertEqual(changed.status, 0, changed)
    lines = (self.folder / "metrics.csv").read_text().splitlines()
    self.assertEqual([line.split(",")[0] for line in lines[1:]], ["4", "6"])
    step, _, _ = restore(REPEAT_COPY, self.folder)
    self.assertEqual(step, 6)
    for name, old, new in (
      ("num_training_iterations", 4, 6),
      ("report_interval", 4, 2),
      ("checkpoint_interval", -1, 5),
    ):
      said = [line for line in changed.stdout.splitlines() if name in line]
      self.assertLen(said, 1, changed.stdout)
      self.assertRegex(said[0], rf"{name}.*{old}\b.*\b{new}\b")


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


if __name__ == "__main__":
  absltest.main()
