"""Measures what cores cost, over a grid of sizes.

    python -m scripts.benchmark --cores=dnc,sam --memory_sizes=1024,4096

Each core is run over random bits, which it is to say at once: forward from
inputs to logits, and one step of training, forward, backward and update, as
`scripts.train` does it. Prints a Markdown table, a row as soon as it is
measured. Times are milliseconds for each time step of the sequences: median
(fastest to slowest of the repeats). With several ``--num_steps`` it also tells
what one more time step takes, without what a call does but once, such as making
the memory. What would take more memory than ``--most_bytes`` is skipped.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
from absl import flags

from dnc_jax.config import ModelConfig
from dnc_jax.training import OPTIMISERS, OptimiserConfig
from scripts import costs
from scripts import flags as shared
from scripts.costs import CORES, NUM_BITS, Cell, Cost, Row

CHOSEN = flags.DEFINE_list(
  "cores", "dnc,sam,sdnc", "What to measure, of " + ", ".join(CORES) + "."
)
MEMORY_SIZES = flags.DEFINE_list(
  "memory_sizes", "1024,4096,16384", "Slots of the memory."
)
NUM_STEPS = flags.DEFINE_list("num_steps", "10", "Steps of the sequences.")
SIZES = {
  name: flags.DEFINE_integer(name, default, text, lower_bound=1)
  for name, default, text in (
    ("batch_size", 1, "Sequences in a batch."),
    ("hidden_size", 64, "Cells of the controller."),
    ("word_size", 32, "Numbers in a slot."),
    ("num_read_heads", 4, "Read heads."),
    ("sparsity", 4, "Slots that a head of a sam or sdnc reads."),
    ("link_size", 8, "Links of a slot each way, of an sdnc or sparse links."),
  )
}
REPEATS = flags.DEFINE_integer(
  "repeats", 5, "Timed calls of each function.", lower_bound=1
)
CHUNK_LENGTH = flags.DEFINE_integer(
  "chunk_length",
  0,
  "Steps of which the backward pass holds at a time what it needs; 0 for all.",
  lower_bound=0,
)
MOST_BYTES = flags.DEFINE_integer(
  "most_bytes",
  2**32,
  "Memory that may be taken; what needs more is not.",
  lower_bound=1,
)
OPTIMISER = flags.DEFINE_enum(
  "optimizer", "rmsprop", OPTIMISERS, "The optimiser."
)
CLOCK = flags.DEFINE_enum(
  "clock",
  "wall",
  list(costs.CLOCKS),
  "Tells time as it passes, or what the processor takes of it for this "
  "process: on a machine with other work to do, and without an accelerator.",
)
JSON = flags.DEFINE_string("json", None, "File to write all numbers to.")

COLUMNS = (
  "core",
  "slots",
  "steps",
  "state",
  "kept a step",
  "forward, ms a step",
  "training, ms a step",
  "one more step: forward, ms",
  "training, ms",
  "temporary: forward",
  "training",
  "to compile: forward, s",
  "training, s",
)


def whole_numbers(name: str, texts: Sequence[str]) -> list[int]:
  """Returns the numbers of a flag, each once, the smallest first.

  Raises:
    ValueError: There is none, or one is no whole number of at least 1.
  """
  for text in texts:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
      raise ValueError(
        f"{name} must be whole numbers of at least 1, got {text!r}. Separate "
        "them by commas, as in 1024,4096."
      )
  if not texts:
    raise ValueError(f"{name} must be at least one number, got none.")
  return sorted({int(text) for text in texts})


def cells(
  cores: Sequence[str],
  memory_sizes: Sequence[int],
  num_steps: Sequence[int],
  batch_size: int,
  **sizes: int,
) -> list[Cell]:
  """Returns what is to be measured, in order.

  Args:
    cores: Names in `CORES`. One without a memory is measured at one size only.
    memory_sizes: N, each at least 1.
    num_steps: T, each at least 1.
    batch_size: B.
    **sizes: Fields of `ModelConfig`.

  Raises:
    ValueError: A core is unknown, or a size too small for one.
  """
  if not cores:
    raise ValueError(
      f"cores must be at least one of {', '.join(CORES)}, got none."
    )
  found = []
  for core in cores:
    if core not in CORES:
      raise ValueError(f"cores must be of {', '.join(CORES)}, got {core!r}.")
    own = CORES[core]
    slots = memory_sizes[:1] if own.get("core") == "none" else memory_sizes
    for memory_size in slots:
      config = ModelConfig(
        output_size=NUM_BITS, memory_size=memory_size, **sizes, **own
      )
      found += [Cell(core, config, steps, batch_size) for steps in num_steps]
  return found


def _times(cost: Cost) -> str:
  return f"{cost.median_ms:.3g} ({cost.least_ms:.3g} to {cost.most_ms:.3g})"


def line(rows: Sequence[Row], row: Row) -> str:
  """Returns a row of the table, in Markdown.

  Args:
    rows: Rows measured so far, to tell what one more step takes.
    row: One of them.
  """
  cell = row.cell
  has_memory = cell.config.core != "none"
  texts = [
    cell.core,
    f"{cell.config.memory_size:,}" if has_memory else "-",
    str(cell.num_steps),
    costs.as_bytes(row.state_bytes),
    costs.as_bytes(row.kept_bytes),
  ]
  if row.forward is None or row.update is None:
    texts += [f"skipped: {row.skipped}"]
  else:
    both = (row.forward, row.update)
    more = costs.more_ms(rows, row)
    texts += [_times(x) for x in both]
    texts += ["-", "-"] if more is None else [f"{x:.3g}" for x in more]
    texts += [costs.as_bytes(x.temporary_bytes) for x in both]
    texts += [f"{x.compile_seconds:.1f}" for x in both]
  texts += [""] * (len(COLUMNS) - len(texts))
  return "| " + " | ".join(texts) + " |"


def head() -> str:
  """Returns the first two lines of the table."""
  return f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}"


def as_json(rows: Sequence[Row], sizes: dict[str, Any]) -> dict[str, Any]:
  """Returns everything that was found, for JSON.

  Args:
    rows: What was measured.
    sizes: What all rows have in common, by the names of the flags.
  """
  device = jax.devices()[0]
  return {
    "jax": jax.__version__,
    "platform": device.platform,
    "device": device.device_kind,
    "sizes": sizes,
    "rows": [
      {
        "core": row.cell.core,
        "memory_size": row.cell.config.memory_size,
        "num_steps": row.cell.num_steps,
        "num_params": row.num_params,
        "state_bytes": row.state_bytes,
        "kept_bytes": row.kept_bytes,
        "forward": row.forward and row.forward._asdict(),
        "update": row.update and row.update._asdict(),
        "more_ms": costs.more_ms(rows, row),
        "skipped": row.skipped,
      }
      for row in rows
    ],
  }


def main(argv: Sequence[str]) -> int:
  """Measures what the flags say, and returns the exit status."""
  del argv
  sizes = {name: flag.value for name, flag in SIZES.items()}
  grid = cells(
    CHOSEN.value,
    whole_numbers("memory_sizes", MEMORY_SIZES.value),
    whole_numbers("num_steps", NUM_STEPS.value),
    sizes["batch_size"],
    hidden_size=sizes["hidden_size"],
    word_size=sizes["word_size"],
    num_reads=sizes["num_read_heads"],
    sparsity=sizes["sparsity"],
    link_size=sizes["link_size"],
  )
  path = None if JSON.value is None else pathlib.Path(JSON.value)
  if path is not None and (path.is_dir() or not path.parent.is_dir()):
    raise ValueError(
      f"json must be a file in a folder that there is, got {str(path)!r}."
    )
  optimiser = OptimiserConfig(OPTIMISER.value, chunk_length=CHUNK_LENGTH.value)
  rows: list[Row] = []
  print(head(), flush=True)
  for cell in grid:
    rows.append(
      costs.measure(
        cell,
        optimiser,
        repeats=REPEATS.value,
        most_bytes=MOST_BYTES.value,
        clock=CLOCK.value,
      )
    )
    print(line(rows, rows[-1]), flush=True)
    if path is not None:
      found = as_json(
        rows,
        {
          **sizes,
          "repeats": REPEATS.value,
          "most_bytes": MOST_BYTES.value,
          "optimizer": OPTIMISER.value,
          "chunk_length": CHUNK_LENGTH.value,
          "clock": CLOCK.value,
        },
      )
      path.write_text(json.dumps(found, indent=2) + "\n")
  return 0


if __name__ == "__main__":
  shared.run_script(main)
