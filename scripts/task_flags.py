"""Flags of the tasks: their options."""

from typing import Any

from absl import flags

from tasks import inference, route_environment, shortest_path, traversal

FLAGS = flags.FLAGS


def define_task_flags() -> None:
  """Defines the options of the tasks; what is not given is the task's own."""
  flags.DEFINE_integer("num_bits", None, "Bits of a vector.")
  flags.DEFINE_integer("item_length", None, "Vectors of an item.")
  flags.DEFINE_integer("min_items", None, "Fewest items.")
  flags.DEFINE_integer("max_items", None, "Most items.")
  flags.DEFINE_integer("num_kept", None, "Vectors of highest priority wanted.")
  flags.DEFINE_bool("two_way", None, "Asks for the key of each value, too.")
  flags.DEFINE_integer("context", None, "Bits that the next depends on.")
  flags.DEFINE_integer("min_length", None, "Fewest vectors or bits.")
  flags.DEFINE_integer("max_length", None, "Most vectors or bits.")
  flags.DEFINE_integer("min_repeats", None, "Fewest times to repeat them.")
  flags.DEFINE_integer("max_repeats", None, "Most times to repeat them.")
  flags.DEFINE_integer("min_instances", None, "Fewest patterns, one by one.")
  flags.DEFINE_integer("max_instances", None, "Most patterns, one by one.")
  flags.DEFINE_bool(
    "growing", None, "A lesson for each number of patterns, from fewest."
  )
  flags.DEFINE_enum(
    "lessons",
    None,
    list(
      dict.fromkeys(
        [*traversal.LESSONS, *shortest_path.LESSONS, *inference.LESSONS]
      )
    ),
    "Lessons of a graph task, by name.",
  )
  flags.DEFINE_integer(
    "table_seed", None, "What the relations of inference are drawn from."
  )
  flags.DEFINE_bool(
    "worked", None, "Trains what to say while planning, too: worked answers."
  )
  flags.DEFINE_integer(
    "worked_rounds",
    None,
    "How often a worked search for a route goes back to both ends.",
  )
  flags.DEFINE_integer(
    "worked_buckets",
    None,
    "Buckets that a worked search tells beside digits; as num_buckets.",
  )
  flags.DEFINE_integer(
    "num_queries", None, "Walks, routes or relations asked for on each graph."
  )
  flags.DEFINE_bool(
    "small_pools", None, "Draws how many edge labels a graph has, too."
  )
  flags.DEFINE_bool(
    "close_labels", None, "Draws half of a graph's labels from few digits."
  )
  flags.DEFINE_float(
    "double_edges",
    None,
    "How likely an edge leads where another of its node does, too.",
  )
  flags.DEFINE_integer(
    "planning_steps", None, "Steps to think between a query and its answer."
  )
  flags.DEFINE_float(
    "planning_per_edge", None, "As many more for each edge of the graph."
  )
  flags.DEFINE_integer(
    "extra_steps", None, "Moves beyond the shortest path's before a walk ends."
  )
  flags.DEFINE_float(
    "planner_fraction",
    None,
    "How likely a move in training is the planner's (DAgger's beta).",
  )
  flags.DEFINE_enum(
    "target",
    None,
    route_environment.TARGETS,
    "Which first steps are right: all shortest ones, one, or all evenly.",
  )
  flags.DEFINE_integer(
    "slack", None, "Steps too long at which a lesson's path still counts."
  )


TASK_OPTIONS = {
  "repeat_copy": (
    "num_bits", "min_length", "max_length", "min_repeats", "max_repeats",
    "min_instances", "max_instances", "growing",
  ),
  "copy": (
    "num_bits", "min_length", "max_length", "min_instances", "max_instances",
    "growing",
  ),
  "associative_recall": ("num_bits", "item_length", "min_items", "max_items"),
  "key_value_recall": ("num_bits", "min_items", "max_items", "two_way"),
  "priority_sort": ("num_bits", "min_items", "max_items", "num_kept"),
  "dynamic_n_grams": ("context", "min_length", "max_length"),
  "traversal": ("lessons", "num_queries", "small_pools", "close_labels"),
  "shortest_path": (
    "lessons", "num_queries", "planning_steps", "planning_per_edge",
    "extra_steps", "planner_fraction", "target", "slack", "small_pools",
    "close_labels", "double_edges", "worked", "worked_rounds",
    "worked_buckets",
  ),
  "inference": (
    "lessons", "num_queries", "planning_steps", "table_seed", "worked",
  ),
}  # fmt: skip


def task_options(task: str) -> dict[str, Any]:
  """Returns the options of a task that were given, by name.

  Raises:
    ValueError: An option was given that belongs to another task.
  """
  every = sorted({name for names in TASK_OPTIONS.values() for name in names})
  given = {name: FLAGS[name].value for name in every}
  for name, value in given.items():
    if value is not None and name not in TASK_OPTIONS[task]:
      raise ValueError(
        f"--{name} is not an option of the task {task}, which has "
        + ", ".join(f"--{option}" for option in TASK_OPTIONS[task])
        + "."
      )
  return {name: value for name, value in given.items() if value is not None}
