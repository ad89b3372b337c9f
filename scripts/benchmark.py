"""Measures what cores cost, over a grid of sizes.

    python -m scripts.benchmark --cores=dnc,sam --memory_sizes=1024,4096

Each core is run over random bits, which it is to say at once: forward from
inputs to logits, and one step of training, forward, backward and update, as
`scripts.train` does it. Prints a Markdown table, a row as soon as it is
measured. Times are milliseconds for each time step of the sequences: median
(fastest to slowest of the repeats). With several ``--num_steps`` it also tells
what one more time step takes, without what a call does but once, such as making
the memory. What would take more memory than ``--most_bytes`` is skipped. A
second table tells what the machine can do at most, and how near to it each row
comes. With ``--kernels=native`` what is kept a step, operations and bytes are
still those of XLA's program, which computes the same.

    python -m scripts.benchmark --peer=dnc --sizes=default,middle,paper

Trains another DNC beside ours, in turn, and tells the ratio of their times.
"""

import json
import os
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
from absl import flags

from dnc_jax import optimisers
from dnc_jax.config import ModelConfig
from dnc_jax.optimisers import OPTIMISERS, OptimiserConfig
from scripts import costs, limits, markdown, peers
from scripts import flags as shared
from scripts.costs import CORES, NUM_BITS, Cell, Cost, Row

