"""The loop that carries runs on, one or several together, until a signal."""

import contextlib
import itertools
import operator
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from dnc_jax import processes, training
from scripts.run import Run


class Stop:
  """Notes the first Ctrl-C, SIGTERM or hang-up instead of dying of it.

  Under nohup, which ignores hang-ups, so does this. Where several processes
  carry a run on, a signal to one stops all, after the same step.

  Attributes:
    signal: Its number; None while there was none.
  """

  def __init__(self):
    """Starts to listen."""
    self.signal: int | None = None
    self._several = processes.are_several()
    numbers = [signal.SIGINT]
    # Of several processes, JAX listens to SIGTERM and tells the others.
    numbers += [] if self._several else [signal.SIGTERM]
    hang_up = getattr(signal, "SIGHUP", None)  # Not on every system.
    if hang_up and signal.getsignal(hang_up) != signal.SIG_IGN:
      numbers.append(hang_up)
    self._old = {x: signal.signal(x, self._note) for x in numbers}

  def _note(self, number: int, frame: object) -> None:
    del frame
    self.signal = number
    self.close()  # A second one ends the program, as people expect.
    if self._several:
      os.kill(os.getpid(), signal.SIGTERM)

  def is_now(self, step: int) -> bool:
    """Returns whether to stop before this step, in all processes alike.

    Args:
      step: Updates done. To be asked before each.
    """
    if self._several and multihost_utils.reached_preemption_sync_point(step):
      self.signal = self.signal or signal.SIGTERM
      return True
    return not self._several and self.signal is not None

  def close(self) -> None:
    """Lets signals do again what they did before."""
    for number, handler in self._old.items():
      signal.signal(number, handler)


class _Group(NamedTuple):
  """Runs whose next updates are of one shape, and their states, stacked."""

  runs: list[Run]
  shape: Any
  states: training.TrainState


class Together:
  """Runs that differ in nothing but the seed, updated by one call.

  Each has the batches, the checks and the folder that it would have alone, and
  computes the same but for rounding. Those whose batches differ in length or
  slots, because they are in different lessons, are called apart.
  """

  def __init__(self, runs: Sequence[Run]):
    """Takes runs that are where they stopped, or new."""
    first = runs[0]
    self._updates = training.make_updates(
      first.config.model, first.config.optimiser, first.goal
    )
    self._groups: list[_Group] = []

  def advance(self, runs: Sequence[Run]) -> dict[Run, FloatingPointError]:
    """Does one update of these runs; returns what went wrong in which."""
    found = [run.next_batch() for run in runs]
    shapes = [
      (slots, *(np.shape(x) for x in jax.tree.leaves(batch)))
      for batch, slots in found
    ]
    self._arrange(runs, shapes)
    batches = dict(zip(runs, found, strict=True))
    wrong = {}
    for number, (members, shape, states) in enumerate(self._groups):
      own = [batches[run][0] for run in members]
      states, scores = self._updates(
        states,
        jax.tree.map(lambda *x: np.stack(x), *own),
        np.array([run.step for run in members]),
        np.array([run.config.seed for run in members]),
        batches[members[0]][1],
      )
      self._groups[number] = _Group(members, shape, states)
      for index, (run, batch) in enumerate(zip(members, own, strict=True)):
        try:
          run.count(batch, scores, index)
        except FloatingPointError as error:
          wrong[run] = error
    return wrong

  def hand_out(self, run: Run) -> None:
    """Gives a run its state, as it now is."""
    for members, _, states in self._groups:
      if run in members:
        own = operator.itemgetter(members.index(run))
        run.state = jax.tree.map(own, states)

  def _arrange(self, runs: Sequence[Run], shapes: list[Any]) -> None:
    """Groups runs by shape, if they are not."""
    wanted = {
      shape: [
        run for run, own in zip(runs, shapes, strict=True) if own == shape
      ]
      for shape in dict.fromkeys(shapes)
    }
    if wanted == {group.shape: group.runs for group in self._groups}:
      return
    for group in self._groups:
      for run in group.runs:
        self.hand_out(run)
    self._groups = [
      _Group(
        members,
        shape,
        jax.tree.map(lambda *x: jnp.stack(x), *(run.state for run in members)),
      )
      for shape, members in wanted.items()
    ]


