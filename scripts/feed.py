"""Measures whether training waits for its batches.

    python -m scripts.feed --task=traversal --links=off

Trains as `scripts.train` would with these flags, at the first lesson, in three
ways in turn: with batches made when they are asked for, made ahead in the
background, and made once, the same batch again and again. The last is as fast
as batches allow. Prints steps a second of each, of which the last of these is
the limit: what batches made ahead reach of it is what the background hides.
Nothing is kept.
"""

import contextlib
import dataclasses
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import jax
from absl import flags

from dnc_jax import backward
from scripts import flags as shared
from scripts import markdown
from scripts.run import Run

NUM_STEPS = flags.DEFINE_integer(
  "num_steps", 200, "Updates of a timed run.", lower_bound=1
)
REPEATS = flags.DEFINE_integer(
  "repeats", 5, "Timed runs of each way.", lower_bound=1
)
REPORT_INTERVAL = flags.DEFINE_integer(
  "report_interval", 100, "Updates between reports.", lower_bound=1
)
PREFETCH = flags.DEFINE_integer(
  "prefetch", 2, "Batches made ahead, in the background.", lower_bound=1
)

WAYS = ("when asked for", "ahead", "once")

# Steps that are not timed, of each way: the first compiles.
_WARM_UP = 5


class Feed(Run):
  """A run whose batches may be made in either way.

  Attributes:
    only: The batch, and its slots, to be given at each step; None for none.
  """

  only: Any = None

  def next_batch(self) -> Any:
    """Returns the batch of the next update, and its slots."""
    return super().next_batch() if self.only is None else self.only

  def speed(self, way: str, steps: int) -> float:
    """Returns steps a second.

    Args:
      way: One of `WAYS`.
      steps: How many to do, at least 1.
    """
    self.only = self.batch(self.step) if way == "once" else None
    count = PREFETCH.value if way == "ahead" else 0
    with self.making_ahead(count), contextlib.ExitStack() as stack:
      stack.callback(setattr, self, "only", None)
      jax.block_until_ready(self.state)
      began = time.perf_counter()
      for _ in range(steps):
        self.advance()
        if self.step % REPORT_INTERVAL.value == 0:
          self.report_late()
      jax.block_until_ready(self.state)
      return steps / (time.perf_counter() - began)


def main(argv: Sequence[str]) -> int:
  """Measures what the flags say, and returns the exit status."""
  del argv
  config = shared.run_config()
  if backward.is_small(config.model, config.batch_size):
    os.environ.setdefault("NPROC", "1")  # As scripts.train.
  # Lessons are compiled anew; so that none begins, there are no checks.
  config = dataclasses.replace(
    config, advance_interval=10**9, max_steps_per_lesson=None
  )
  found: dict[str, list[float]] = {way: [] for way in WAYS}
  with tempfile.TemporaryDirectory() as folder:
    run = Feed(config, pathlib.Path(folder))
    for way in WAYS:
      run.speed(way, _WARM_UP)
    for _ in range(REPEATS.value):
      for way in WAYS:
        found[way].append(run.speed(way, NUM_STEPS.value))
    run.close()
  print(markdown.head(["batches made", "steps a second", "of the limit"]))
  limit = statistics.median(found["once"])
  for way, speeds in found.items():
    median = statistics.median(speeds)
    told = f"{median:.4g} ({min(speeds):.4g} to {max(speeds):.4g})"
    print(markdown.row([way, told, f"{median / limit:.1%}"]))
  return 0


if __name__ == "__main__":
  shared.define_training_flags()
  shared.run_script(main)
