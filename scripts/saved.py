"""What a run is made of, and what is left of it in a folder."""

import dataclasses
import json
import os
import pathlib
from typing import Any

import haiku as hk
import jax

import tasks
from dnc_jax import (
  ModelConfig,
  curriculum,
  reset_read_heads,
  training,
  widen_words,
)
from dnc_jax.checkpoint import Checkpoints, load_params
from tasks.base import Task


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """All that decides what a run computes.

  Attributes:
    task: Name of the task.
    task_options: Its options, by name.
    model: The network.
    optimiser: How it is trained.
    batch_size: Sequences in a batch, at least 1.
    seed: What parameters and batches are drawn from.
    slots_by_lesson: Gives the memory as many slots as each lesson needs, rather
      than the model's ``memory_size``.
    length_multiple: 0 to pad every batch to its lesson's longest possible
      sequence, so that each lesson is compiled once. Otherwise each is padded
      to the next multiple of this above its own longest, which for large
      graphs is much shorter, and has as many slots as steps.
    advance_threshold: Fraction of a lesson's sequences to get fully right
      before the next, in (0, 1].
    advance_interval: Batches between the checks of that, at least 1.
    earlier_fraction: Part of the examples from earlier lessons, in [0, 1].
    max_steps_per_lesson: Batches after which the next lesson begins anyway;
      None for no such limit.
    initial_weights: Folder whose weights the run starts from, or None.
    reset_read_heads: Draws anew where the read heads of those weights look.
    kept_heads: Read heads that this leaves, by number.
  """

  task: str
  task_options: dict[str, Any]
  model: ModelConfig
  optimiser: training.OptimiserConfig
  batch_size: int = 16
  seed: int = 0
  slots_by_lesson: bool = False
  length_multiple: int = 0
  advance_threshold: float = 0.9
  advance_interval: int = 100
  earlier_fraction: float = 0.1
  max_steps_per_lesson: int | None = None
  initial_weights: str | None = None
  reset_read_heads: bool = False
  kept_heads: tuple[int, ...] = ()

  def __post_init__(self):
    """Checks the fields that are not checked elsewhere.

    Raises:
      ValueError: A field is out of its range.
    """
    if self.batch_size < 1:
      raise ValueError(f"batch_size must be at least 1, got {self.batch_size}.")
    if self.seed < 0:
      raise ValueError(f"seed must be at least 0, got {self.seed}.")
    if self.length_multiple < 0:
      raise ValueError(
        f"length_multiple must be at least 0, got {self.length_multiple}."
      )
    if self.reset_read_heads and self.initial_weights is None:
      raise ValueError("reset_read_heads is for runs with initial_weights.")
    if self.kept_heads and not self.reset_read_heads:
      raise ValueError("kept_heads is for runs with reset_read_heads.")
    self.curriculum(1)

  def curriculum(self, num_lessons: int) -> curriculum.Curriculum:
    """Returns when to go on to the next of so many lessons."""
    return curriculum.Curriculum(
      num_lessons,
      threshold=self.advance_threshold,
      interval=self.advance_interval,
      earlier_fraction=self.earlier_fraction,
      max_steps_per_lesson=self.max_steps_per_lesson,
    )

  def to_dict(self) -> dict[str, Any]:
    """Returns the fields by name, for JSON."""
    return dataclasses.asdict(self)

  @classmethod
  def from_dict(cls, fields: dict[str, Any]) -> "RunConfig":
    """Returns the config that `to_dict` gave.

    Raises:
      ValueError: It is not one.
    """
    try:
      return cls(
        **fields
        | {
          "model": ModelConfig.from_dict(fields["model"]),
          "optimiser": training.OptimiserConfig(**fields["optimiser"]),
          "kept_heads": tuple(fields.get("kept_heads", ())),
        }
      )
    except (KeyError, TypeError) as error:
      raise ValueError(f"This is not a run's config: {error}.") from None

  def make_task(self) -> Task:
    """Returns the task."""
    return tasks.make(self.task, **self.task_options)


