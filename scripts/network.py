"""The trained network that flags name, and the task that it is to do."""

import dataclasses

import haiku as hk
from absl import flags

import tasks
from scripts import flags as shared
from scripts import task_flags
from scripts.saved import RunConfig, pretrained_folder, restore_params
from tasks.base import Task

PRETRAINED = flags.DEFINE_string(
  "pretrained", None, "Name of weights that ship, a folder below pretrained/."
)


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


def with_task_options(config: RunConfig) -> tuple[RunConfig, Task]:
  """Returns a config with the task options that the flags give, and its task.

  Raises:
    ValueError: With them the task has other sizes than the network.
  """
  given = task_flags.task_options(config.task)
  options = config.task_options | given
  task = tasks.make(config.task, **options)
  trained = config.make_task()
  sizes = (task.input_size, task.output_size)
  if sizes != (trained.input_size, trained.output_size):
    changed = ", ".join(f"--{name}" for name in given)
    raise ValueError(
      f"The network hears {trained.input_size} numbers and answers "
      f"{trained.output_size}, but with {changed} the task has {sizes[0]} and "
      f"{sizes[1]}."
    )
  return dataclasses.replace(config, task_options=options), task


def lesson_of(task: Task, lesson: int | None) -> int:
  """Returns a lesson, from 1; the last if None is given.

  Raises:
    ValueError: The task has no such lesson.
  """
  last = task.num_lessons
  lesson = last if lesson is None else lesson
  if not 1 <= lesson <= last:
    raise ValueError(f"lesson must be from 1 to {last}, got {lesson}.")
  return lesson
