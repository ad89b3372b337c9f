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
were fully right. With ``"search": {"learning_rate": [1e-4, 1e-3]}`` each
setting is first tried with each of these values, with seeds that are not
compared, and then compared with the one that it learned fastest with. A
comparison that was stopped goes on where it was. Its folder holds the runs,
``results.md``, ``results.csv`` and ``curves.png``.
"""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent import futures
from typing import Any, NamedTuple

import jax
from absl import flags
from absl.testing import flagsaver

from dnc_jax import training
from scripts import comparison
from scripts import flags as shared
from scripts.grid import (
  Comparison,
  Job,
  choose,
  command,
  in_groups,
  read,
  search_jobs,
  train_command,
)
from scripts.loop import Stop
from scripts.saved import RunConfig, initial_state

FOLDER = flags.DEFINE_string(
  "folder", None, "Where runs and results go; runs/<the file's name>."
)
JOBS = flags.DEFINE_integer("jobs", 1, "Runs at a time.", lower_bound=1)


class Setting(NamedTuple):
  """What is to be known of a setting besides its runs."""

  config: RunConfig
  num_lessons: int
  num_params: int
  state_bytes: int


def understand(job: Job) -> Setting:
  """Returns what a job's flags stand for.

  Raises:
    ValueError: One of them is no flag of training, or has a wrong value.
  """
  with flagsaver.flagsaver():
    try:
      flags.FLAGS(command("train", job.flags)[2:])
      config = shared.run_config()
      num_lessons = config.make_task().num_lessons
    except (flags.Error, ValueError) as error:
      raise ValueError(f"setting {job.setting!r}: {error}") from None
  params = jax.eval_shape(lambda: initial_state(config).params)
  return Setting(
    config,
    num_lessons,
    training.num_params(params),
    training.state_bytes(config.model),
  )


def main(argv: Sequence[str]) -> int:
  """Compares as the file and the flags say, and returns the exit status."""
  if len(argv) != 1:
    raise ValueError(
      "Name the file that says what is compared, such as "
      "docs/comparisons/walks.json."
    )
  path = pathlib.Path(argv[0])
  what = read(path)
  grid = Grid(what, pathlib.Path(FOLDER.value or f"runs/{path.stem}"))
  comparison.blank_page()  # Now, if it cannot be drawn, and not hours later.
  stop = Stop()
  with tempfile.TemporaryDirectory() as compiled:
    # What one seed compiles the others find. Not kept, unless the environment
    # says where: another machine might not be able to run it.
    grid.environment.setdefault("JAX_COMPILATION_CACHE_DIR", compiled)
    grid.run(grid.searches, stop)
    jobs = grid.jobs()
    if stop.signal is None:
      grid.run(jobs, stop)
  stop.close()
  if stop.signal is not None:
    ended_by = signal.Signals(stop.signal).name
    print(f"Stopped by {ended_by}. The same command goes on from there.")
    return 128 + stop.signal
  print((grid.root / "results.md").read_text())
  if grid.failed:
    raise ValueError(f"{len(grid.failed)} runs failed: {grid.failed[0]}")
  return 0


class Grid:
  """All runs of a comparison.

  Attributes:
    root: Its folder.
    searches: Runs that each setting's values are chosen by.
    failed: A line for each run that went wrong.
    environment: What its processes find in their environment.
  """

  def __init__(self, what: Comparison, root: pathlib.Path):
    """Checks all that can be wrong with a setting, before any is trained.

    Raises:
      ValueError: Something is.
    """
    self.root = root
    self.failed: list[str] = []
    self.environment = dict(os.environ)
    self._what = what
    of_each = {x: search_jobs(what, x, root) for x in what.settings}
    self._settings = {
      setting: understand(jobs[0] if jobs else Job(what, setting, 0, root))
      for setting, jobs in of_each.items()
    }
    for job in (job for jobs in of_each.values() for job in jobs):
      understand(job)
    self._search_jobs = of_each
    self._processes: set[subprocess.Popen] = set()
    root.mkdir(parents=True, exist_ok=True)

  @property
  def searches(self) -> list[Job]:
    """Runs that each setting's values are chosen by."""
    return [job for jobs in self._search_jobs.values() for job in jobs]

  def jobs(self) -> list[Job]:
    """Returns the runs compared, of settings whose values are chosen."""
    found = []
    for seed in range(self._what.seeds):
      for setting in self._what.settings:
        chosen = self._chosen(setting)
        if chosen is not None:
          found.append(Job(self._what, setting, seed, self.root, chosen))
    return found

  def _chosen(self, setting: str) -> dict[str, Any] | None:
    """Returns a setting's values of the flags searched over, once known."""
    lessons = self._settings[setting].num_lessons
    return choose(self._what, self._search_jobs[setting], lessons)

  def run(self, jobs: Sequence[Job], stop: Stop) -> None:
    """Trains and measures runs as far as they are not, until a signal."""
    if not jobs:
      return
    print(f"{self._what.title}: {len(jobs)} runs, in {self.root}", flush=True)
    told: set[subprocess.Popen] = set()
    with futures.ThreadPoolExecutor(JOBS.value) as pool:
      waiting = {
        pool.submit(self._carry_on, group, stop): group
        for group in in_groups(self._what, jobs)
      }
      count = 0
      while waiting:
        done, _ = futures.wait(
          waiting, timeout=0.2, return_when=futures.FIRST_COMPLETED
        )
        if stop.signal is not None:
          for process in self._processes - told:  # A second would kill it.
            process.send_signal(signal.SIGTERM)
            told.add(process)
        for one in done:
          for job, wrong in zip(waiting.pop(one), one.result(), strict=True):
            count += 1
            if wrong:
              self.failed.append(f"{job.name}: {wrong}")
              print(self.failed[-1], flush=True)
            elif stop.signal is None:
              self._tell(job, count, len(jobs))
          self._write_results()

  def _outcome(self, job: Job) -> comparison.Outcome | None:
    """Returns what a job did; measurements of anything else are left out."""
    outcome = job.outcome(self._settings[job.setting].num_lessons)
    if outcome is None:
      return None
    was = comparison.read_notes(job.folder)["measured_of"]
    asked = [
      x
      for x in self._what.evaluations
      if x in outcome.measured and was.get(x) == self._of(x, outcome)
    ]
    return outcome._replace(measured={x: outcome.measured[x] for x in asked})

  def _of(self, name: str, outcome: comparison.Outcome) -> dict[str, Any]:
    """Returns what a measurement hangs on: the file's flags, and updates."""
    updates = int(outcome.steps[-1])
    return {"updates": updates, "flags": self._what.evaluations[name]}

  def _write_results(self) -> None:
    """Writes tables and curves of what there is so far."""
    jobs = self.jobs()
    outcomes = {}
    for name in self._what.settings:
      own = [self._outcome(job) for job in jobs if job.setting == name]
      outcomes[name] = [outcome for outcome in own if outcome is not None]
    rows = [
      comparison.summarise(
        name,
        outcomes[name],
        num_seeds=self._what.seeds,
        batch_size=setting.config.batch_size,
        num_params=setting.num_params,
        state_bytes=setting.state_bytes,
        chosen=self._chosen(name) or {},
      )
      for name, setting in self._settings.items()
    ]
    (self.root / "results.md").write_text(comparison.markdown(rows))
    comparison.write_csv(self.root / "results.csv", outcomes)
    if any(outcomes.values()):
      comparison.draw(self.root / "curves.png", self._what.title, outcomes)

  def _carry_on(self, group: Sequence[Job], stop: Stop) -> list[str]:
    """Trains and measures jobs as far as they are not.

    Returns:
      What is wrong with each; nothing where they were stopped.
    """
    missing = [job for job in group if not self._is_over(job)]
    failed = ""
    if missing and stop.signal is None:
      began = time.monotonic()
      failed, _ = self._run(train_command(self._what, missing))
      seconds = (time.monotonic() - began) / len(missing)
      for job in missing:
        if (job.folder / "config.json").is_file():
          notes = comparison.read_notes(job.folder)
          notes["seconds"] += seconds
          comparison.write_notes(job.folder, notes)
    wrong = [
      failed if failed and not self._is_over(job) else self._measure(job, stop)
      for job in group
    ]
    return wrong if stop.signal is None else [""] * len(group)

  def _is_over(self, job: Job) -> bool:
    outcome = self._outcome(job)
    return outcome is not None and self._what.is_over(outcome)

  def _measure(self, job: Job, stop: Stop) -> str:
    """Measures a job as far as it is not; returns what is wrong."""
    task = self._settings[job.setting].config.task
    for name in self._what.evaluations if not job.is_search else ():
      outcome = None if stop.signal is not None else self._outcome(job)
      if outcome is None or name in outcome.measured:
        continue
      wrong, out = self._run(job.evaluate_command(name, task))
      if wrong:
        return wrong
      found = json.loads(out.splitlines()[-1])
      kept = {x: found[x] for x in ("accuracy", "unit_accuracy", "loss")}
      notes = comparison.read_notes(job.folder)
      notes["measured"][name] = kept
      notes["measured_of"][name] = self._of(name, outcome)
      comparison.write_notes(job.folder, notes)
    return ""

  def _run(self, line: list[str]) -> tuple[str, str]:
    """Returns what a command's end tells of an error, or "", and its output."""
    process = subprocess.Popen(
      line,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      env=self.environment,
      # So that Ctrl-C comes to this process alone, which tells the others.
      start_new_session=True,
    )
    self._processes.add(process)
    out, err = process.communicate()
    self._processes.remove(process)
    if process.returncode:
      lines = err.strip().splitlines() or [f"exit status {process.returncode}"]
      return lines[-1], out
    return "", out

  def _tell(self, job: Job, number: int, count: int) -> None:
    """Prints how a job went."""
    outcome = self._outcome(job)
    if outcome is None:
      return
    learned = "not learned"
    if outcome.learned_at is not None:
      learned = f"learned at {outcome.learned_at:,}"
    measured = "".join(
      f"  {name} {value['accuracy']:.1%}"
      for name, value in outcome.measured.items()
    )
    print(
      f"{number} of {count}  {job.name}: {learned}, units "
      f"{outcome.unit_accuracies[-1]:.1%} after {outcome.steps[-1]:,} updates, "
      f"{outcome.seconds / 60:.1f} min{measured}",
      flush=True,
    )


if __name__ == "__main__":
  shared.define_training_flags()
  shared.run_script(main, positional=True)