def read_config(folder: pathlib.Path) -> RunConfig:
  """Returns the config of the run in this folder.

  Raises:
    ValueError: There is none, or it cannot be read.
  """
  path = folder / "config.json"
  if not folder.is_dir():
    raise ValueError(f"There is no folder {folder}.")
  if not path.is_file():
    raise ValueError(f"{folder} holds no run: it has no config.json.")
  try:
    return RunConfig.from_dict(json.loads(path.read_text()))
  except (OSError, ValueError, TypeError, AttributeError) as error:
    raise ValueError(f"{path} cannot be read: {error}") from None


def write_config(folder: pathlib.Path, config: RunConfig) -> None:
  """Writes the config of a run into its folder, whole or not at all.

  Raises:
    ValueError: The folder cannot be written.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".config.json"
    temporary.write_text(json.dumps(config.to_dict(), indent=2) + "\n")
    os.replace(temporary, folder / "config.json")
  except OSError as error:
    raise ValueError(
      f"The folder {folder} cannot be written: {error.strerror}."
    ) from None


def differences(saved: RunConfig, given: RunConfig) -> list[str]:
  """Returns a line for each setting in which two configs differ."""
  lines = []
  for name, old, new in changes("", saved.to_dict(), given.to_dict()):
    if old != new:
      lines.append(f"{name} is {old!r} in the folder and {new!r} now")
  return lines


def restore_params(folder: pathlib.Path) -> tuple[RunConfig, hk.Params, int]:
  """Returns config, parameters and step of a run or of weights that ship.

  Args:
    folder: A run's folder, with its checkpoints, or one with a
      ``weights.npz``.

  Raises:
    ValueError: The folder holds neither, or another model's.
  """
  config = read_config(folder)
  like = jax.eval_shape(lambda: initial_state(config))
  if (folder / "weights.npz").is_file():
    return config, load_params(folder, like.params), 0
  restored = Checkpoints(folder / "checkpoints").restore(like)
  if restored is None:
    raise ValueError(f"{folder} holds no checkpoint yet.")
  step, state, _ = restored
  return config, state.params, step


def pretrained_folder(name: str) -> pathlib.Path:
  """Returns the folder of the weights of this name that ship.

  Raises:
    ValueError: There are none.
  """
  root = pathlib.Path(__file__).parent.parent / "pretrained"
  names = sorted(path.parent.name for path in root.glob("*/weights.npz"))
  if name not in names:
    raise ValueError(
      f"pretrained must be one of {', '.join(names) or 'none'}, got {name!r}."
    )
  return root / name


def initial_state(config: RunConfig) -> training.TrainState:
  """Returns the state that a run begins with."""
  return training.init_state(
    config.model, config.optimiser, config.make_task().input_size, config.seed
  )


def initial_params(config: RunConfig, like: hk.Params) -> hk.Params:
  """Returns the weights that a run starts from instead of random ones.

  Those of the same model with shorter words are widened; then the read heads
  are reset if the config says so.
  """
  folder = pathlib.Path(config.initial_weights or "")
  saved, params, _ = restore_params(folder)
  same = dataclasses.replace(
    config,
    model=dataclasses.replace(saved.model, word_size=config.model.word_size),
  )
  shapes = [
    jax.tree.map(lambda x: x.shape, tree)
    for tree in (jax.eval_shape(lambda: initial_state(same).params), like)
  ]
  longer = config.model.word_size - saved.model.word_size
  if shapes[0] != shapes[1] or longer < 0:
    lines = changes("", saved.model.to_dict(), config.model.to_dict())
    what = "; ".join(f"{n} is {a!r} there, {b!r} here" for n, a, b in lines)
    raise ValueError(f"{folder} holds weights of another model: {what}.")
  if not (longer or config.reset_read_heads):
    return params
  fresh = initial_state(config).params
  if longer:
    params = widen_words(params, saved.model, fresh)
  if config.reset_read_heads:
    params = reset_read_heads(params, config.model, fresh, config.kept_heads)
  return params


def changes(
  prefix: str, old: dict[str, Any], new: dict[str, Any]
) -> list[tuple[str, Any, Any]]:
  """Returns name and both values where two nested dictionaries differ."""
  pairs = []
  for name in sorted(old.keys() | new.keys()):
    a, b = old.get(name), new.get(name)
    if isinstance(a, dict) and isinstance(b, dict):
      pairs += changes(f"{prefix}{name}.", a, b)
    elif a != b:
      pairs.append((prefix + name, a, b))
  return pairs
