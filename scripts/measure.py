"""How well a network does: on sequences of a task, on walks over a map."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import cast

import haiku as hk
import jax
import numpy as np

from dnc_jax import training
from dnc_jax.interaction import Episodes
from dnc_jax.losses import Batch
from scripts.saved import RunConfig
from tasks import graphs, routes, traversal
from tasks.base import InteractiveTask, Task
from tasks.route_environment import RouteEnvironment
from tasks.shortest_path import ShortestPath

# Slots for each step. With one, a network overwrites what it still needs; many
# more than in training can blur its look-ups: docs/results.md.
_SLOTS_PER_STEP = 1.5

# From a generator, the number of the batch's first sequence, and its size.
Sampler = Callable[[np.random.Generator, int, int], Batch | Episodes]


@dataclasses.dataclass(frozen=True)
class Measured:
  """What a network did on some sequences.

  Attributes:
    accuracy: Fraction of sequences fully right, in [0, 1].
    unit_accuracy: Fraction of units (bits or triples) right, in [0, 1].
    loss: Mean of the batches' losses.
    memory_size: Slots of the memory.
    seconds: How long it took, compilation included.
    picture: One sequence with the network's answer.
    summary: Means of what an interactive task tells of episodes, by name; NaN
      of what no episode has.
  """

  accuracy: float
  unit_accuracy: float
  loss: float
  memory_size: int
  seconds: float
  picture: str
  summary: dict[str, float]


def measure(
  config: RunConfig,
  params: hk.Params,
  task: Task,
  sample: Sampler,
  *,
  episodes: int,
  batch_size: int,
  seed: int,
  memory_size: int | None,
  readings: int = 1,
) -> Measured:
  """Measures a network.

  Args:
    config: The run that the network is of.
    params: Its parameters.
    task: What scores and draws it.
    sample: Draws sequences, all padded to one length.
    episodes: Sequences in all.
    batch_size: Sequences at a time.
    seed: What they are drawn from, batch by batch.
    memory_size: Slots; chosen to suffice if None.
    readings: How often the sampler tells each sequence, one after the other;
      the network decides by all of them (`route_environment`). So many fewer
      sequences are measured at a time.

  Returns:
    The measurements.
  """
  began = time.monotonic()
  goal = task.test_objective
  if readings > 1:
    assert isinstance(goal, RouteEnvironment)
    goal = dataclasses.replace(goal, readings=readings)
  evaluate = training.make_evaluate(config.model, goal)
  right, count, losses, summaries = [], [], [], []
  picture = ""
  batch_size = min(max(batch_size // readings, 1), episodes)
  for index in range(math.ceil(episodes / batch_size)):
    rng = np.random.default_rng([seed, index])
    batch = sample(rng, index * batch_size, batch_size)
    if memory_size is None:
      memory_size = safe_memory_size(config, len(batch.inputs))
    answer, scores = evaluate(params, batch, memory_size)
    right.append(np.asarray(scores.right)[::readings])
    count.append(np.asarray(scores.count)[::readings])
    losses.append(float(scores.loss))
    answer = jax.device_get(answer)
    if isinstance(task, InteractiveTask):
      told = task.summary(cast(Episodes, batch), answer)
      summaries.append({name: x[::readings] for name, x in told.items()})
    if not picture:
      picture = task.render(batch, answer)
  rights = np.concatenate(right)[:episodes]
  counts = np.concatenate(count)[:episodes]
  return Measured(
    accuracy=float((rights == counts).mean()),
    unit_accuracy=float(rights.sum() / counts.sum()),
    loss=float(np.mean(losses)),
    memory_size=memory_size or 0,
    seconds=time.monotonic() - began,
    picture=picture,
    summary={
      name: _mean(np.concatenate([x[name] for x in summaries])[:episodes])
      for name in (summaries[0] if summaries else ())
    },
  )


def _mean(values: np.ndarray) -> float:
  """Returns the mean of the values that are not NaN; NaN if all are."""
  known = values[~np.isnan(values)]
  return float(known.mean()) if len(known) else math.nan


def safe_memory_size(config: RunConfig, num_steps: int) -> int:
  """Returns slots that suffice for sequences of so many steps.

  A network that was trained with the slots that each lesson needs gets half as
  many again as steps; others keep the number they were trained with.
  """
  if not config.slots_by_lesson:
    return config.model.memory_size
  return _with_slack(num_steps)


def check_memory_size(
  config: RunConfig, name: str, num_edges: int, *, what: str = "map"
) -> None:
  """Checks that a map or family fits into the memory a network would get.

  Raises:
    ValueError: It has more edges than the network was trained with slots.
  """
  slots = config.model.memory_size
  if not config.slots_by_lesson and num_edges > slots:
    raise ValueError(
      f"The {what} {name} has {num_edges} edges, a slot each, and the network "
      f"was trained with {slots} slots. Its memory can be made larger: give "
      f"--memory_size={_with_slack(num_edges)}."
    )


def _with_slack(num_writes: int) -> int:
  """Returns slots for so many writes, a multiple of 8."""
  return math.ceil(num_writes * _SLOTS_PER_STEP / 8) * 8


def map_sampler(edges: np.ndarray, path_length: int) -> Sampler:
  """Returns what draws random walks over a map, labelled anew each time."""

  def sample(rng: np.random.Generator, first: int, batch_size: int) -> Batch:
    del first
    drawn = graphs.labelled_copies(rng, edges, batch_size)
    lengths = np.full((batch_size, 1), path_length)
    return traversal.encode(rng, drawn, lengths)

  return sample


def lesson_sampler(task: Task, lesson: int) -> Sampler:
  """Returns what draws sequences of a lesson, all padded to its length."""

  def sample(
    rng: np.random.Generator, first: int, batch_size: int
  ) -> Batch | Episodes:
    del first
    lessons = np.full(batch_size, lesson, np.int32)
    return task.sample(rng, lessons, length=task.length(lesson))

  return sample


def route_pairs(between: np.ndarray, length: int, seed: int) -> np.ndarray:
  """Returns the pairs of places that are so many steps apart.

  In random order, so that some of them are a fair sample of all.

  Args:
    between: Steps from each place to each. Shape ``[N, N]``.
    length: Steps.
    seed: What the order is drawn from, with the length.

  Returns:
    Source and destination of each. Shape ``[P, 2]``.
  """
  pairs = np.argwhere(between == length)
  np.random.default_rng([seed, length]).shuffle(pairs)
  return pairs


def route_sampler(
  task: ShortestPath, edges: np.ndarray, pairs: np.ndarray, readings: int = 1
) -> Sampler:
  """Returns what draws routes over a map, labelled anew each time.

  Args:
    task: What tells them.
    edges: The map's, as `graphs.labelled_copies` takes them.
    pairs: Source and destination of each, one after the other; the first again
      after the last. Shape ``[P, 2]``.
    readings: How often to draw each.
  """

  def sample(rng: np.random.Generator, first: int, batch_size: int) -> Episodes:
    drawn = graphs.labelled_copies(rng, edges, batch_size * readings)
    between = routes.distances(jax.tree.map(lambda x: x[:1], drawn))
    chosen = pairs[(first + np.arange(batch_size)) % len(pairs)]
    chosen = np.repeat(chosen, readings, axis=0)
    between = np.broadcast_to(between, (len(chosen), *between.shape[1:]))
    longest = between[0][pairs[:, 0], pairs[:, 1]].max() + task.extra_steps
    told = len(edges) + 1 + int(task.planning(np.array(len(edges))))
    return task.encode(
      rng, drawn, between, chosen[:, None], length=told + int(longest)
    )

  return sample
