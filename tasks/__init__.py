"""Tasks to train and to test on, run from a checkout."""

import dataclasses
import typing
from typing import Any

from tasks import inference, shortest_path, traversal
from tasks.associative_recall import AssociativeRecall
from tasks.base import Task
from tasks.copy_task import Copy
from tasks.dynamic_n_grams import DynamicNGrams
from tasks.inference import Inference
from tasks.key_value_recall import KeyValueRecall
from tasks.priority_sort import PrioritySort
from tasks.repeat_copy import RepeatCopy
from tasks.shortest_path import ShortestPath
from tasks.traversal import Traversal

TASKS: dict[str, type[Task]] = {
  task.name: task
  for task in (
    RepeatCopy,
    Copy,
    AssociativeRecall,
    KeyValueRecall,
    PrioritySort,
    DynamicNGrams,
    Traversal,
    ShortestPath,
    Inference,
  )
}

# Options that are given by the name of a value.
_NAMED: dict[tuple[str, str], dict[str, Any]] = {
  ("traversal", "lessons"): traversal.LESSONS,
  ("shortest_path", "lessons"): shortest_path.LESSONS,
  ("inference", "lessons"): inference.LESSONS,
}


def make(name: str, **options: Any) -> Task:
  """Returns a task by its name.

  >>> make("repeat_copy", max_length=5).length(0)
  18
  >>> make("traversal", lessons="city").num_lessons
  8

  Args:
    name: One of `TASKS`.
    **options: Fields of the task, other than its defaults. The values of
      ``lessons`` are named, as in `tasks.traversal.LESSONS`.

  Raises:
    ValueError: There is no such task or option, or an option has a value that
      it cannot have.
  """
  if name not in TASKS:
    raise ValueError(f"task must be one of {', '.join(TASKS)}, got {name!r}.")
  kinds = _option_types(name)
  known = ", ".join(f"{option} ({kind})" for option, kind in kinds.items())
  values = {}
  for option, value in options.items():
    if option not in kinds:
      raise ValueError(f"{name} has no option {option!r}; it has {known}.")
    choices = _NAMED.get((name, option))
    if choices:
      fits = isinstance(value, str) and value in choices
    else:
      fits = _fits(value, kinds[option])
    if not fits:
      raise ValueError(
        f"{option} of {name} must be {kinds[option]}, got {value!r}; the "
        f"options of {name} are {known}."
      )
    values[option] = choices[value] if choices else value
  return TASKS[name](**values)


def _option_types(name: str) -> dict[str, str]:
  """Returns what each option of a task must be, in words."""
  task = TASKS[name]
  hints = typing.get_type_hints(task)
  kinds = {}
  for field in dataclasses.fields(typing.cast(Any, task)):
    choices = _NAMED.get((name, field.name))
    kinds[field.name] = (
      " or ".join(map(repr, choices)) if choices else hints[field.name].__name__
    )
  return kinds


def _fits(value: object, kind: str) -> bool:
  """Returns whether a value is of the type named; an int is also a float."""
  given = type(value).__name__
  return given == kind or (given == "int" and kind == "float")
