"""What a comparison found: its runs read, summed up, and shown.

A run is one setting with one seed. What it did is in its ``metrics.csv``, and
beside that the comparison keeps ``compared.json``: how long it took, and what
it was measured on.
"""

import csv
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Outcome(NamedTuple):
  """What one run did.

  Attributes:
    seed: Its seed.
    steps: Updates at each report.
    lessons: Lesson at each report, from 0.
    accuracies: Fraction of sequences fully right, since the report before.
    unit_accuracies: The same of units.
    learned_at: Updates at the first report at which the threshold was reached;
      None if it never was.
    seconds: How long it took, with compiling.
    measured: Accuracy, unit accuracy and loss in each evaluation, by name.
  """

  seed: int
  steps: np.ndarray
  lessons: np.ndarray
  accuracies: np.ndarray
  unit_accuracies: np.ndarray
  learned_at: int | None
  seconds: float
  measured: dict[str, dict[str, float]]


def read_outcome(
  folder: pathlib.Path, seed: int, threshold: float, num_lessons: int
) -> Outcome | None:
  """Returns what the run in a folder did so far, None before its first report.

  Args:
    folder: The run's.
    seed: Its seed.
    threshold: Accuracy in the last lesson at which it counts as learned.
    num_lessons: Lessons of its task.
  """
  path = folder / "metrics.csv"
  if not path.is_file():
    return None
  with path.open(newline="") as file:
    rows = [row for row in csv.DictReader(file) if row["unit_accuracy"]]
  if not rows:
    return None

  def column(name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in rows])

  steps, lessons = column("step").astype(int), column("lesson").astype(int)
  learned = (lessons == num_lessons - 1) & (column("accuracy") >= threshold)
  noted = read_notes(folder)
  return Outcome(
    seed=seed,
    steps=steps,
    lessons=lessons,
    accuracies=column("accuracy"),
    unit_accuracies=column("unit_accuracy"),
    learned_at=int(steps[learned.argmax()]) if learned.any() else None,
    seconds=noted["seconds"],
    measured=noted["measured"],
  )


def read_notes(folder: pathlib.Path) -> dict[str, Any]:
  """Returns what is kept beside a run: nothing yet, if nothing is."""
  path = folder / "compared.json"
  nothing = {"seconds": 0.0, "measured": {}, "measured_of": {}}
  if not path.is_file():
    return nothing
  return nothing | json.loads(path.read_text())


def write_notes(folder: pathlib.Path, notes: dict[str, Any]) -> None:
  """Keeps notes beside a run, whole or not at all."""
  temporary = folder / ".compared.json"
  temporary.write_text(json.dumps(notes, indent=2) + "\n")
  temporary.replace(folder / "compared.json")


def summarise(
  name: str,
  outcomes: Sequence[Outcome],
  *,
  num_seeds: int,
  batch_size: int,
  num_params: int,
  state_bytes: int,
  chosen: dict[str, Any],
) -> dict[str, str]:
  """Returns a setting's row of the table, cells by heading.

  Medians, with the least and the most in brackets, over the seeds that there
  are. Where a seed never reached the threshold, the median of its updates is
  "more than" what it had.

  Args:
    name: The setting's.
    outcomes: Of its runs.
    num_seeds: How many there are to be.
    batch_size: Sequences in an update.
    num_params: How many numbers are learned.
    state_bytes: What the state of one sequence takes.
    chosen: Values found in a search, by flag.
  """
  seeds = str(len(outcomes))
  if len(outcomes) < num_seeds:
    seeds += f" of {num_seeds}"
  row = {"setting": name, "seeds": seeds}
  row |= {flag: str(value) for flag, value in chosen.items()}
  if not outcomes:
    return row
  learned = sum(x.learned_at is not None for x in outcomes)
  reached = [x.learned_at or np.inf for x in outcomes]
  most = max(int(x.steps[-1]) for x in outcomes)
  middle = float(np.median(reached))

  def updates(value: float, each: int = 1) -> str:
    if np.isfinite(value):
      return f"{value * each:,.0f}"
    return f"> {most * each:,}"

  row |= {
    "learned": f"{learned} of {len(outcomes)}",
    "updates": _spread(reached, updates),
    "sequences": updates(middle, batch_size),
    "all right": _percent([x.accuracies[-1] for x in outcomes]),
    "units right": _percent([x.unit_accuracies[-1] for x in outcomes]),
    "minutes": _spread([x.seconds / 60 for x in outcomes], "{:.1f}".format),
    "parameters": f"{num_params:,}",
    "state bytes": f"{state_bytes:,}",
  }
  names = list(dict.fromkeys(n for x in outcomes for n in x.measured))
  for measure in names:
    found = [x.measured[measure] for x in outcomes if measure in x.measured]
    row[measure] = _percent([x["accuracy"] for x in found])
    row[f"{measure}, units"] = _percent([x["unit_accuracy"] for x in found])
  return row


