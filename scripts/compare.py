"""Trains settings with several seeds each, and tells how they compare.

    python -m scripts.compare docs/comparisons/graph_options.json

The file says what is compared:

    {
      "title": "What a network needs to walk small graphs",
      "flags": {"task": "traversal", "lessons": "city"},
      "settings": {"mask": {}, "no mask": {"content_mask": false}},
      "seeds": 3,
      "updates": 10000,
      "report_interval": 100,
      "threshold": 0.9,
      "evaluations": {"twice the slots": {"memory_size": 64}}
    }

Flags are those of ``scripts.train``, a setting's win over the common ones;
evaluations are flags of ``scripts.evaluate``. Each run ends after so many
updates, or at the first report in which so much of the last lesson's sequences
were fully right. A comparison that was stopped goes on where it was. Its folder
holds the runs, ``results.md``, ``results.csv`` and ``curves.png``.
"""

import dataclasses
import json
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent import futures
from typing import Any

from absl import flags
from absl.testing import flagsaver

from dnc_jax import training
from scripts import comparison
from scripts import flags as shared
from scripts.run import Stop
from scripts.saved import RunConfig, initial_state

FOLDER = flags.DEFINE_string(
  "folder", None, "Where runs and results go; runs/<the file's name>."
)
JOBS = flags.DEFINE_integer("jobs", 1, "Runs at a time.", lower_bound=1)


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

  def __post_init__(self):
    """Checks the fields.

    Raises:
      ValueError: A field has a value that it cannot have.
    """
    for field in ("seeds", "updates", "report_interval"):
      value = getattr(self, field)
      if not isinstance(value, int) or value < 1:
        raise ValueError(f"{field} must be at least 1, got {value!r}.")
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
    if not self.settings:
      raise ValueError("settings must name at least one setting.")
    folders = {folder_name(name) for name in self.settings}
    if len(folders) < len(self.settings) or "" in folders:
      raise ValueError("settings must differ in letters or digits.")


