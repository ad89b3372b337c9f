"""A training run; `scripts.loop` carries it on.

A run has a folder, with its ``config.json``, ``metrics.csv`` and
``checkpoints/``. Batches are a function of the seed and the step, so a run that
was stopped, in whatever way, goes on as if it never had been.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from dnc_jax import curriculum, metrics, processes, sharding, training
from dnc_jax.checkpoint import Checkpoints
from dnc_jax.interaction import Episodes
from dnc_jax.losses import Batch, Scores
from scripts.ahead import Ahead
from scripts.saved import (
  RunConfig,
  changes,
  differences,
  initial_params,
  initial_state,
  read_config,
  write_config,
)

FIELDS = ("step", "lesson", "loss", "accuracy", "unit_accuracy")


class Run:
  """A run that can be carried on.

  Attributes:
    config: All that decides what it computes.
    folder: Where it is kept.
    step: Updates done.
    lesson: Lesson of the curriculum that it is at, from 0.
    num_params: How many numbers the parameters are.
    changed: A line for each setting that is other than when the run stopped.
    row: The last row reported; empty before the first.
    state: All that training changes, after `step` updates.
  """

  def __init__(
    self,
    config: RunConfig,
    folder: pathlib.Path,
    settings: Mapping[str, int] | None = None,
    mesh: Mesh | None = None,
  ):
    """Opens the run in a folder, or begins it.

    Args:
      config: What it is to compute.
      folder: Where it is kept; made if need be.
      settings: What may change when a run goes on, by name: how long it is and
        how often it reports. Kept to tell when they did.
      mesh: Devices that it is divided over, of `sharding.make_mesh`; None for
        one. May change, too. Where they are those of several processes, all
        carry the run on together, and the first writes.

    Raises:
      ValueError: The folder cannot be written, or holds another run, or the
        mesh does not divide the batch or the memory.
    """
    self.config = config
    self.folder = folder
    self._mesh = mesh
    self._task = config.make_task()
    if mesh is not None:
      self._check_mesh(mesh)
    self._curriculum = config.curriculum(self._task.num_lessons)
    self._checkpoints = Checkpoints(folder / "checkpoints")
    like = jax.eval_shape(lambda: initial_state(config))
    if self._checkpoints.steps():
      saved = read_config(folder)
      if lines := differences(saved, config):
        raise ValueError(
          f"{folder} holds another run: {'; '.join(lines)}. Give the same "
          "flags, or another --checkpoint_dir."
        )
    restored = self._checkpoints.restore(like)
    self._settings = dict(settings or {})
    self.changed: list[str] = []
    if restored is None:
      self.step = 0
      self.state = initial_state(config)
      if config.initial_weights is not None:
        self.state = self.state._replace(
          params=initial_params(config, like.params)
        )
      # Only now that nothing can be wrong with it.
      processes.first_does(lambda: write_config(folder, config))
      self._progress = curriculum.CurriculumState()
      self._means = metrics.RunningMean()
      rows = 0
      self.row: dict[str, float] = {}
    else:
      self.step, self.state, host = restored
      self._progress = curriculum.CurriculumState.from_json(host["curriculum"])
      self._means = metrics.RunningMean.from_state(host["means"])
      rows = host["rows"]
      self.row = host.get("row", {})
      before = host.get("settings", self._settings)
      for name, old, new in changes("", before, self._settings):
        self.changed.append(f"{name} was {old}, is {new}")
    self._writer: metrics.Writer | None = None
    if processes.is_first():
      self._writer = metrics.Writer(folder / "metrics.csv", FIELDS, rows)
    self._update = training.make_update(
      config.model,
      config.optimiser,
      self._task.objective,
      config.seed,
      **self._over_mesh,
    )
    if mesh is not None:
      self.state = sharding.replicate(self.state, mesh)
    self._pending: list[tuple[np.ndarray, Scores, int | tuple[()]]] = []
    self._ahead: Ahead | None = None
    self._report_is_due = False
    self._new_row: dict[str, float] | None = None
    self.num_params = training.num_params(self.state.params)

  @property
  def lesson(self) -> int:
    """Lesson of the curriculum that the run is at, from 0."""
    return self._progress.lesson

  def batch(
    self, step: int, lesson: int | None = None
  ) -> tuple[Batch | Episodes, int]:
    """Returns the batch of a step, and its slots.

    Args:
      step: From 0.
      lesson: From 0; the present one if None.
    """
    lesson = self.lesson if lesson is None else lesson
    rng = np.random.default_rng([self.config.seed, step])
    lessons = curriculum.example_lessons(
      self._curriculum, lesson, rng, self.config.batch_size
    )
    slots = self.config.model.memory_size
    if self.config.length_multiple:
      batch = _pad(self._task.sample(rng, lessons), self.config.length_multiple)
      if self.config.slots_by_lesson:
        slots = len(batch.inputs)
      return batch, slots
    reached = range(lesson + 1)
    length = max(self._task.length(lesson) for lesson in reached)
    if self.config.slots_by_lesson:
      slots = max(self._task.memory_size(lesson) or slots for lesson in reached)
    return self._task.sample(rng, lessons, length=length), slots

  def next_batch(self) -> tuple[Batch | Episodes, int]:
    """Returns the batch of the next update, and its slots."""
    if self._ahead is None:
      return self.batch(self.step)
    return self._ahead.get(self.step, self.lesson)

  @contextlib.contextmanager
  def making_ahead(self, count: int) -> Iterator[None]:
    """Has so many batches made in the background; 0 for none."""
    if not count:
      yield
      return
    with Ahead(self.batch, count) as self._ahead:
      try:
        yield
      finally:
        self._ahead = None

  @property
  def goal(self) -> training.Goal:
    """What is trained for."""
    return self._task.objective

  @property
  def _over_mesh(self) -> dict[str, Mesh]:
    """What functions of `training` are told of the mesh, if there is one."""
    return {} if self._mesh is None else {"mesh": self._mesh}

  def advance(self) -> None:
    """Does one update.

    Raises:
      FloatingPointError: A loss was not finite. The state is the one before.
    """
    batch, slots = self.next_batch()
    self.state, scores = self._update(
      self.state, self._place(batch), self.step, slots
    )
    self.count(batch, scores)

  def count(
    self,
    batch: Batch | Episodes,
    scores: Scores,
    index: int | tuple[()] = (),
  ) -> None:
    """Counts an update that was done.

    Args:
      batch: What it was done on.
      scores: Those of the batch.
      index: Which of them, if they are of several runs.

    Raises:
      FloatingPointError: A loss was not finite. The state is the one before.
    """
    if self._report_is_due:
      self.report()  # While the device works on the update now counted.
    self._pending.append((np.asarray(batch.lesson), scores, index))
    self.step += 1
    # The lesson of the next batch hangs on the scores only after a check, so
    # that the device can run ahead in between; at the last lesson, always.
    checked = self._progress.steps + len(self._pending)
    limit = self._curriculum.max_steps_per_lesson
    if checked % self._curriculum.interval == 0 or checked == limit:
      is_last = self.lesson + 1 == self._curriculum.num_lessons
      self._read_scores(but=1 if is_last else 0)

  def report_late(self) -> None:
    """Has a row written as `report` does, once there is no need to wait.

    That is when the next update has been given to the device; or before the run
    is saved.
    """
    self._report_is_due = True

  def take_row(self) -> dict[str, float] | None:
    """Returns a row that was written since this was last called, or None."""
    row, self._new_row = self._new_row, None
    return row

  def report(self) -> dict[str, float]:
    """Writes a row of metrics, means since the last, and returns it."""
    self._report_is_due = False
    self._read_scores()
    row = {"step": self.step, "lesson": self.lesson, **self._means.means()}
    self._means = metrics.RunningMean()
    if self._writer is not None:
      self._writer.write(row)
    self.row = self._new_row = row
    return row

  def has_learned(self, accuracy: float) -> bool:
    """Returns whether so many of the last lesson's sequences are right.

    Args:
      accuracy: Fraction of sequences fully right in the last report.
    """
    lesson, right = (self.row.get(name, -1) for name in ("lesson", "accuracy"))
    return lesson + 1 == self._curriculum.num_lessons and right >= accuracy

  def save(self) -> None:
    """Writes a checkpoint."""
    if self._report_is_due:
      self.report()
    self._read_scores()
    host = {
      "curriculum": self._progress.to_json(),
      "means": self._means.state(),
      # Of the host's state the first process saves its own.
      "rows": self._writer.rows if self._writer is not None else 0,
      "row": self.row,
      "settings": self._settings,
    }
    self._checkpoints.save(self.step, self.state, host)

  def picture(self) -> str:
    """Returns a picture of a new sequence and the network's answer to it."""
    batch, slots = self.batch(self.step)
    evaluate = training.make_evaluate(
      self.config.model, self._task.test_objective, **self._over_mesh
    )
    answer, _ = evaluate(self.state.params, self._place(batch), slots)
    return self._task.render(batch, jax.device_get(answer))

  def close(self) -> None:
    """Closes the file of metrics."""
    if self._writer is not None:
      self._writer.close()

  def _place(self, batch: Batch | Episodes) -> Batch | Episodes:
    """Returns a batch as it is on the devices."""
    if self._mesh is None:
      return batch
    return sharding.shard_batch(batch, self._mesh)

  def _check_mesh(self, mesh: Mesh) -> None:
    """Raises a `ValueError` unless the mesh divides every lesson's batch."""
    config, task = self.config, self._task
    slots = {config.model.memory_size}
    if config.slots_by_lesson:
      lessons = range(task.num_lessons)
      slots = {task.memory_size(x) or min(slots) for x in lessons}
      if config.length_multiple:
        slots = {config.length_multiple}
    for number in slots:
      model = dataclasses.replace(config.model, memory_size=number)
      sharding.check_sizes(mesh, config.batch_size, model)

  def _read_scores(self, but: int = 0) -> None:
    """Counts the scores of the updates done since this was last called.

    Args:
      but: Leaves out so many, the last, for which the device may not be done.
    """
    first = self.step - len(self._pending)
    count = len(self._pending) - but
    pending, self._pending = self._pending[:count], self._pending[count:]
    for number, (lessons, scores, index) in enumerate(pending):
      loss = float(np.asarray(scores.loss)[index])
      if not np.isfinite(loss):
        self.step = first + number
        self._pending = []  # Those after it changed nothing.
        raise FloatingPointError(
          f"The loss or its gradient at step {self.step + 1} is not finite."
        )
      right = np.asarray(scores.right)[index]
      count = np.asarray(scores.count)[index]
      whole = right == count
      self._means.add(
        {
          "loss": loss,
          "accuracy": float(whole.mean()),
          "unit_accuracy": float(right.sum() / max(count.sum(), 1)),
        }
      )
      current = lessons == self.lesson
      self._progress = curriculum.observe(
        self._curriculum,
        self._progress,
        float((whole & current).sum()),
        float(current.sum()),
      )


def _pad(batch: Batch | Episodes, multiple: int) -> Batch | Episodes:
  """Returns a batch with steps added, of zeros, up to a multiple."""
  missing = -len(batch.inputs) % multiple
  steps = [
    x for x in batch._fields if x in ("inputs", "targets", "mask", "coins")
  ]

  def pad(array: np.ndarray) -> np.ndarray:
    widths = [(0, missing)] + [(0, 0)] * (array.ndim - 1)
    return np.pad(array, widths)

  return batch._replace(
    **{name: pad(np.asarray(getattr(batch, name))) for name in steps}
  )
