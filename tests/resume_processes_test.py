"""The same of processes, which signals end at any moment."""

import random
import signal
import subprocess
import sys
import time

from absl.testing import parameterized

from tests import processes
from tests.resume_case import (
  FLAGS,
  FOREVER,
  REPEAT_COPY,
  ResumeTestCase,
  assert_same_run,
  files,
  restore,
)


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
    flags = (*FLAGS, f"--checkpoint_dir={self.folder}")
    for steps in (5, 11):
      command = f"-m scripts.train --num_training_iterations={steps}"
      subprocess.run(
        [sys.executable, *command.split(), *flags],
        cwd=processes.ROOT,
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
    if number == signal.SIGTERM:  # What is saved is the same for each.
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
