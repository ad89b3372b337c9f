"""Runs that are trained together are as they would be alone."""

import csv
import dataclasses
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax.training import OptimiserConfig
from scripts.loop import carry_on
from scripts.run import Run
from tests import processes
from tests.resume_case import (
  CONFIGS,
  REPORT_INTERVAL,
  STEPS,
  ResumeTestCase,
  assert_same_run,
  restore,
  train,
)
from tests.script_case import ScriptTestCase

SEEDS = (0, 1)
SMOOTH = OptimiserConfig("rmsprop", 0.05)


def with_seed(config, seed):
  return dataclasses.replace(config, seed=seed)


def train_together(
  config, root, *stops, seeds=SEEDS, checkpoint_interval=-1, **options
):
  """Trains seeds to each of the stops, each time with new objects."""
  shown = mock.Mock()
  for stop in stops:
    runs = [Run(with_seed(config, seed), root / str(seed)) for seed in seeds]
    try:
      carry_on(
        runs,
        stop,
        report_interval=REPORT_INTERVAL,
        checkpoint_interval=checkpoint_interval,
        show=shown,
        tick=mock.Mock(),
        **options,
      )
    finally:
      for run in runs:
        run.close()
  return [call.args[0] for call in shown.call_args_list]


def rows(folder):
  with (folder / "metrics.csv").open() as file:
    return [
      {name: float(x) for name, x in row.items() if x}
      for row in csv.DictReader(file)
    ]


