"""Batches made in the background, before they are asked for."""

import os
from collections.abc import Callable
from concurrent import futures
from typing import Any


class Ahead:
  """Makes batches in threads of their own while the device works.

  A batch is a function of its step and lesson, so one that was made for a
  lesson that has since ended is dropped and made anew, and several can be made
  at once: NumPy lets other threads go on while it computes. To be left as a
  context, which ends the threads.
  """

  def __init__(self, make: Callable[[int, int], Any], count: int):
    """Starts the threads.

    Args:
      make: Makes the batch of a step and a lesson.
      count: Batches to make ahead of the one asked for, at least 1; all at
        once, as far as there are cores.

    Raises:
      ValueError: ``count`` is below 1.
    """
    if count < 1:
      raise ValueError(f"count must be at least 1, got {count}.")
    self._make = make
    self._count = count
    self._made: dict[tuple[int, int], futures.Future[Any]] = {}
    threads = min(count, os.cpu_count() or 1)
    self._threads = futures.ThreadPoolExecutor(threads, "batches")

  def __enter__(self) -> "Ahead":
    return self

  def __exit__(self, *unused: object) -> None:
    # A batch that is being made is waited for, as it cannot be broken off.
    self._threads.shutdown(cancel_futures=True)

  def get(self, step: int, lesson: int) -> Any:
    """Returns a batch, and has those that follow made meanwhile.

    Args:
      step: Of the batch.
      lesson: Of the batch; that of those that follow, as far as is known.

    Raises:
      Exception: What ``make`` raised for this batch.
    """
    wanted = [(step + more, lesson) for more in range(self._count + 1)]
    for key in set(self._made).difference(wanted):
      self._made.pop(key).cancel()
    for key in wanted:
      if key not in self._made:
        self._made[key] = self._threads.submit(self._make, *key)
    return self._made.pop(wanted[0]).result()