class Job:
  """A run of the comparison: a setting with a seed."""

  def __init__(self, what: Comparison, setting: str, seed: int, root: Any):
    """Names it."""
    self._what = what
    self.setting = setting
    self.seed = seed
    self.folder = pathlib.Path(root) / folder_name(setting) / str(seed)
    self.flags = what.flags | what.settings[setting] | {"seed": seed}

  @property
  def train_command(self) -> list[str]:
    """What trains it."""
    return [
      *_command("train", self.flags),
      f"--checkpoint_dir={self.folder}",
      f"--num_training_iterations={self._what.updates}",
      f"--report_interval={self._what.report_interval}",
      f"--checkpoint_interval={self._what.report_interval * 10}",
      f"--stop_accuracy={self._what.threshold}",
    ]

  def evaluate_command(self, evaluation: str, task: str) -> list[str]:
    """What measures it on its task."""
    options = self._what.evaluations[evaluation]
    return [
      *_command("evaluate", {"task": task} | options),
      f"--checkpoint_dir={self.folder}",
    ]

  def outcome(self, num_lessons: int) -> comparison.Outcome | None:
    """What it did so far."""
    return comparison.read_outcome(
      self.folder, self.seed, self._what.threshold, num_lessons
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


def run_config(job: Job) -> RunConfig:
  """Returns what a job's flags stand for.

  Raises:
    ValueError: One of them is no flag of training, or has a wrong value.
  """
  with flagsaver.flagsaver():
    try:
      flags.FLAGS(_command("train", job.flags)[2:])
      return shared.run_config()
    except (flags.Error, ValueError) as error:
      raise ValueError(f"setting {job.setting!r}: {error}") from None


def main(argv: Sequence[str]) -> int:
  """Compares as the file and the flags say, and returns the exit status."""
  if len(argv) != 1:
    raise ValueError(
      "Name the file that says what is compared, such as "
      "docs/comparisons/graph_options.json."
    )
  path = pathlib.Path(argv[0])
  what = read(path)
  root = pathlib.Path(FOLDER.value or f"runs/{path.stem}")
  jobs = [
    Job(what, setting, seed, root)
    for seed in range(what.seeds)
    for setting in what.settings
  ]
  # All that can be wrong with a setting is said before any is trained.
  configs = {job.setting: run_config(job) for job in jobs[: len(what.settings)]}
  lessons = {
    name: config.make_task().num_lessons for name, config in configs.items()
  }
  root.mkdir(parents=True, exist_ok=True)
  print(f"{what.title}: {len(jobs)} runs, in {root}", flush=True)

  stop = Stop()
  processes: set[subprocess.Popen] = set()
  told: set[subprocess.Popen] = set()

  def work(job: Job) -> str:
    """Trains and measures one; returns what went wrong, or nothing."""
    if stop.signal is None:
      return _carry_on(
        what, job, configs[job.setting], lessons[job.setting], processes, stop
      )
    return ""

  failed = []
  with futures.ThreadPoolExecutor(JOBS.value) as pool:
    waiting = {pool.submit(work, job): job for job in jobs}
    while waiting:
      done, _ = futures.wait(
        waiting, timeout=0.2, return_when=futures.FIRST_COMPLETED
      )
      if stop.signal is not None:
        for process in processes - told:  # A second signal would kill it.
          process.send_signal(signal.SIGTERM)
          told.add(process)
      for one in done:
        job = waiting.pop(one)
        if wrong := one.result():
          failed.append(f"{job.setting}, seed {job.seed}: {wrong}")
          print(failed[-1], flush=True)
        elif stop.signal is None:
          _tell(job, lessons[job.setting], len(jobs) - len(waiting), len(jobs))
        write_results(what, jobs, configs, lessons, root)
  stop.close()
  if stop.signal is not None:
    ended_by = signal.Signals(stop.signal).name
    print(f"Stopped by {ended_by}. The same command goes on from there.")
    return 128 + stop.signal
  print((root / "results.md").read_text())
  if failed:
    raise ValueError(f"{len(failed)} of {len(jobs)} runs failed: {failed[0]}")
  return 0


def write_results(
  what: Comparison,
  jobs: Sequence[Job],
  configs: dict[str, RunConfig],
  lessons: dict[str, int],
  root: pathlib.Path,
) -> None:
  """Writes tables and curves of what there is so far."""
  settings = {}
  for name in what.settings:
    own = [job.outcome(lessons[name]) for job in jobs if job.setting == name]
    settings[name] = [outcome for outcome in own if outcome is not None]
  rows = [
    comparison.summarise(name, outcomes, what.seeds, configs[name].batch_size)
    for name, outcomes in settings.items()
  ]
  (root / "results.md").write_text(comparison.markdown(rows))
  comparison.write_csv(root / "results.csv", settings)
  if any(settings.values()):
    comparison.draw(root / "curves.png", what.title, settings)


def _carry_on(
  what: Comparison,
  job: Job,
  config: RunConfig,
  num_lessons: int,
  processes: set[subprocess.Popen],
  stop: Stop,
) -> str:
  """Trains and measures a job as far as it is not; returns what went wrong."""
  outcome = job.outcome(num_lessons)
  if outcome is None or not (
    outcome.learned_at is not None or outcome.steps[-1] >= what.updates
  ):
    began = time.monotonic()
    wrong, _ = _run(job.train_command, processes)
    if (job.folder / "config.json").is_file():
      notes = comparison.read_notes(job.folder)
      notes["seconds"] += time.monotonic() - began
      notes["parameters"] = training.num_params(initial_state(config).params)
      comparison.write_notes(job.folder, notes)
    if wrong or stop.signal is not None:
      return "" if stop.signal is not None else wrong
  for name in what.evaluations:
    notes = comparison.read_notes(job.folder)
    if name in notes["measured"] or stop.signal is not None:
      continue
    wrong, out = _run(job.evaluate_command(name, config.task), processes)
    if wrong:
      return "" if stop.signal is not None else wrong
    found = json.loads(out.splitlines()[-1])
    notes["measured"][name] = found["accuracy"]
    comparison.write_notes(job.folder, notes)
  return ""


def _run(
  command: list[str], processes: set[subprocess.Popen]
) -> tuple[str, str]:
  """Returns what a command's end tells of an error, or "", and its output."""
  process = subprocess.Popen(
    command,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    # So that Ctrl-C comes to this process alone, which tells the others.
    start_new_session=True,
  )
  processes.add(process)
  out, err = process.communicate()
  processes.remove(process)
  if process.returncode:
    lines = err.strip().splitlines() or [f"exit status {process.returncode}"]
    return lines[-1], out
  return "", out


def _command(script: str, options: dict[str, Any]) -> list[str]:
  """Returns the command of a script with flags."""
  given = []
  for name, value in options.items():
    if isinstance(value, bool):
      given.append(f"--{'' if value else 'no'}{name}")
    else:
      given.append(f"--{name}={value}")
  return [sys.executable, "-m", f"scripts.{script}", *given]


def _tell(job: Job, num_lessons: int, number: int, count: int) -> None:
  """Prints how a job went."""
  outcome = job.outcome(num_lessons)
  if outcome is None:
    return
  learned = "not learned"
  if outcome.learned_at is not None:
    learned = f"learned at {outcome.learned_at:,}"
  measured = "".join(
    f"  {name} {value:.1%}" for name, value in outcome.measured.items()
  )
  print(
    f"{number} of {count}  {job.setting}, seed {job.seed}: {learned}, units "
    f"{outcome.unit_accuracies[-1]:.1%} after {outcome.steps[-1]:,} updates, "
    f"{outcome.seconds / 60:.1f} min{measured}",
    flush=True,
  )


if __name__ == "__main__":
  shared.define_training_flags()
  shared.run_script(main, positional=True)