class TogetherTest(ResumeTestCase):
  # In these, lessons differ in length or slots, and seeds in their lessons.
  @parameterized.parameters("dropped", "ladder", "traversal", "routes")
  def test_the_same_as_alone_but_for_rounding(self, name):
    # Adam would make a step of a gradient that is nothing but rounding.
    config = dataclasses.replace(CONFIGS[name], optimiser=SMOOTH)
    steps = STEPS[name]
    train_together(config, self.root / "both", steps)
    for seed in SEEDS:
      train(with_seed(config, seed), self.root / "alone", steps)
      alone = restore(with_seed(config, seed), self.root / "alone")
      both = restore(with_seed(config, seed), self.root / "both" / str(seed))
      self.assertEqual(both[0], alone[0])
      self.assertEqual(both[2]["curriculum"], alone[2]["curriculum"])
      for x, y in zip(
        jax.tree.leaves(both[1]), jax.tree.leaves(alone[1]), strict=True
      ):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5)
      reported = rows(self.root / "both" / str(seed))
      for row, expected in zip(
        reported, rows(self.root / "alone"), strict=True
      ):
        np.testing.assert_allclose(
          list(row.values()), list(expected.values()), rtol=1e-4
        )
      self.root.joinpath("alone").rename(self.root / f"alone_{seed}")

  def test_seeds_differ(self):
    config = CONFIGS["repeat_copy"]
    train_together(config, self.root, 4)
    params = [
      restore(with_seed(config, seed), self.root / str(seed))[1].params
      for seed in SEEDS
    ]
    first, second = (jax.tree.leaves(x)[-1] for x in params)
    self.assertFalse(np.array_equal(first, second))

  @parameterized.parameters(("ladder", 4), ("traversal", 2))
  def test_stops_anywhere(self, name, checkpoint_interval):
    # As above, for what was compiled there.
    config = dataclasses.replace(CONFIGS[name], optimiser=SMOOTH)
    steps = STEPS[name]
    train_together(config, self.root / "unbroken", steps)
    train_together(
      config,
      self.root / "stopped",
      5,
      7,
      steps,
      checkpoint_interval=checkpoint_interval,
    )
    for seed in map(str, SEEDS):
      assert_same_run(
        with_seed(config, int(seed)),
        self.root / "stopped" / seed,
        self.root / "unbroken" / seed,
      )

  def test_one_that_is_behind_comes_after(self):
    config = CONFIGS["repeat_copy"]
    train_together(config, self.root / "unbroken", 6)
    train(with_seed(config, 1), self.root / "behind" / "1", 3)
    train_together(config, self.root / "behind", 6)
    for seed in SEEDS:
      step, *_ = restore(
        with_seed(config, seed), self.root / "behind" / str(seed)
      )
      self.assertEqual(step, 6)
    np.testing.assert_allclose(
      [x["loss"] for x in rows(self.root / "behind" / "1")],
      [x["loss"] for x in rows(self.root / "unbroken" / "1")],
      rtol=1e-4,
    )

  def test_one_ends_and_the_others_go_on(self):
    config = CONFIGS["repeat_copy"]

    def has_learned(run, accuracy):
      self.assertEqual(accuracy, 0.5)
      return run.config.seed == 1 and run.step >= 4

    with mock.patch.object(Run, "has_learned", has_learned):
      train_together(config, self.root, 9, stop_accuracy=0.5)
    steps = [
      restore(with_seed(config, seed), self.root / str(seed))[0]
      for seed in SEEDS
    ]
    self.assertEqual(steps, [9, 4])

  def test_two_fail_and_the_other_goes_on(self):
    config, real = CONFIGS["repeat_copy"], Run.batch

    def batch(run, step):
      drawn, slots = real(run, step)
      if (run.config.seed, step) in ((1, 2), (2, 4)):
        drawn = drawn._replace(inputs=drawn.inputs * np.nan)
      return drawn, slots

    with (
      mock.patch.object(Run, "batch", batch),
      self.assertRaisesRegex(
        FloatingPointError,
        r"^Seed 1: .*at step 3 is not .*\. Seed 2: .*at step 5 is not .*\.$",
      ),
    ):
      train_together(config, self.root, 7, seeds=(1, 2, 0))
    found = [
      restore(with_seed(config, seed), self.root / str(seed))
      for seed in range(3)
    ]
    self.assertEqual([x[0] for x in found], [7, 2, 4])
    for leaf in jax.tree.leaves([x[1] for x in found]):
      self.assertTrue(np.all(np.isfinite(leaf)))

  def test_shows_the_mean(self):
    shown = train_together(CONFIGS["repeat_copy"], self.root, REPORT_INTERVAL)
    reported = [rows(self.root / str(seed))[0] for seed in SEEDS]
    self.assertLen(shown, 1)
    for name, value in shown[0].items():
      self.assertAlmostEqual(
        value, np.mean([row[name] for row in reported]), places=4
      )


class ScriptTest(ScriptTestCase):
  def test_trains_and_goes_on(self):
    flags = ("train", *processes.SMALL_COPY, "--checkpoint_dir=both")
    seeds = "--seeds=3,0"
    told = self.run_script(*flags, seeds, "--num_training_iterations=2")
    self.assertRegex(told, "2 networks, each of .* parameters, in both")
    self.assertIn("Done: 2 steps, saved in both.", told)
    told = self.run_script(*flags, seeds, "--num_training_iterations=4")
    self.assertIn("resuming from step 2, to step 4", told)
    self.assertTrue((self.folder / "both" / "3" / "config.json").is_file())
    self.run_script(
      "evaluate",
      "--task=repeat_copy",
      "--checkpoint_dir=both/0",
      "--episodes=4",
    )

  @parameterized.parameters(
    (("--seeds=1,x",), "seeds must be whole numbers, at least 0, .* '1,x'"),
    (("--seeds=-1",), "seeds must be whole numbers, at least 0, .* '-1'"),
    (("--seeds=",), "seeds must be whole numbers, at least 0"),
    (("--seeds=2,2",), "seeds must differ, got '2,2'"),
    (("--seeds=1,2", "--seed=1"), "Give one of --seed and --seeds"),
  )
  def test_refusals(self, flags, pattern):
    self.check_refusal(pattern, "train", *flags)


if __name__ == "__main__":
  absltest.main()
