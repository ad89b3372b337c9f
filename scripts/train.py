"""Trains a memory network on a task.

DeepMind's command lines mean the same here:

    python -m scripts.train --memory_size=64 --num_bits=8 --max_length=3

The same command again goes on from where the run stopped.
"""

import os
import signal
from collections.abc import Sequence

import jax
from absl import flags

from dnc_jax import training
from scripts import flags as shared
from scripts.progress import Progress
from scripts.run import Run, carry_on

ITERATIONS = flags.DEFINE_integer(
  "num_training_iterations", 100_000, "Updates to do in all.", lower_bound=0
)
REPORT_INTERVAL = flags.DEFINE_integer(
  "report_interval", 100, "Updates between reports.", lower_bound=1
)
CHECKPOINT_INTERVAL = flags.DEFINE_integer(
  "checkpoint_interval",
  -1,
  "Updates between checkpoints; -1 for none before the end.",
)
STOP_ACCURACY = flags.DEFINE_float(
  "stop_accuracy",
  None,
  "Ends sooner, once so many of the last lesson's sequences were fully right "
  "between two reports.",
  lower_bound=0,
  upper_bound=1,
)


def main(argv: Sequence[str]) -> int:
  """Trains as the flags say, and returns the exit status."""
  del argv
  config = shared.run_config()
  folder = shared.checkpoint_dir()
  if training.is_small(config.model, config.batch_size):
    # XLA's CPU backend reads this when it starts: threads that hand each other
    # tiny pieces of work are slower than one (docs/performance.md).
    os.environ.setdefault("NPROC", "1")
  run = Run(
    config,
    folder,
    {
      flag.name: flag.value
      for flag in (ITERATIONS, REPORT_INTERVAL, CHECKPOINT_INTERVAL)
    },
  )
  device = jax.devices()[0]
  print(
    f"{config.task} on {device.device_kind} ({jax.device_count()} "
    f"{device.platform} device{'s' * (jax.device_count() > 1)}), "
    f"{run.num_params:,} parameters, in {folder}"
  )
  begun = "starting anew" if run.step == 0 else f"resuming from step {run.step}"
  print(f"{begun}, to step {ITERATIONS.value}", flush=True)
  for line in run.changed:
    print(line, flush=True)
  with Progress(run.step, ITERATIONS.value) as progress:
    ended_by = carry_on(
      run,
      ITERATIONS.value,
      report_interval=REPORT_INTERVAL.value,
      checkpoint_interval=CHECKPOINT_INTERVAL.value,
      stop_accuracy=STOP_ACCURACY.value,
      show=progress.show,
      tick=progress.tick,
    )
  if ended_by is not None:
    print(
      f"Stopped by {signal.Signals(ended_by).name} at step {run.step}, saved "
      f"in {folder}. The same command goes on from there."
    )
    return 128 + ended_by
  run.close()
  print(run.picture())
  print(f"Done: {run.step} steps, saved in {folder}.")
  return 0


if __name__ == "__main__":
  shared.define_training_flags()
  shared.run_script(main)
