"""Batches made in the background change nothing but when they are made."""

import dataclasses
import signal
import threading
from unittest import mock

import jax
from absl.testing import absltest, parameterized

from scripts import loop
from scripts.ahead import Ahead
from scripts.run import Run
from tests import processes
from tests.resume_case import (
  CONFIGS,
  REPORT_INTERVAL,
  STEPS,
  ResumeTestCase,
  assert_same_run,
  restore,
)
from tests.script_case import ScriptTestCase, files

PATIENCE = 60


def train(config, folder, *stops, prefetch, seeds=None, **options):
  """Trains as `resume_case.train`; returns steps and rows as told."""
  told = []
  for stop in stops:
    if seeds is None:
      runs = [Run(config, folder)]
    else:
      runs = [
        Run(dataclasses.replace(config, seed=seed), folder / str(seed))
        for seed in seeds
      ]
    try:
      loop.carry_on(
        runs,
        stop,
        report_interval=REPORT_INTERVAL,
        checkpoint_interval=-1,
        prefetch=prefetch,
        show=told.append,
        tick=told.append,
        **options,
      )
    finally:
      for run in runs:
        run.close()
  return told


def background():
  return [x.name for x in threading.enumerate() if "batches" in x.name]


class AheadTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.made = []
    self.changed = threading.Condition()

  def make(self, step, lesson):
    with self.changed:
      self.made.append((step, lesson, threading.current_thread().name))
      self.changed.notify_all()
    return step, lesson

  def wait_for(self, count):
    with self.changed:
      self.assertTrue(
        self.changed.wait_for(lambda: len(self.made) >= count, PATIENCE)
      )
    return [(step, lesson) for step, lesson, _ in self.made]

  def test_the_next_are_there_before_they_are_asked_for(self):
    with (
      mock.patch("os.cpu_count", return_value=1),
      Ahead(self.make, 2) as ahead,
    ):
      self.assertEqual(ahead.get(5, 0), (5, 0))
      self.assertEqual(self.wait_for(3), [(5, 0), (6, 0), (7, 0)])
      self.assertEqual(ahead.get(6, 0), (6, 0))
      self.assertEqual(self.wait_for(4)[3:], [(8, 0)])
    self.assertLen(self.made, 4)
    for *_, thread in self.made:
      self.assertStartsWith(thread, "batches")

  def test_those_of_another_lesson_are_dropped(self):
    with Ahead(self.make, 1) as ahead:
      ahead.get(5, 0)
      self.wait_for(2)
      self.assertEqual(ahead.get(6, 1), (6, 1))
      self.assertEqual(self.wait_for(4)[2:], [(6, 1), (7, 1)])
      # Nor are they kept until they might be asked for again.
      self.assertEqual(ahead.get(6, 0), (6, 0))
      self.assertEqual(self.wait_for(6)[4:], [(6, 0), (7, 0)])

  def test_an_error_is_told_for_its_own_batch(self):
    def make(step, lesson):
      if step == 6:
        raise ValueError(f"lesson {lesson} has no batch 6")
      return self.make(step, lesson)

    with Ahead(make, 2) as ahead:
      self.assertEqual(ahead.get(5, 0), (5, 0))
      self.wait_for(2)
      with self.assertRaisesRegex(ValueError, "lesson 0 has no batch 6"):
        ahead.get(6, 0)
    self.assertEmpty(background())

  def test_ends_its_thread_and_makes_no_more(self):
    enough = threading.Event()

    def make(step, lesson):
      if step > 0:
        enough.wait(PATIENCE)
      return self.make(step, lesson)

    with mock.patch("os.cpu_count", return_value=1), Ahead(make, 5) as ahead:
      ahead.get(0, 0)
      self.assertNotEmpty(background())
      # While one is made and four wait.
      threading.Timer(0.1, enough.set).start()
    self.assertEmpty(background())
    self.assertLessEqual(len(self.made), 2)

  def test_as_many_are_made_at_once_as_there_are_cores(self):
    together = threading.Barrier(3, timeout=PATIENCE)

    def make(step, lesson):
      if step > 0:
        together.wait()
      return step, lesson

    with mock.patch("os.cpu_count", return_value=3), Ahead(make, 4) as ahead:
      ahead.get(0, 0)
      for step in (1, 2, 3):
        self.assertEqual(ahead._made[step, 0].result(PATIENCE), (step, 0))
      together.abort()

  @parameterized.parameters((2, 8, 2), (8, 2, 2), (3, None, 1))
  def test_it_has_a_thread_a_batch_as_far_as_there_are_cores(
    self, count, cores, threads
  ):
    with (
      mock.patch("os.cpu_count", return_value=cores),
      Ahead(self.make, count) as ahead,
    ):
      self.assertEqual(ahead._threads._max_workers, threads)

  def test_a_count_below_1_is_refused(self):
    with self.assertRaisesRegex(ValueError, "count must be at least 1, got 0"):
      Ahead(self.make, 0)


