"""How the cost of training grows, and what crosses between devices.

    python -m scripts.scaling --fit
    python -m scripts.scaling --traffic --mesh_data=2 --mesh_slots=4

docs/scaling.md has what they found. Shapes: T steps, B sequences in the batch,
N slots, R read heads.
"""

import dataclasses
from collections.abc import Sequence

import jax
from absl import flags

from dnc_jax import sharding
from dnc_jax.config import ModelConfig
from dnc_jax.training import OptimiserConfig
from scripts import costs, devices, markdown
from scripts import flags as shared
from scripts.costs import NUM_BITS, Cell
from scripts.scaled import compile_update, exponent, traffic

FIT = flags.DEFINE_bool(
  "fit", False, "Measures one sequence length, batch, memory after another."
)
TRAFFIC = flags.DEFINE_bool(
  "traffic", False, "Counts what crosses between the devices of a mesh."
)
CORE = flags.DEFINE_enum("core", "dnc", list(costs.CORES), "What is measured.")
REPEATS = flags.DEFINE_integer(
  "repeats", 5, "Timed calls of each; the fastest counts.", lower_bound=1
)
CLOCK = flags.DEFINE_enum(
  "clock", "cpu", list(costs.CLOCKS), "As in scripts.benchmark."
)
NUM_STEPS = flags.DEFINE_integer("num_steps", 16, "T.", lower_bound=1)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "B.", lower_bound=1)
MEMORY_SIZE = flags.DEFINE_integer("memory_size", 256, "N.", lower_bound=1)
WORD_SIZE = flags.DEFINE_integer("word_size", 32, "W.", lower_bound=1)
NUM_READ_HEADS = flags.DEFINE_integer("num_read_heads", 4, "R.", lower_bound=1)
HIDDEN_SIZE = flags.DEFINE_integer(
  "hidden_size", 64, "Cells of the controller.", lower_bound=1
)

# What each of T, B, N, R is multiplied by while the others stay.
_FACTORS = (0.5, 1, 2, 4)
_MOST_BYTES = 4_000_000_000


def main(argv: Sequence[str]) -> None:
  """Measures as the flags say."""
  del argv
  if FIT.value == TRAFFIC.value:
    raise ValueError("Give one of --fit and --traffic.")
  base = Cell(
    CORE.value,
    ModelConfig(
      output_size=NUM_BITS,
      hidden_size=HIDDEN_SIZE.value,
      memory_size=MEMORY_SIZE.value,
      word_size=WORD_SIZE.value,
      num_reads=NUM_READ_HEADS.value,
      **costs.CORES[CORE.value],
    ),
    NUM_STEPS.value,
    BATCH_SIZE.value,
  )
  if FIT.value:
    _fit(base)
  else:
    _tell_traffic(base)


def _fit(base: Cell) -> None:
  """Prints a table of costs, and the exponents that fit."""
  print(f"{base.core} on {jax.devices()[0].device_kind}, {CLOCK.value} time\n")
  print(markdown.head([*"TBNR", "update, ms", "temporary", "kept a step"]))
  known: dict[Cell, tuple[float, ...]] = {}
  lines = []
  for letter in "TBNR":
    sizes, found = [], []
    for factor in _FACTORS:
      size, cell = _scaled(base, letter, factor)
      if cell not in known:
        row = costs.measure(
          cell,
          OptimiserConfig(),
          repeats=REPEATS.value,
          most_bytes=_MOST_BYTES,
          clock=CLOCK.value,
        )
        if row.update is None:
          print(f"{letter} = {size} {row.skipped}", flush=True)
          continue
        known[cell] = (
          row.update.least_ms * cell.num_steps,
          row.update.temporary_bytes or 1,
          row.kept_bytes,
        )
        _tell_row(cell, known[cell])
      sizes.append(size)
      found.append(known[cell])
    powers = [exponent(sizes, values) for values in zip(*found, strict=True)]
    grows = f"{letter}, {sizes[0]} to {sizes[-1]}"
    lines.append(markdown.row([grows, *(f"{power:.2f}" for power in powers)]))
  print()
  print(markdown.head(["grows with", "time", "temporary", "kept a step"]))
  print("\n".join(lines))


def _scaled(base: Cell, letter: str, factor: float) -> tuple[int, Cell]:
  """Returns a cell of which one size is multiplied, and that size."""
  if letter in "TB":
    field = {"T": "num_steps", "B": "batch_size"}[letter]
    size = max(1, int(getattr(base, field) * factor))
    return size, base._replace(**{field: size})
  field = {"N": "memory_size", "R": "num_reads"}[letter]
  size = max(1, int(getattr(base.config, field) * factor))
  config = dataclasses.replace(base.config, **{field: size})
  return size, base._replace(config=config)


def _tell_row(cell: Cell, found: Sequence[float]) -> None:
  """Prints a row of the table."""
  config = cell.config
  sizes = (
    cell.num_steps,
    cell.batch_size,
    config.memory_size,
    config.num_reads,
  )
  texts = [*map(str, sizes), f"{found[0]:.3g}"]
  texts += [costs.as_bytes(int(number)) for number in found[1:]]
  print(markdown.row(texts), flush=True)


def _tell_traffic(base: Cell) -> None:
  """Prints what crosses between the devices of the mesh of the flags."""
  mesh = devices.mesh()
  if mesh is None:
    raise ValueError("--traffic is of several devices: give a mesh.")
  sharding.check_sizes(mesh, base.batch_size, base.config)
  compiled = compile_update(base.config, base.num_steps, base.batch_size, mesh)
  found = traffic(compiled.as_text())
  parts = " × ".join(f"{x} {name}" for name, x in mesh.shape.items())
  print(f"{base.core} over {parts}: bytes that collectives give to a device\n")
  print(markdown.head(["collective", "each time step", "once an update"]))
  for kind in sorted({*found.per_step, *found.once}):
    here, once = found.per_step.get(kind, 0), found.once.get(kind, 0)
    print(markdown.row([kind, f"{here:,}", f"{once:,}"]))
  print(markdown.row(["all", *(f"{sum(x.values()):,}" for x in found)]))
  temporary = compiled.memory_analysis().temp_size_in_bytes
  print(f"\ntemporary on each device: {costs.as_bytes(temporary)}")


if __name__ == "__main__":
  flags.adopt_module_key_flags(devices)
  shared.run_script(main)