def carry_on(
  runs: Sequence[Run],
  iterations: int,
  *,
  report_interval: int,
  checkpoint_interval: int,
  stop_accuracy: float | None = None,
  prefetch: int = 0,
  show: Callable[[dict[str, float]], None],
  tick: Callable[[int], None],
) -> int | None:
  """Trains until so many updates are done in all, or a signal comes.

  What was done is saved at the end, however it comes.

  Args:
    runs: One; or several that differ in nothing but the seed, which are then
      trained together.
    iterations: Updates to have done, counted from a run's beginning.
    report_interval: Updates between reports, at least 1.
    checkpoint_interval: Updates between checkpoints; below 1 for none before
      the end.
    stop_accuracy: Ends a run sooner once it `has_learned` so much.
    prefetch: Batches made ahead, in the background, of each run.
    show: Called with each report's row; the mean of those that report at once.
    tick: Called with the number of updates done, the fewest of all, after each.

  Returns:
    The number of the signal that ended it; None if the updates are done.

  Raises:
    FloatingPointError: A loss was not finite. What came before is saved, and
      the other runs are done.
  """
  stop = Stop()
  saved = {run: run.step for run in runs}
  wrong: dict[Run, FloatingPointError] = {}
  together = Together(runs) if len(runs) > 1 else None

  def attempt(run: Run, do: Callable[[Run], Any]) -> Any:
    try:
      return do(run)
    except FloatingPointError as error:
      wrong[run] = error
      return None

  def save(run: Run) -> None:
    if together is not None:
      together.hand_out(run)
    run.save()
    saved[run] = run.step

  def is_over(run: Run) -> bool:
    return (
      run in wrong
      or run.step >= iterations
      or (stop_accuracy is not None and run.has_learned(stop_accuracy))
    )

  def report(run: Run) -> list[dict[str, float]]:
    rows = [run.take_row()]
    if run.step % report_interval == 0:
      run.report_late()
      # What may end a run must be known before its next update.
      if stop_accuracy is not None or run.step >= iterations or stop.signal:
        run.report()
    rows.append(run.take_row())
    return [row for row in rows if row is not None]

  background = contextlib.ExitStack()
  try:
    for run in runs:
      background.enter_context(run.making_ahead(prefetch))
    while not stop.is_now(runs[0].step):
      going = [run for run in runs if not is_over(run)]
      if not going:
        break
      if together is None:
        attempt(going[0], Run.advance)
      else:
        wrong |= together.advance(going)
      going = [run for run in going if run not in wrong]
      if not going:
        continue
      tick(min(run.step for run in going))
      reports = [attempt(run, report) for run in going]
      for found in itertools.zip_longest(*filter(None, reports)):
        rows = [row for row in found if row is not None]
        show({x: float(np.mean([row[x] for row in rows])) for x in rows[0]})
      for run in going:
        due = checkpoint_interval > 0 and run.step % checkpoint_interval == 0
        if due and run not in wrong:
          attempt(run, save)
  except Exception as error:
    if processes.tells_of_loss(error):
      # To save takes all processes.
      saved = {run: run.step for run in runs}
    raise
  finally:
    try:
      for run in runs:
        if run not in wrong and saved[run] != run.step:
          attempt(run, save)
        # Even the state before a first step that failed is worth a look.
        if run in wrong:
          save(run)
    finally:
      background.close()
      stop.close()
  if wrong and together is None:
    raise wrong[runs[0]]
  if wrong:
    raise FloatingPointError(
      " ".join(f"Seed {run.config.seed}: {x}" for run, x in wrong.items())
    )
  return stop.signal
