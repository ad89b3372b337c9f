"""Trains a memory network on a task.

DeepMind's command lines mean the same here:

    python -m scripts.train --memory_size=64 --num_bits=8 --max_length=3

The same command again goes on from where the run stopped.
"""

import contextlib
import dataclasses
import os
import pathlib
import signal
from collections.abc import Sequence

import jax
from absl import flags
from jax.sharding import Mesh

from dnc_jax import backward, processes, training
from scripts import devices
from scripts import flags as shared
from scripts.loop import carry_on
from scripts.progress import Progress
from scripts.run import Run

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
PREFETCH = flags.DEFINE_integer(
  "prefetch",
  0,
  "Batches made ahead by threads; 0 for one at a time, as the device works.",
  lower_bound=0,
)
STOP_ACCURACY = flags.DEFINE_float(
  "stop_accuracy",
  None,
  "Ends sooner, once so many of the last lesson's sequences were fully right "
  "between two reports.",
  lower_bound=0,
  upper_bound=1,
)
SEEDS = flags.DEFINE_list(
  "seeds",
  None,
  "Trains a network with each of these seeds, all by the same calls, instead "
  "of one with --seed; each in the folder of that name below the run's.",
)


def main(argv: Sequence[str]) -> int:
  """Trains as the flags say, and returns the exit status."""
  del argv
  devices.join()
  folder = shared.checkpoint_dir()
  with devices.ending_together(folder):
    return _train(folder)


def _train(folder: pathlib.Path) -> int:
  """Trains, all processes together, and returns the exit status."""
  config = shared.run_config()
  seeds = _seeds()
  if seeds is not None and devices.are_wanted():
    raise ValueError(
      "--seeds is for one device: leave out --mesh_data, --mesh_slots and "
      "other processes."
    )
  if seeds is not None and config.optimiser.kernels == "native":
    raise ValueError("--seeds is for --kernels=xla, got 'native'.")
  mesh = devices.mesh()
  # With one thread, devices that are threads could wait for each other.
  if mesh is None and backward.is_small(config.model, config.batch_size):
    # XLA's CPU backend reads this when it starts: threads that hand each other
    # tiny pieces of work are slower than one (docs/performance.md).
    os.environ.setdefault("NPROC", "1")
  # Before there is a folder.
  training.check_kernels(config.model, config.optimiser, mesh)
  settings = {
    flag.name: flag.value
    for flag in (ITERATIONS, REPORT_INTERVAL, CHECKPOINT_INTERVAL)
  }
  if seeds is None:
    runs = [Run(config, folder, settings, mesh)]
  else:
    runs = [
      Run(dataclasses.replace(config, seed=seed), folder / str(seed), settings)
      for seed in seeds
    ]
  # Of several processes, one speaks.
  say = print if processes.is_first() else _say_nothing
  device = jax.devices()[0]
  networks = f"{len(runs)} networks, each of " if seeds is not None else ""
  say(
    f"{config.task} on {device.device_kind} ({_devices(mesh)}), "
    f"{networks}{runs[0].num_params:,} parameters, in {folder}"
  )
  first = min(run.step for run in runs)
  begun = "starting anew" if first == 0 else f"resuming from step {first}"
  say(f"{begun}, to step {ITERATIONS.value}", flush=True)
  for line in dict.fromkeys(line for run in runs for line in run.changed):
    say(line, flush=True)
  shown = Progress(first, ITERATIONS.value) if processes.is_first() else None
  with shown or contextlib.nullcontext():
    ended_by = carry_on(
      runs,
      ITERATIONS.value,
      report_interval=REPORT_INTERVAL.value,
      checkpoint_interval=CHECKPOINT_INTERVAL.value,
      stop_accuracy=STOP_ACCURACY.value,
      prefetch=PREFETCH.value,
      show=shown.show if shown else _say_nothing,
      tick=shown.tick if shown else _say_nothing,
    )
  steps = " and ".join(str(x) for x in sorted({run.step for run in runs}))
  if ended_by is not None:
    say(
      f"Stopped by {signal.Signals(ended_by).name} at step {steps}, saved "
      f"in {folder}. The same command goes on from there."
    )
    return 128 + ended_by
  for run in runs:
    run.close()
  say(runs[0].picture())
  say(f"Done: {steps} steps, saved in {folder}.")
  return 0


def _say_nothing(*words: object, flush: bool = False) -> None:
  """Says nothing."""
  del words, flush


def _devices(mesh: Mesh | None) -> str:
  """Returns what devices there are and how they are used, in words."""
  count, platform = jax.device_count(), jax.devices()[0].platform
  words = f"{count} {platform} device{'s' * (count > 1)}"
  if processes.are_several():
    words += f" of {jax.process_count()} processes"
  if mesh is not None:
    parts = " × ".join(f"{x} {name}" for name, x in mesh.shape.items())
    words += f", {parts}"
  return words


def _seeds() -> list[int] | None:
  """Returns the seeds to train together, None for one network.

  Raises:
    ValueError: They are no numbers, or one is there twice.
  """
  if SEEDS.value is None:
    return None
  if flags.FLAGS["seed"].present:
    raise ValueError("Give one of --seed and --seeds.")
  given = ",".join(SEEDS.value)
  if not SEEDS.value or not all(x.isdecimal() for x in SEEDS.value):
    raise ValueError(
      "seeds must be whole numbers, at least 0, with commas between them, got "
      f"{given!r}."
    )
  seeds = [int(x) for x in SEEDS.value]
  if len(set(seeds)) < len(seeds):
    raise ValueError(f"seeds must differ, got {given!r}.")
  return seeds


if __name__ == "__main__":
  flags.adopt_module_key_flags(devices)
  shared.define_training_flags()
  shared.run_script(main)