def _percent(values: Sequence[float]) -> str:
  return _spread(values, lambda x: f"{100 * x:.1f}", unit=" %")


def _spread(
  values: Sequence[float],
  show: Callable[[float], str],
  unit: str = "",
) -> str:
  """Returns a median, and the range where it is one."""
  middle = show(float(np.median(values))) + unit
  least, most = show(min(values)), show(max(values))
  return middle if least == most else f"{middle} ({least} to {most}{unit})"


def markdown(rows: Sequence[dict[str, str]]) -> str:
  """Returns rows as a Markdown table."""
  names = list(dict.fromkeys(name for row in rows for name in row))
  lines = [names, ["---"] * len(names)]
  lines += [[row.get(name, "") for name in names] for row in rows]
  return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def write_csv(
  path: pathlib.Path, settings: dict[str, Sequence[Outcome]]
) -> None:
  """Writes a row for each run."""
  measures = list(
    dict.fromkeys(
      (name, what)
      for outcomes in settings.values()
      for outcome in outcomes
      for name, found in outcome.measured.items()
      for what in found
    )
  )
  with path.open("w", newline="") as file:
    writer = csv.writer(file)
    names = "setting seed updates learned_at lesson accuracy unit_accuracy"
    writer.writerow(
      [*names.split(), "seconds", *(f"{x} {y}" for x, y in measures)]
    )
    for name, outcomes in settings.items():
      for x in outcomes:
        learned = "" if x.learned_at is None else x.learned_at
        writer.writerow(
          [name, x.seed, x.steps[-1], learned, x.lessons[-1] + 1]
          + [x.accuracies[-1], x.unit_accuracies[-1]]
          + [round(x.seconds, 1)]
          + [x.measured.get(measure, {}).get(y, "") for measure, y in measures]
        )


def blank_page(width: float = 8, height: float = 4.5) -> Any:
  """Returns a matplotlib figure to draw on.

  Args:
    width: In inches.
    height: In inches.

  Raises:
    ValueError: matplotlib is missing.
  """
  try:
    from matplotlib import figure
  except ImportError:
    raise ValueError(
      'Drawing needs matplotlib: pip install -e ".[plot]".'
    ) from None
  return figure.Figure(figsize=(width, height), layout="constrained")


def draw(
  path: pathlib.Path, title: str, settings: dict[str, Sequence[Outcome]]
) -> None:
  """Draws units right against updates: a line a run, a colour a setting.

  Args:
    path: Where to, a PNG.
    title: What is above it.
    settings: Runs by name of their setting.
  """
  page = blank_page()
  axes = page.subplots()
  for index, (name, outcomes) in enumerate(settings.items()):
    for number, x in enumerate(outcomes):
      axes.plot(
        x.steps,
        100 * x.unit_accuracies,
        color=f"C{index % 10}",
        linestyle=("-", "--", ":")[index // 10 % 3],
        linewidth=1,
        label=name if number == 0 else None,
      )
  axes.set_xlabel("updates")
  axes.set_ylabel("units right, %")
  axes.set_ylim(0, 102)
  axes.set_title(title)
  axes.grid(alpha=0.3)
  axes.legend(fontsize="small")
  page.savefig(path, dpi=120)
