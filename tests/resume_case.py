"""What tests of resuming share."""

import dataclasses
import functools
import os
import pathlib
from unittest import mock

import jax
import numpy as np
from absl.testing import parameterized

import tasks
from dnc_jax import ModelConfig, training
from dnc_jax.checkpoint import Checkpoints
from dnc_jax.training import OptimiserConfig
from scripts.loop import carry_on
from scripts.run import Run
from scripts.saved import RunConfig
from tasks import graphs, repeat_copy, shortest_path, traversal
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


# The network's own moves come back to it, and chance decides who moves.
ROUTES = dataclasses.replace(
  TRAVERSAL,
  task="shortest_path",
  task_options={"lessons": "tiny", "planner_fraction": 0.5, "num_queries": 2},
  length_multiple=8,
)


# Drops what it draws from the seed and the step.
DROPPED = dataclasses.replace(
  REPEAT_COPY,
  model=dataclasses.replace(REPEAT_COPY.model, bypass_dropout=0.5),
)


CONFIGS = {
  "repeat_copy": REPEAT_COPY,
  "dropped": DROPPED,
  "padded": dataclasses.replace(REPEAT_COPY, length_multiple=7),
  "ladder": LADDER,
  "traversal": TRAVERSAL,
  "routes": ROUTES,
}


STEPS = {
  "repeat_copy": 14,
  "dropped": 7,
  "padded": 7,
  "ladder": 20,
  "traversal": 14,
  "routes": 9,
}


# The flags that stand for REPEAT_COPY.
FLAGS = (
  *processes.SMALL_COPY,
  "--checkpoint_dir=run",
  f"--report_interval={REPORT_INTERVAL}",
)


_make = {
  name: getattr(training, name) for name in ("make_update", "make_updates")
}


_made = {}


_likes = {}


def make_once(name, config, optimiser, objective, *seed):
  """Returns what a function of `training` does, the same object each time."""
  # Nothing but what is dropped hangs on the seed.
  if seed and not config.bypass_dropout:
    seed = (0,)
  # Two objectives of one kind are two objects.
  kind = getattr(objective, "func", objective)
  key = name, config, optimiser, kind, *seed
  if key not in _made:
    _made[key] = _make[name](config, optimiser, objective, *seed)
  return _made[key]


make_forward_once = functools.cache(training.make_forward)


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
        [run],
        stop,
        report_interval=REPORT_INTERVAL,
        checkpoint_interval=checkpoint_interval,
        show=show or mock.Mock(),
        tick=tick,
      )
    finally:
      run.close()
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
      *(
        mock.patch.object(training, name, functools.partial(make_once, name))
        for name in _make
      ),
      mock.patch.object(training, "make_forward", make_forward_once),
      mock.patch.dict(traversal.LESSONS, {"tiny": TINY_LESSONS}),
      mock.patch.dict(shortest_path.LESSONS, {"tiny": TINY_LESSONS[:1]}),
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
