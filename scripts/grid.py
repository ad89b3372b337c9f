"""What a comparison's file asks for: its settings, and the runs of each."""

import dataclasses
import itertools
import json
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from scripts import comparison

FIRST_SEARCH_SEED = 1000


@dataclasses.dataclass(frozen=True)
class Comparison:
  """What a file says is to be compared; fields as there."""

  title: str
  settings: dict[str, dict[str, Any]]
  flags: dict[str, Any] = dataclasses.field(default_factory=dict)
  seeds: int = 5
  updates: int = 10_000
  report_interval: int = 100
  threshold: float = 1.0
  evaluations: dict[str, dict[str, Any]] = dataclasses.field(
    default_factory=dict
  )
  search: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
  search_seeds: int = 1
  together: bool = False

  def __post_init__(self):
    """Checks the fields.

    Raises:
      ValueError: A field has a value that it cannot have.
    """
    for field in ("seeds", "updates", "report_interval", "search_seeds"):
      value = getattr(self, field)
      if not isinstance(value, int) or value < 1:
        raise ValueError(f"{field} must be at least 1, got {value!r}.")
    if self.updates % self.report_interval:
      raise ValueError(
        f"updates must be a multiple of report_interval, "
        f"{self.report_interval}, got {self.updates}: what comes after the "
        "last report would not be seen."
      )
    if not isinstance(self.threshold, int | float) or not (
      0 <= self.threshold <= 1
    ):
      raise ValueError(
        f"threshold must be from 0 to 1, got {self.threshold!r}."
      )
    for field in ("settings", "evaluations"):
      groups = getattr(self, field)
      if not isinstance(groups, dict) or not all(
        isinstance(x, dict) for x in groups.values()
      ):
        raise ValueError(f"{field} must be objects of flags by name.")
    if not isinstance(self.flags, dict):
      raise ValueError("flags must be an object of flags by name.")
    if not isinstance(self.search, dict) or not all(
      isinstance(x, list) and x for x in self.search.values()
    ):
      raise ValueError("search must be an object of lists of values by flag.")
    if not isinstance(self.together, bool):
      raise ValueError(
        f"together must be true or false, got {self.together!r}."
      )
    if not self.settings:
      raise ValueError("settings must name at least one setting.")
    folders = {folder_name(name) for name in self.settings}
    if len(folders) < len(self.settings) or "" in folders:
      raise ValueError("settings must differ in letters or digits.")

  def is_over(self, outcome: comparison.Outcome) -> bool:
    """Returns whether a run learned, or did all the updates it may."""
    return outcome.learned_at is not None or outcome.steps[-1] >= self.updates


class Job:
  """A run of the comparison: a setting with a seed.

  Attributes:
    setting: Its setting's name.
    seed: Its seed.
    searched: Values of the flags that are searched over, by flag.
    is_search: Whether it is there to choose those, and not compared.
    folder: Where it is kept.
    flags: What it is trained with besides the seed, by flag.
  """

  def __init__(
    self,
    what: Comparison,
    setting: str,
    seed: int,
    root: pathlib.Path,
    searched: dict[str, Any] | None = None,
    folder: str = "",
  ):
    """Names it.

    Args:
      what: The comparison.
      setting: Its setting.
      seed: Its seed.
      root: Folder of the comparison.
      searched: Values of the flags that are searched over.
      folder: Where it is below its setting's; the seed if not given.
    """
    self._what = what
    self.setting = setting
    self.seed = seed
    self.searched = searched or {}
    self.is_search = bool(folder)
    self.folder = root / folder_name(setting) / (folder or str(seed))
    self.flags = what.flags | what.settings[setting] | self.searched

  @property
  def name(self) -> str:
    """What it is called."""
    tried = "".join(f", {flag} {x}" for flag, x in self.searched.items())
    return f"{self.setting}{tried}, seed {self.seed}"

  def evaluate_command(self, evaluation: str, task: str) -> list[str]:
    """What measures it on its task."""
    options = self._what.evaluations[evaluation]
    return [
      *command("evaluate", {"task": task} | options),
      f"--checkpoint_dir={self.folder}",
    ]

  def outcome(self, num_lessons: int) -> comparison.Outcome | None:
    """What it did so far."""
    return comparison.read_outcome(
      self.folder, self.seed, self._what.threshold, num_lessons
    )