class RunTest(ResumeTestCase):
  @parameterized.product(
    name=("repeat_copy", "ladder", "traversal", "routes"), prefetch=(1, 3)
  )
  def test_the_same_bit_for_bit(self, name, prefetch):
    config, steps = CONFIGS[name], STEPS[name]
    unbroken = self.unbroken(config, steps)
    # Or no batch would be dropped.
    several = name in ("ladder", "traversal")
    self.assertEqual(len(set(self.lessons)) > 1, several)
    train(config, self.folder, 5, 6, steps, prefetch=prefetch)
    assert_same_run(config, self.folder, unbroken)
    self.assertEmpty(background())

  def test_runs_together_are_the_same(self):
    config, steps = CONFIGS["ladder"], STEPS["ladder"]
    for prefetch in (0, 2):
      folder = self.root / str(prefetch)
      train(config, folder, steps, prefetch=prefetch, seeds=(0, 1))
    for seed in (0, 1):
      assert_same_run(
        dataclasses.replace(config, seed=seed),
        self.root / "2" / str(seed),
        self.root / "0" / str(seed),
      )

  def test_batches_are_made_in_the_background(self):
    threads = []
    batch = Run.batch

    def noting(run, *args):
      threads.append(threading.current_thread().name)
      return batch(run, *args)

    with mock.patch.object(Run, "batch", noting):
      train(CONFIGS["repeat_copy"], self.folder, 6, prefetch=1)
    self.assertGreaterEqual(len(threads), 6)
    for thread in threads:
      self.assertStartsWith(thread, "batches")

  @parameterized.parameters(0, 2)
  def test_an_error_ends_the_run_and_the_thread(self, prefetch):
    config = CONFIGS["repeat_copy"]
    unbroken = self.unbroken(config, 9)
    batch = Run.batch

    def failing(run, step, *args):
      if step == 5:
        raise ValueError("no batch 5")
      return batch(run, step, *args)

    with (
      mock.patch.object(Run, "batch", failing),
      self.assertRaisesRegex(ValueError, "no batch 5"),
    ):
      train(config, self.folder, 9, prefetch=prefetch)
    self.assertEmpty(background())
    # What was done until then is saved.
    self.assertEqual(restore(config, self.folder)[0], 5)
    train(config, self.folder, 9, prefetch=prefetch)
    assert_same_run(config, self.folder, unbroken)


class LateTest(ResumeTestCase):
  def test_rows_are_read_after_the_next_update(self):
    config, steps = CONFIGS["repeat_copy"], 3 * REPORT_INTERVAL
    told = train(config, self.folder, steps, prefetch=0)
    rows = [x for x in told if isinstance(x, dict)]
    every = REPORT_INTERVAL
    # The last waits for nothing.
    self.assertEqual([row["step"] for row in rows], [every, 2 * every, steps])
    before = [told[told.index(row) - 1] for row in rows]
    self.assertEqual(before, [every + 1, 2 * every + 1, steps])

  def test_one_that_may_end_the_run_is_read_at_once(self):
    config = CONFIGS["repeat_copy"]
    told = train(
      config, self.folder, 2 * REPORT_INTERVAL, prefetch=0, stop_accuracy=0.0
    )
    self.assertEqual(told[-2], REPORT_INTERVAL)
    self.assertEqual(told[-1]["step"], REPORT_INTERVAL)
    self.assertEqual(restore(config, self.folder)[0], REPORT_INTERVAL)

  def test_at_the_last_lesson_a_check_leaves_the_last_update_out(self):
    config = dataclasses.replace(CONFIGS["repeat_copy"], advance_interval=3)
    run = Run(config, self.folder)
    left = []
    for _ in range(6):
      run.advance()
      left.append(len(run._pending))
    run.close()
    self.assertEqual(left, [1, 2, 1, 2, 3, 1])


class CompilingTest(ResumeTestCase):
  def test_nothing_is_compiled_within_a_lesson(self):
    # Of a size that no other test has compiled.
    config = dataclasses.replace(CONFIGS["ladder"], batch_size=5)
    compiled = []

    def listen(event, duration_secs, **kwargs):
      del duration_secs, kwargs
      if event.endswith("backend_compile_duration"):
        compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    self.addCleanup(jax.monitoring.clear_event_listeners)
    run = Run(config, self.folder)
    counts, lessons = [], []
    with run.making_ahead(2):
      for _ in range(STEPS["ladder"]):
        before = len(compiled)
        lessons.append(run.lesson)
        run.advance()
        if run.step % REPORT_INTERVAL == 0:
          run.report_late()
        counts.append(len(compiled) - before)
    run.close()
    # The lessons of this task have batches of one shape.
    self.assertGreater(len(set(lessons)), 2)
    self.assertEqual(counts[0], 1)
    self.assertEqual(counts[1:], [0] * (STEPS["ladder"] - 1))


class ScriptTest(ScriptTestCase):
  FLAGS = (*processes.SMALL_COPY, "--checkpoint_dir=run")

  def test_ctrl_c_ends_it_all(self):
    child = processes.start_script(
      "train",
      *self.FLAGS,
      "--num_training_iterations=1000000",
      "--report_interval=5",
      "--prefetch=3",
      folder=self.folder,
    )
    processes.wait_until(lambda: "step 5 " in child.stdout, child)
    child.send(signal.SIGINT)
    done = child.wait()
    self.assertEqual((done.status, done.stderr), (130, ""), done)
    self.assertIn("Stopped by SIGINT at step", done.stdout)

  def test_feed_tells_what_waiting_costs(self):
    told = self.run_script(
      "feed", *processes.SMALL_COPY, "--num_steps=4", "--repeats=2",
      "--report_interval=2",
    )  # fmt: skip
    lines = told.splitlines()
    self.assertLen(lines, 5)
    for line, way in zip(lines[2:], ("when asked for", "ahead", "once")):
      self.assertRegex(
        line, rf"^\| {way} \| [\d.]+ \([\d.]+ to [\d.]+\) \| [\d.]+% \|$"
      )
    self.assertEndsWith(lines[-1], "| 100.0% |")
    # What it trained is gone.
    self.assertEmpty(files(self.folder))


if __name__ == "__main__":
  absltest.main()
