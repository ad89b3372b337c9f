"""Measures a trained network on a task, or on the map of a city.

    python -m scripts.evaluate --task=repeat_copy --checkpoint_dir=runs/mine
    python -m scripts.evaluate --task=traversal --pretrained=traversal \
        --map=zone1 --path_length=7

Prints a table for people and, as the last line of standard output, one JSON
object.
"""

import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Callable, Sequence

import haiku as hk
import jax
import numpy as np
from absl import flags

import tasks
from dnc_jax import training
from dnc_jax.losses import Batch
from scripts import flags as shared
from scripts.run import RunConfig, restore_params
from tasks import graphs, traversal, underground
from tasks.base import SequenceTask

PRETRAINED = flags.DEFINE_string(
  "pretrained", None, "Name of weights that ship, a folder below pretrained/."
)
MAP = flags.DEFINE_enum(
  "map", None, underground.MAPS, "Map of London to walk, for traversal."
)
PATH_LENGTH = flags.DEFINE_integer(
  "path_length", 7, "Steps of a walk over the map.", lower_bound=1
)
EPISODES = flags.DEFINE_integer(
  "episodes", 1000, "Sequences to measure on.", lower_bound=1
)
EVAL_BATCH_SIZE = flags.DEFINE_integer(
  "eval_batch_size", 50, "Sequences at a time.", lower_bound=1
)
EVAL_SEED = flags.DEFINE_integer(
  "seed", 0, "What the sequences are drawn from.", lower_bound=0
)
LESSON = flags.DEFINE_integer(
  "lesson", None, "Lesson to measure on, from 1; the last if not given."
)
MEMORY_SIZE = flags.DEFINE_integer(
  "memory_size", None, "Slots of the memory; chosen to suffice if not given."
)
SHOW = flags.DEFINE_bool("show", False, "Draws one sequence and its answer.")

# Slots beyond one for each step, in which a network never has to overwrite what
# it still needs: docs/results.md has what happens with fewer.
_SLACK = 32