def in_groups(what: Comparison, jobs: Sequence[Job]) -> list[list[Job]]:
  """Returns jobs that one process trains: those that differ in the seed.

  Each alone, unless they are to be trained together.
  """
  groups: dict[Any, list[Job]] = {}
  for job in jobs:
    alone = () if what.together else (job.seed,)
    groups.setdefault((job.folder.parent, *alone), []).append(job)
  return list(groups.values())


def train_command(what: Comparison, jobs: Sequence[Job]) -> list[str]:
  """Returns what trains the jobs of a group, one or several."""
  first = jobs[0]
  seeds = ",".join(str(job.seed) for job in jobs)
  if what.together:
    given = {"seeds": seeds, "checkpoint_dir": first.folder.parent}
  else:
    given = {"seed": seeds, "checkpoint_dir": first.folder}
  return command(
    "train",
    first.flags
    | given
    | {
      "num_training_iterations": what.updates,
      "report_interval": what.report_interval,
      "checkpoint_interval": what.report_interval * 10,
      "stop_accuracy": what.threshold,
    },
  )


def folder_name(setting: str) -> str:
  """Returns a setting's name as that of a folder."""
  return re.sub(r"[^a-z0-9]+", "_", setting.lower()).strip("_")


def read(path: pathlib.Path) -> Comparison:
  """Returns what a file says is to be compared.

  Raises:
    ValueError: It cannot be read, or says something that cannot be.
  """
  try:
    fields = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise ValueError(f"{path} cannot be read: {error}") from None
  names = [field.name for field in dataclasses.fields(Comparison)]
  if not isinstance(fields, dict) or not {"title", "settings"} <= set(fields):
    raise ValueError(f"{path} must be an object with title and settings.")
  for name in fields:
    if name not in names:
      raise ValueError(
        f"{path} has {name!r}, which is none of {', '.join(names)}."
      )
  try:
    return Comparison(**fields)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from None


def search_jobs(
  what: Comparison, setting: str, root: pathlib.Path
) -> list[Job]:
  """Returns the runs that try a setting with each value searched over."""
  if not what.search:
    return []
  found = []
  for values in itertools.product(*what.search.values()):
    tried = dict(zip(what.search, values, strict=True))
    name = "_".join(f"{flag}_{value}" for flag, value in tried.items())
    for number in range(what.search_seeds):
      # Seeds that are not compared: what was chosen by luck does not count.
      seed = FIRST_SEARCH_SEED + number
      folder = f"search/{folder_name(name)}/{seed}"
      found.append(Job(what, setting, seed, root, tried, folder))
  return found


def choose(
  what: Comparison, jobs: Sequence[Job], num_lessons: int
) -> dict[str, Any] | None:
  """Returns the values with which a setting learned fastest in its search.

  That is the least median of the updates to the threshold; where none reached
  it, or as fast, the most units right at the end; and then the first.

  Args:
    what: The comparison.
    jobs: The setting's `search_jobs`.
    num_lessons: Lessons of its task.

  Returns:
    Values by flag, none without a search; None while runs are missing.
  """
  ranks = []
  for tried in [dict(x) for x in dict.fromkeys(_items(job) for job in jobs)]:
    own = [x.outcome(num_lessons) for x in jobs if x.searched == tried]
    done = [x for x in own if x is not None and what.is_over(x)]
    if len(done) < len(own):
      return None
    reached = [x.learned_at or np.inf for x in done]
    right = [x.unit_accuracies[-1] for x in done]
    ranks.append((float(np.median(reached)), -float(np.mean(right)), tried))
  return min(ranks, key=lambda x: x[:2])[2] if ranks else {}


def _items(job: Job) -> tuple[tuple[str, Any], ...]:
  return tuple(job.searched.items())


def command(script: str, options: dict[str, Any]) -> list[str]:
  """Returns the command of a script with flags."""
  given = []
  for name, value in options.items():
    if isinstance(value, bool):
      given.append(f"--{'' if value else 'no'}{name}")
    else:
      given.append(f"--{name}={value}")
  return [sys.executable, "-m", f"scripts.{script}", *given]
