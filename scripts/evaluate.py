"""Measures a trained network on a task, or on the map of a city.

    python -m scripts.evaluate --task=repeat_copy --checkpoint_dir=runs/mine
    python -m scripts.evaluate --task=traversal --pretrained=traversal \
        --map=zone1 --path_length=7
    python -m scripts.evaluate --task=shortest_path --checkpoint_dir=runs/mine \
        --map=interchanges --every_length
    python -m scripts.evaluate --task=inference --checkpoint_dir=runs/kin \
        --family=tree

Prints a table for people and, as the last line of standard output, one JSON
object.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import haiku as hk
import jax
import numpy as np
from absl import flags

from scripts import flags as shared
from scripts import network as named
from scripts import relatives, task_flags
from scripts.measure import (
  Measured,
  Sampler,
  check_memory_size,
  lesson_sampler,
  map_sampler,
  measure,
  route_pairs,
  route_sampler,
)
from scripts.network import find_network, lesson_of, with_task_options
from scripts.saved import RunConfig
from tasks import cities, family_files, graphs, relations, routes, underground
from tasks.base import Task
from tasks.families import Family
from tasks.shortest_path import ShortestPath

MAP = flags.DEFINE_string(
  "map",
  None,
  "Map to walk, for traversal and shortest_path: "
  f"{', '.join(underground.MAPS)}, or a CSV file with columns from, to, line, "
  "direction.",
)
PATH_LENGTH = flags.DEFINE_integer(
  "path_length",
  None,
  "Steps of a walk over the map, 7 if not given; of the shortest path between "
  "two stations, 4 if not given.",
  lower_bound=1,
)
EVERY_LENGTH = flags.DEFINE_bool(
  "every_length",
  False,
  "For shortest_path: a row for each length that the map's paths have.",
)
READINGS = flags.DEFINE_integer(
  "readings",
  1,
  "For shortest_path with a --map: how often the map is told, each time under "
  "other labels and in another order; moves are decided by the mean of their "
  "chances.",
  lower_bound=1,
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


def main(argv: Sequence[str]) -> None:
  """Evaluates as the flags say."""
  del argv
  place = None if MAP.value is None else cities.load(MAP.value)
  family = None if FAMILY.value is None else family_files.load(FAMILY.value)
  config, params, where = find_network()
  config, task = with_task_options(config)
  if MEMORY_SIZE.value is not None and MEMORY_SIZE.value < 1:
    raise ValueError(
      f"memory_size must be at least 1, got {MEMORY_SIZE.value}."
    )
  if EVERY_LENGTH.value and (place is None or config.task != "shortest_path"):
    raise ValueError("--every_length is for shortest_path with a --map.")
  if READINGS.value > 1 and (place is None or config.task != "shortest_path"):
    raise ValueError("--readings is for shortest_path with a --map.")
  network = Network(config, params, task)
  device = jax.devices()[0].device_kind
  if family is not None:
    if place is not None:
      raise ValueError("Give one of --map and --family.")
    found = [_on_a_family(network, family)]
  elif place is None:
    found = [_on_a_lesson(network)]
  elif config.task not in ("traversal", "shortest_path"):
    raise ValueError(
      f"--map is for traversal and shortest_path, not for {config.task}."
    )
  else:
    if MEMORY_SIZE.value is None:
      check_memory_size(config, place.name, len(place.edges))
    on_map = _walks if config.task == "traversal" else _routes
    found = on_map(network, place)
  if SHOW.value:
    print(found[0].measured.picture)
  print(f"{config.task}: {found[0].what}, {where}, on {device}")
  rows = [
    x.cells | {"sequences": str(x.episodes)} | _cells(task, x.measured)
    for x in found
  ]
  print(_table(rows))
  print(json.dumps(_json(config, found)))


class Network(NamedTuple):
  """A trained network, and the task that it is to do."""

  config: RunConfig
  params: hk.Params
  task: Task

  def measure(self, sample: Sampler, episodes: int) -> Measured:
    """Measures it on what the sampler draws, as the flags say."""
    return measure(
      self.config,
      self.params,
      self.task,
      sample,
      episodes=episodes,
      batch_size=EVAL_BATCH_SIZE.value,
      seed=EVAL_SEED.value,
      memory_size=MEMORY_SIZE.value,
      readings=READINGS.value,
    )


class Found(NamedTuple):
  """What was measured.

  Attributes:
    what: On what, in words.
    fields: The same, by name.
    cells: What comes before the measurements in a row of the table, by heading.
    episodes: Sequences measured.
    measured: The measurements.
  """

  what: str
  fields: dict[str, Any]
  cells: dict[str, str]
  episodes: int
  measured: Measured


def _on_a_lesson(network: Network) -> Found:
  """Measures on the lesson that the flags name."""
  lesson = lesson_of(network.task, LESSON.value)
  measured = network.measure(
    lesson_sampler(network.task, lesson - 1), EPISODES.value
  )
  what = f"lesson {lesson} of {network.task.num_lessons}"
  return Found(what, {"lesson": lesson}, {}, EPISODES.value, measured)


def _on_a_family(network: Network, family: Family) -> Found:
  """Measures on the relations of a family."""
  given = flags.FLAGS["episodes"].present
  what, fields, episodes, measured = relatives.measure_family(
    network.config,
    network.params,
    family,
    length=RELATION_LENGTH.value,
    episodes=EPISODES.value if given else None,
    batch_size=EVAL_BATCH_SIZE.value,
    seed=EVAL_SEED.value,
    memory_size=MEMORY_SIZE.value,
  )
  return Found(what, fields, {}, episodes, measured)


def _walks(network: Network, place: underground.Map) -> list[Found]:
  """Measures random walks over a map."""
  steps = 7 if PATH_LENGTH.value is None else PATH_LENGTH.value
  measured = network.measure(map_sampler(place.edges, steps), EPISODES.value)
  what = f"{steps}-step walks on {_describe(place)}"
  fields = {"map": place.name, "path_length": steps}
  return [Found(what, fields, {}, EPISODES.value, measured)]


def _routes(network: Network, place: underground.Map) -> list[Found]:
  """Measures routes over a map, those of the length asked for first."""
  one = graphs.labelled_copies(np.random.default_rng(0), place.edges, 1)
  between, chance = routes.distances(one)[0], routes.chance(one)[0]
  lengths = np.unique(between[(between > 0) & (between < routes.UNREACHABLE)])
  wanted = 4 if PATH_LENGTH.value is None else PATH_LENGTH.value
  if wanted not in lengths:
    raise ValueError(
      f"path_length must be from {lengths[0]} to {lengths[-1]} on the map "
      f"{place.name}, got {wanted}."
    )
  order = [wanted]
  if EVERY_LENGTH.value:
    order += [length for length in lengths.tolist() if length != wanted]
  found = []
  for length in order:
    pairs = route_pairs(between, length, EVAL_SEED.value)
    episodes = min(len(pairs), EPISODES.value)
    sampler = route_sampler(
      cast(ShortestPath, network.task), place.edges, pairs, READINGS.value
    )
    by_chance = float(chance[between == length].mean())
    found.append(
      Found(
        f"shortest paths on {_describe(place)}",
        {
          "map": place.name,
          "path_length": length,
          "pairs": len(pairs),
          "by_chance": by_chance,
          "readings": READINGS.value,
        },
        {
          "steps": str(length),
          "pairs": str(len(pairs)),
          "by chance": f"{by_chance:.2%}",
          "readings": str(READINGS.value),
        },
        episodes,
        network.measure(sampler, episodes),
      )
    )
  return found


def _describe(place: underground.Map) -> str:
  return f"{place.name} ({len(place.nodes)} stations, {len(place.edges)} edges)"


def _json(config: RunConfig, found: list[Found]) -> dict[str, Any]:
  """Returns what machines read: the first, and the others below it."""
  rows = [
    x.fields
    | {
      "episodes": x.episodes,
      "accuracy": x.measured.accuracy,
      "unit_accuracy": x.measured.unit_accuracy,
      "loss": x.measured.loss,
      "memory_size": x.measured.memory_size,
      "seed": EVAL_SEED.value,
    }
    | {
      name: None if math.isnan(value) else value
      for name, value in x.measured.summary.items()
    }
    for x in found
  ]
  result = {"task": config.task} | rows[0]
  return result | ({"every_length": rows} if len(rows) > 1 else {})


def _cells(task: Task, measured: Measured) -> dict[str, str]:
  """Returns measurements as cells of a table, by heading."""
  summary = measured.summary
  cells = {
    "all right": f"{measured.accuracy:.2%}",
    f"{task.unit}s right": f"{measured.unit_accuracy:.3%}",
  }
  if "arrived" in summary:
    cells["arrived"] = f"{summary['arrived']:.2%}"
    cells["too long by"] = f"{summary['excess']:.2f}"
  return cells | {
    "loss": f"{measured.loss:.4f}",
    "slots": str(measured.memory_size),
    "seconds": f"{measured.seconds:.1f}",
  }


def _table(rows: list[dict[str, str]]) -> str:
  """Returns cells by heading as the lines of a table."""
  lines = [list(rows[0]), *(list(row.values()) for row in rows)]
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  return "\n".join(
    "  ".join(cell.rjust(width) for cell, width in zip(line, widths))
    for line in lines
  )


if __name__ == "__main__":
  flags.adopt_module_key_flags(named)
  task_flags.define_task_flags()
  shared.run_script(main)
