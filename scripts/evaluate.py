"""Measures a trained network on a task, or on the map of a city.

    python -m scripts.evaluate --task=repeat_copy --checkpoint_dir=runs/mine
    python -m scripts.evaluate --task=traversal --pretrained=traversal \
        --map=zone1 --path_length=7
    python -m scripts.evaluate --task=inference --checkpoint_dir=runs/kin \
        --family=tree

Prints a table for people and, as the last line of standard output, one JSON
object.
"""

import dataclasses
import json
from collections.abc import Sequence

import haiku as hk
import jax
from absl import flags

import tasks
from scripts import flags as shared
from scripts import relatives
from scripts.measure import (
  Measured,
  check_memory_size,
  lesson_sampler,
  map_sampler,
  measure,
)
from scripts.saved import RunConfig, pretrained_folder, restore_params
from tasks import cities, family_files, relations, underground
from tasks.base import SequenceTask
from tasks.families import Family

PRETRAINED = flags.DEFINE_string(
  "pretrained", None, "Name of weights that ship, a folder below pretrained/."
)
MAP = flags.DEFINE_string(
  "map",
  None,
  f"Map to walk, for traversal: {', '.join(underground.MAPS)}, or a CSV file "
  "with columns from, to, line, direction.",
)
PATH_LENGTH = flags.DEFINE_integer(
  "path_length", 7, "Steps of a walk over the map.", lower_bound=1
)
FAMILY = flags.DEFINE_string(
  "family", None, "Family to ask inference about: tree, or a CSV or .ged file."
)
RELATION_LENGTH = flags.DEFINE_integer(
  "relation_length",
  4,
  "Steps of the family's relations.",
  lower_bound=1,
  upper_bound=relations.LONGEST,
)
EPISODES = flags.DEFINE_integer(
  "episodes",
  1000,
  "Sequences to measure on; for a family, each relation once if not given.",
  lower_bound=1,
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
  "memory_size",
  None,
  "Slots of the memory; chosen to suffice if not given.",
)
SHOW = flags.DEFINE_bool("show", False, "Draws one sequence and its answer.")


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
    folder = pretrained_folder(PRETRAINED.value)
  config, params, step = restore_params(folder)
  if config.task != shared.TASK.value:
    raise ValueError(
      f"task is {shared.TASK.value!r}, but {folder} was trained on "
      f"{config.task!r}. Give --task={config.task}."
    )
  return config, params, str(folder) + (f" at step {step}" if step else "")


def main(argv: Sequence[str]) -> None:
  """Evaluates as the flags say."""
  del argv
  place = None if MAP.value is None else cities.load(MAP.value)
  family = None if FAMILY.value is None else family_files.load(FAMILY.value)
  config, params, where = find_network()
  if family is not None:
    _evaluate_family(config, params, where, family)
    return
  options = config.task_options | shared.task_options(config.task)
  task = tasks.make(config.task, **options)
  trained = config.make_task()
  sizes = (task.input_size, task.output_size)
  if sizes != (trained.input_size, trained.output_size):
    changed = ", ".join(
      f"--{name}" for name in shared.task_options(config.task)
    )
    raise ValueError(
      f"The network hears {trained.input_size} numbers and answers "
      f"{trained.output_size}, but with {changed} the task has {sizes[0]} and "
      f"{sizes[1]}."
    )
  result: dict[str, object] = {"task": config.task}
  if place is not None:
    if config.task != "traversal":
      raise ValueError(f"--map is for traversal, not for {config.task}.")
    if MEMORY_SIZE.value is None:
      check_memory_size(config, place.name, len(place.edges))
    sample = map_sampler(place.edges, PATH_LENGTH.value)
    what = (
      f"{PATH_LENGTH.value}-step walks on {place.name} ({len(place.nodes)} "
      f"stations, {len(place.edges)} edges)"
    )
    result |= {"map": place.name, "path_length": PATH_LENGTH.value}
  else:
    lesson = task.num_lessons if LESSON.value is None else LESSON.value
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


def _evaluate_family(
  config: RunConfig, params: hk.Params, where: str, family: Family
) -> None:
  """Measures a network on the relations of a family, and tells."""
  if MAP.value is not None:
    raise ValueError("Give one of --map and --family.")
  options = config.task_options | shared.task_options(config.task)
  config = dataclasses.replace(config, task_options=options)
  given = flags.FLAGS["episodes"].present
  what, result, episodes, measured = relatives.measure_family(
    config,
    params,
    family,
    length=RELATION_LENGTH.value,
    episodes=EPISODES.value if given else None,
    batch_size=EVAL_BATCH_SIZE.value,
    seed=EVAL_SEED.value,
    memory_size=MEMORY_SIZE.value,
  )
  if SHOW.value:
    print(measured.picture)
  print(f"{config.task}: {what}, {where}, on {jax.devices()[0].device_kind}")
  print(_table(config.make_task(), measured, episodes))
  result |= {
    "task": config.task,
    "episodes": episodes,
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