CHOSEN = flags.DEFINE_list(
  "cores", "dnc,sam,sdnc", "What to measure, of " + ", ".join(CORES) + "."
)
NAMED: Mapping[str, Mapping[str, int]] = {
  name: dict(
    zip(
      (
        "batch_size", "num_steps", "hidden_size", "memory_size", "word_size",
        "num_reads",
      ),
      sizes,
      strict=True,
    )
  )
  for name, sizes in (
    ("default", (16, 9, 64, 16, 16, 4)),
    ("middle", (16, 50, 128, 64, 32, 4)),
    ("paper", (8, 100, 256, 256, 64, 4)),
    ("paper_short", (8, 20, 256, 256, 64, 4)),
  )
}  # fmt: skip
NAMED_SIZES = flags.DEFINE_list(
  "sizes",
  None,
  "All sizes by name, instead of one by one: of " + ", ".join(NAMED) + ".",
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
KERNELS = flags.DEFINE_enum(
  "kernels",
  "xla",
  optimisers.KERNELS,
  "What a DNC's memory does its steps in: XLA's, or native ones for a CPU.",
)
CLOCK = flags.DEFINE_enum(
  "clock",
  "wall",
  list(costs.CLOCKS),
  "Tells time as it passes, or what the processor takes of it for this "
  "process: on a machine with other work to do, and without an accelerator.",
)
PEER = flags.DEFINE_enum(
  "peer",
  None,
  list(peers.PEERS),
  "Trains another DNC beside ours, in turn: one written the obvious way, or "
  "PyPI's dnc, which with torch must be installed.",
)
AT_LEAST = flags.DEFINE_float(
  "at_least",
  None,
  "Fails where the peer's time divided by ours, fastest runs, is less.",
  lower_bound=0,
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
  _check_names("cores", cores, CORES)
  found = []
  for core in cores:
    own = CORES[core]
    slots = memory_sizes[:1] if own.get("core") == "none" else memory_sizes
    for memory_size in slots:
      config = ModelConfig(
        output_size=NUM_BITS, memory_size=memory_size, **sizes, **own
      )
      found += [Cell(core, config, steps, batch_size) for steps in num_steps]
  return found


def named_cells(
  cores: Sequence[str], names: Sequence[str], **sizes: int
) -> list[Cell]:
  """Returns what is to be measured at sizes that have names, in order.

  Args:
    cores: As `cells` takes them.
    names: Names in `NAMED`.
    **sizes: Fields of `ModelConfig` that have no name.

  Raises:
    ValueError: A name or a core is unknown.
  """
  _check_names("sizes", names, NAMED)
  found = []
  for name in names:
    own = dict(NAMED[name])
    memory_size, num_steps = own.pop("memory_size"), own.pop("num_steps")
    for cell in cells(cores, [memory_size], [num_steps], **own, **sizes):
      found.append(cell._replace(size=name))
  return found


def _check_names(
  what: str, names: Sequence[str], known: Collection[str]
) -> None:
  """Raises a `ValueError` unless there are names, all of them known."""
  choices = ", ".join(known)
  if not names:
    raise ValueError(f"{what} must be at least one of {choices}, got none.")
  for name in names:
    if name not in known:
      raise ValueError(f"{what} must be of {choices}, got {name!r}.")


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
    cell.name,
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
  return markdown.row(texts)


def as_json(
  rows: Sequence[Row],
  sizes: dict[str, Any],
  ceilings: limits.Ceilings | None = None,
) -> dict[str, Any]:
  """Returns everything that was found, for JSON.

  Args:
    rows: What was measured.
    sizes: What all rows have in common, by the names of the flags.
    ceilings: What the machine can do; None while it is not known.
  """
  return {
    **_about(sizes),
    "ceilings": ceilings and ceilings._asdict(),
    "rows": [
      {
        **_about_cell(row.cell),
        "num_params": row.num_params,
        "state_bytes": row.state_bytes,
        "kept_bytes": row.kept_bytes,
        "forward": row.forward and row.forward._asdict(),
        "update": row.update and row.update._asdict(),
        "more_ms": costs.more_ms(rows, row),
        "peak_bytes": row.peak_bytes,
        "of_limit": ceilings and limits.fractions(row, ceilings),
        "skipped": row.skipped,
      }
      for row in rows
    ],
  }


def _about(sizes: dict[str, Any]) -> dict[str, Any]:
  """Returns where and how things were measured, for JSON."""
  device = jax.devices()[0]
  return {
    "jax": jax.__version__,
    "platform": device.platform,
    "device": device.device_kind,
    "sizes": sizes,
  }


def _about_cell(cell: Cell) -> dict[str, Any]:
  """Returns what was measured, for JSON."""
  return {
    "core": cell.core,
    "size": cell.size,
    "batch_size": cell.batch_size,
    "num_steps": cell.num_steps,
    "hidden_size": cell.config.hidden_size,
    "memory_size": cell.config.memory_size,
    "word_size": cell.config.word_size,
    "num_read_heads": cell.config.num_reads,
  }


def _grid(sizes: dict[str, int]) -> list[Cell]:
  """Returns what the flags ask for.

  Raises:
    ValueError: They contradict each other, or one has a value it cannot have.
  """
  cores = CHOSEN.value
  if PEER.value is not None:
    # What the plain one is held to, number by number, has no options.
    known = [x for x, own in CORES.items() if own.get("core", "dnc") == "dnc"]
    allowed = ["dnc"] if PEER.value == "plain" else known
    cores = CHOSEN.value if CHOSEN.present else ["dnc"]
    if not set(cores) <= set(allowed):
      raise ValueError(
        f"peer {PEER.value} is a DNC: cores must be {' or '.join(allowed)}, "
        f"got {','.join(cores)!r}."
      )
  own = {name: sizes.pop(name) for name in ("sparsity", "link_size")}
  if NAMED_SIZES.value is not None:
    single = [MEMORY_SIZES, NUM_STEPS, *(SIZES[name] for name in sizes)]
    for flag in single:
      if flag.present:
        raise ValueError(
          f"sizes say what {flag.name} is. Give one of --sizes and "
          f"--{flag.name}."
        )
    return named_cells(cores, NAMED_SIZES.value, **own)
  sizes["num_reads"] = sizes.pop("num_read_heads")
  return cells(
    cores,
    whole_numbers("memory_sizes", MEMORY_SIZES.value),
    whole_numbers("num_steps", NUM_STEPS.value),
    **sizes,
    **own,
  )


def main(argv: Sequence[str]) -> int:
  """Measures what the flags say, and returns the exit status."""
  del argv
  sizes = {name: flag.value for name, flag in SIZES.items()}
  grid = _grid(dict(sizes))
  path = None if JSON.value is None else pathlib.Path(JSON.value)
  if path is not None and (path.is_dir() or not path.parent.is_dir()):
    raise ValueError(
      f"json must be a file in a folder that there is, got {str(path)!r}."
    )
  if AT_LEAST.value is not None and PEER.value is None:
    raise ValueError("at_least needs a --peer.")
  optimiser = OptimiserConfig(
    OPTIMISER.value, chunk_length=CHUNK_LENGTH.value, kernels=KERNELS.value
  )
  settings = {
    **(sizes if NAMED_SIZES.value is None else {}),
    "repeats": REPEATS.value,
    "most_bytes": MOST_BYTES.value,
    "optimizer": OPTIMISER.value,
    "chunk_length": CHUNK_LENGTH.value,
    "kernels": KERNELS.value,
    "clock": CLOCK.value,
  }

  def write(found: dict[str, Any]) -> None:
    if path is not None:
      path.write_text(json.dumps(found, indent=2) + "\n")

  if PEER.value is not None:
    _run_beside(PEER.value, grid, optimiser, settings, write)
    return 0
  rows: list[Row] = []
  print(markdown.head(COLUMNS), flush=True)
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
    write(as_json(rows, settings))
  if run := [row for row in rows if row.skipped is None]:
    ceilings = limits.measure(costs.CLOCKS[CLOCK.value])
    print(f"\n{limits.describe(ceilings)}\n\n{markdown.head(limits.COLUMNS)}")
    for row in run:
      print(limits.line(row, ceilings), flush=True)
    write(as_json(rows, settings, ceilings))
  return 0


def _run_beside(
  name: str,
  grid: Sequence[Cell],
  optimiser: OptimiserConfig,
  settings: dict[str, Any],
  write: Callable[[dict[str, Any]], None],
) -> None:
  """Measures ours and a peer.

  Raises:
    ValueError: A ratio was less than the flag says.
  """
  # XLA's CPU backend reads this when it starts; so does the peer. One thread
  # each, so that it is the programs that are compared.
  os.environ.setdefault("NPROC", "1")
  peer = peers.PEERS[name]
  duels: list[peers.Duel] = []
  for cell in grid:
    duels.append(
      peers.alternate(
        cell, peer, optimiser, repeats=REPEATS.value, clock=CLOCK.value
      )
    )
    if len(duels) == 1:
      print(f"{peer.note}\n\n{markdown.head(peers.COLUMNS)}")
    print(peers.line(duels[-1]), flush=True)
    rows = [{**_about_cell(x.cell), **peers.as_json(x)} for x in duels]
    write({**_about(settings), "peer": name, "note": peer.note, "rows": rows})
  worst = min(duels, key=lambda x: x.of_least)
  if AT_LEAST.value is not None and worst.of_least < AT_LEAST.value:
    raise ValueError(
      f"the ratio to {name} must be at least {AT_LEAST.value:g}, got "
      f"{worst.of_least:.2f} for {worst.cell.name} of "
      f"{worst.cell.config.memory_size:,} slots."
    )


if __name__ == "__main__":
  shared.run_script(main)
