"""How far a run is: a bar on a terminal, plain lines elsewhere."""

import sys
import time

from rich import progress as rich_progress


def describe(row: dict[str, float]) -> str:
  """Returns a report's row in words.

  >>> describe({"step": 200, "lesson": 1, "loss": 0.25, "accuracy": 0.5,
  ...           "unit_accuracy": 0.75})
  'loss 0.2500  accuracy 50.0%  units 75.0%  lesson 2'
  """
  return (
    f"loss {row['loss']:.4f}  accuracy {row['accuracy']:.1%}  "
    f"units {row['unit_accuracy']:.1%}  lesson {row['lesson'] + 1:.0f}"
  )


class Progress:
  """Shows a run's progress while it is entered as a context."""

  def __init__(self, first: int, last: int):
    """Prepares.

    Args:
      first: Updates done before.
      last: Updates to do in all.
    """
    self._first = first
    self._last = last
    self._step = first
    self._shown = first
    self._speed = 0.0
    self._bar: rich_progress.Progress | None = None
    self._task = rich_progress.TaskID(0)
    self._began = self._shown_at = time.monotonic()

  def __enter__(self) -> "Progress":
    if sys.stdout.isatty():
      bar = self._bar = rich_progress.Progress(
        rich_progress.MofNCompleteColumn(),
        # Beside all that is told, a terminal of 80 columns has room for five.
        rich_progress.BarColumn(bar_width=5),
        rich_progress.TextColumn(
          "loss {task.fields[loss]}  accuracy {task.fields[accuracy]}  "
          "lesson {task.fields[lesson]}"
        ),
        rich_progress.TextColumn("{task.fields[speed]}"),
        rich_progress.TimeRemainingColumn(),
      )
      bar.start()
      self._task = bar.add_task(
        "",
        total=self._last,
        completed=self._first,
        loss="-",
        accuracy="-",
        lesson="-",
        speed="-",
      )
    self._began = self._shown_at = time.monotonic()
    return self

  def __exit__(self, *unused: object) -> None:
    if self._bar is not None:
      self._bar.update(self._task, completed=self._step)
      self._bar.stop()

  def tick(self, step: int) -> None:
    """Notes that so many updates are done in all."""
    self._step = step
    # A terminal is redrawn ten times a second; to move the bar more often would
    # slow small models down.
    if self._bar is not None and step % 10 == 0:
      self._bar.update(self._task, completed=step)

  def show(self, row: dict[str, float]) -> None:
    """Shows a report's row, with speed and time left."""
    now = time.monotonic()
    # Two rows can be told at once, the second of no more updates.
    if steps := self._step - self._shown:
      self._speed = steps / max(now - self._shown_at, 1e-9)
      self._shown, self._shown_at = self._step, now
    speed = self._speed
    if self._bar is not None:
      self._bar.update(
        self._task,
        completed=self._step,
        loss=f"{row['loss']:.4f}",
        accuracy=f"{row['accuracy']:.1%}",
        lesson=f"{row['lesson'] + 1:.0f}",
        speed=f"{speed:.1f} steps/s",
      )
      return
    left = (self._last - self._step) / max(speed, 1e-9)
    hours, rest = divmod(round(left), 3600)
    print(
      f"step {row['step']:.0f}  {describe(row)}  {speed:.1f} steps/s  "
      f"{hours}:{rest // 60:02d}:{rest % 60:02d} left",
      flush=True,
    )