Sampler = Callable[[np.random.Generator, int], Batch]


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
  """

  accuracy: float
  unit_accuracy: float
  loss: float
  memory_size: int
  seconds: float
  picture: str


def measure(
  config: RunConfig,
  params: hk.Params,
  task: SequenceTask,
  sample: Sampler,
  *,
  episodes: int,
  batch_size: int,
  seed: int,
  memory_size: int | None,
) -> Measured:
  """Measures a network.

  Args:
    config: The run that the network is of.
    params: Its parameters.
    task: What scores and draws it.
    sample: Draws so many sequences, all padded to one length.
    episodes: Sequences in all.
    batch_size: Sequences at a time.
    seed: What they are drawn from, batch by batch.
    memory_size: Slots; chosen to suffice if None.

  Returns:
    The measurements.
  """
  began = time.monotonic()
  evaluate = training.make_evaluate(config.model, task.objective)
  right, count, losses = [], [], []
  picture = ""
  batch_size = min(batch_size, episodes)
  for index in range(math.ceil(episodes / batch_size)):
    batch = sample(np.random.default_rng([seed, index]), batch_size)
    if memory_size is None:
      memory_size = safe_memory_size(config, len(batch.inputs))
    logits, scores = evaluate(params, batch, memory_size)
    right.append(np.asarray(scores.right))
    count.append(np.asarray(scores.count))
    losses.append(float(scores.loss))
    if not picture:
      picture = task.render(batch, np.asarray(logits))
  rights = np.concatenate(right)[:episodes]
  counts = np.concatenate(count)[:episodes]
  return Measured(
    accuracy=float((rights == counts).mean()),
    unit_accuracy=float(rights.sum() / counts.sum()),
    loss=float(np.mean(losses)),
    memory_size=memory_size or 0,
    seconds=time.monotonic() - began,
    picture=picture,
  )


def safe_memory_size(config: RunConfig, num_steps: int) -> int:
  """Returns slots that suffice for sequences of so many steps.

  A network that was trained with the slots that each lesson needs gets one for
  each step, and some beyond; others keep the number they were trained with.
  """
  if not config.slots_by_lesson:
    return config.model.memory_size
  return -(-(num_steps + _SLACK) // 8) * 8


def find_network() -> tuple[RunConfig, hk.Params, str]:
  """Returns the network that the flags name, and where it is.

  Raises:
    ValueError: They name none, or it is not there, or of another task.
  """
  if (PRETRAINED.value is None) == (shared.CHECKPOINT_DIR.value is None):
    raise ValueError("Give one of --checkpoint_dir and --pretrained.")
  if PRETRAINED.value is None:
    folder = shared.checkpoint_dir()
  else:
    root = pathlib.Path(__file__).parent.parent / "pretrained"
    folder = root / PRETRAINED.value
    if not folder.is_dir():
      names = ", ".join(sorted(x.name for x in root.glob("*") if x.is_dir()))
      raise ValueError(
        f"pretrained must be one of {names or 'none'}, got "
        f"{PRETRAINED.value!r}."
      )
  config, params, step = restore_params(folder)
  if config.task != shared.TASK.value:
    raise ValueError(
      f"task is {shared.TASK.value!r}, but {folder} was trained on "
      f"{config.task!r}. Give --task={config.task}."
    )
  return config, params, str(folder) + (f" at step {step}" if step else "")


def map_sampler(name: str, path_length: int) -> Sampler:
  """Returns what draws random walks over a map, labelled anew each time."""
  edges = underground.load(name).edges

  def sample(rng: np.random.Generator, batch_size: int) -> Batch:
    drawn = graphs.labelled_copies(rng, edges, batch_size)
    lengths = np.full((batch_size, 1), path_length)
    return traversal.encode(rng, drawn, lengths)

  return sample


def lesson_sampler(task: SequenceTask, lesson: int) -> Sampler:
  """Returns what draws sequences of a lesson, all padded to its length."""

  def sample(rng: np.random.Generator, batch_size: int) -> Batch:
    lessons = np.full(batch_size, lesson, np.int32)
    return task.sample(rng, lessons, length=task.length(lesson))

  return sample


def main(argv: Sequence[str]) -> None:
  """Evaluates as the flags say."""
  del argv
  config, params, where = find_network()
  options = config.task_options | shared.task_options(config.task)
  task = tasks.make(config.task, **options)
  result: dict[str, object] = {"task": config.task}
  if MAP.value is not None:
    if config.task != "traversal":
      raise ValueError(f"--map is for traversal, not for {config.task}.")
    sample = map_sampler(MAP.value, PATH_LENGTH.value)
    what = f"{PATH_LENGTH.value}-step walks on {MAP.value}"
    result |= {"map": MAP.value, "path_length": PATH_LENGTH.value}
  else:
    lesson = LESSON.value or task.num_lessons
    if not 1 <= lesson <= task.num_lessons:
      raise ValueError(
        f"lesson must be from 1 to {task.num_lessons}, got {lesson}."
      )
    sample = lesson_sampler(task, lesson - 1)
    what = f"lesson {lesson} of {task.num_lessons}"
    result["lesson"] = lesson
  if MEMORY_SIZE.value is not None and MEMORY_SIZE.value < 1:
    raise ValueError(
      f"memory_size must be at least 1, got {MEMORY_SIZE.value}."
    )
  measured = measure(
    config,
    params,
    task,
    sample,
    episodes=EPISODES.value,
    batch_size=EVAL_BATCH_SIZE.value,
    seed=EVAL_SEED.value,
    memory_size=MEMORY_SIZE.value,
  )
  device = jax.devices()[0].device_kind
  if SHOW.value:
    print(measured.picture)
  print(f"{config.task}: {what}, {where}, on {device}")
  print(_table(task, measured, EPISODES.value))
  result |= {
    "episodes": EPISODES.value,
    "accuracy": measured.accuracy,
    "unit_accuracy": measured.unit_accuracy,
    "loss": measured.loss,
    "memory_size": measured.memory_size,
    "seed": EVAL_SEED.value,
  }
  print(json.dumps(result))


def _table(task: SequenceTask, measured: Measured, episodes: int) -> str:
  """Returns the measurements as a table of one row."""
  columns = {
    "sequences": str(episodes),
    "all right": f"{measured.accuracy:.2%}",
    f"{task.unit}s right": f"{measured.unit_accuracy:.3%}",
    "loss": f"{measured.loss:.4f}",
    "slots": str(measured.memory_size),
    "seconds": f"{measured.seconds:.1f}",
  }
  widths = [max(map(len, pair)) for pair in columns.items()]
  rows = [columns.keys(), columns.values()]
  return "\n".join(
    "  ".join(cell.rjust(width) for cell, width in zip(row, widths))
    for row in rows
  )


if __name__ == "__main__":
  shared.define_task_flags()
  shared.run_script(main)
