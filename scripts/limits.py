"""What the machine can do at most, and how near to that a program comes.

Shapes: T steps, B sequences in the batch.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from scripts import markdown
from scripts.costs import Row, as_bytes

# Bytes of the arrays that are copied: two for caches, and one for none.
ARRAY_BYTES = (2**18, 2**22, 2**27)
MATRIX_SIZE = 1024

# Bytes to copy, and operations to do, in one timed call.
_COPIED = 2**28
_OPERATIONS = 2**33
_REPEATS = 5

# Cores whose steps change a few slots of a state that they need not go through.
_SPARSE = ("sam", "sdnc")

COLUMNS = (
  "core",
  "slots",
  "steps",
  "operations a step: forward",
  "training",
  "bytes a step, at least: forward",
  "training",
  "at most: forward",
  "training",
  "limit, ms a step: forward",
  "training",
  "of the limit: forward",
  "training",
  "most memory of the process",
)


class Ceilings(NamedTuple):
  """What the machine was seen to do at most.

  Attributes:
    operations: Operations a second, by a product of two matrices in float32.
    bandwidths: Bytes a second, read and written together, by the size in bytes
      of the array that each was measured with; the smallest first.
  """

  operations: float
  bandwidths: dict[int, float]

  def bandwidth(self, size: int) -> float:
    """Returns bytes a second for going through an array again and again.

    Args:
      size: Its bytes. The speed is that of the smallest array measured that is
        as large, or of the largest: what fits into a cache is faster.
    """
    larger = [x for x in self.bandwidths if x >= size]
    return self.bandwidths[min(larger, default=max(self.bandwidths))]


class Least(NamedTuple):
  """The least that a program could do, by what it computes.

  Attributes:
    operations: As `counts.Counts` has them.
    moved: Pairs of bytes that are read or written, and of the size in bytes of
      the arrays that they go through.
  """

  operations: int
  moved: tuple[tuple[int, int], ...]

  @property
  def moved_bytes(self) -> int:
    """All bytes that are read or written."""
    return sum(amount for amount, _ in self.moved)

  def seconds(self, ceilings: Ceilings) -> float:
    """Returns the least time: for the operations or the bytes, if it is more.

    This is the roofline of Williams, Waterman & Patterson 2009.

    Args:
      ceilings: What the machine can do.
    """
    moving = sum(
      amount / ceilings.bandwidth(size) for amount, size in self.moved
    )
    return max(self.operations / ceilings.operations, moving)


def of_row(row: Row) -> tuple[Least, Least] | None:
  """Returns the least of a forward pass, and of a step of training.

  Forward, each step reads the state and writes it anew. In training it writes
  it as part of what it keeps; that is written once and read once, and backward
  each step reads and writes the gradient of the state. Parameters, inputs and
  the optimiser are left out. Operations are those of the programs, but in
  training no more than three times those forward: what the backward pass
  computes again need not be computed.

  Args:
    row: What was found of a core.

  Returns:
    None where it was not run, and for cores whose steps touch a few slots only.
  """
  cell = row.cell
  if row.forward is None or row.update is None:
    return None
  if cell.config.core in _SPARSE:
    return None
  state = cell.batch_size * row.state_bytes
  kept = cell.num_steps * row.kept_bytes
  forward = row.forward.operations
  return (
    Least(forward, ((2 * cell.num_steps * state, state),)),
    Least(
      min(row.update.operations, 3 * forward),
      ((3 * cell.num_steps * state, state), (2 * kept, kept)),
    ),
  )


def fractions(row: Row, ceilings: Ceilings) -> tuple[float, float] | None:
  """Returns how much of the limit a core reaches: forward, and in training.

  This is the least time divided by the median of those measured, so 1 would be
  as fast as the machine can be.

  Args:
    row: What was found of the core.
    ceilings: Of the same machine.
  """
  least = of_row(row)
  if least is None or row.forward is None or row.update is None:
    return None
  forward, update = (
    1000 * x.seconds(ceilings) / (cost.median_ms * row.cell.num_steps)
    for x, cost in zip(least, (row.forward, row.update), strict=True)
  )
  return forward, update


def line(row: Row, ceilings: Ceilings) -> str:
  """Returns a row of the table of limits, in Markdown.

  Args:
    row: What was found of a core, which was run.
    ceilings: Of the same machine.
  """
  cell = row.cell
  steps = cell.num_steps
  costs = [x for x in (row.forward, row.update) if x is not None]
  least = of_row(row)
  reached = fractions(row, ceilings)
  texts = [
    cell.name,
    f"{cell.config.memory_size:,}" if cell.config.core != "none" else "-",
    str(steps),
    *(as_number(x.operations / steps) for x in costs),
    *(as_bytes(x.moved_bytes // steps) for x in least or ()),
    *(["-"] * (0 if least else 2)),
    *(as_bytes(x.named_bytes // steps) for x in costs),
    *(f"{1000 * x.seconds(ceilings) / steps:.3g}" for x in least or ()),
    *(["-"] * (0 if least else 2)),
    *(f"{x:.1%}" for x in reached or ()),
    *(["-"] * (0 if reached else 2)),
    as_bytes(row.peak_bytes),
  ]
  return markdown.row(texts)


def describe(ceilings: Ceilings) -> str:
  """Returns in words what the machine can do."""
  copies = ", ".join(
    f"{speed / 1e9:.3g} GB/s ({as_bytes(size)})"
    for size, speed in ceilings.bandwidths.items()
  )
  return (
    f"This machine: a matrix product {ceilings.operations / 1e9:.3g} GFLOP/s, "
    f"a copy, read and written together, {copies}."
  )


def as_number(number: float) -> str:
  """Returns a number as people read it: 950, 12.3 k, 1.2 G."""
  for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
    if number >= size:
      return f"{number / size:.3g} {unit}"
  return f"{number:.3g}"


def measure(now: Callable[[], float] = time.perf_counter) -> Ceilings:
  """Returns what this process's device can do, by the fastest of some calls.

  A copy reads every number of an array and writes another in its place, so that
  nothing but the array goes through the caches, and no memory is taken anew.

  Args:
    now: Tells the time in seconds.
  """
  matrix = jnp.full([MATRIX_SIZE, MATRIX_SIZE], 1 / MATRIX_SIZE)
  times = max(1, _OPERATIONS // (2 * MATRIX_SIZE**3))

  def multiply(x: jax.Array) -> jax.Array:
    return jax.lax.fori_loop(0, times, lambda _, y: y @ x, x)

  operations = 2 * MATRIX_SIZE**3 * times / _fastest(multiply, matrix, now)
  bandwidths = {}
  for size in ARRAY_BYTES:
    rounds = max(2, _COPIED // size)

    def negate(x: jax.Array, rounds: int = rounds) -> jax.Array:
      return jax.lax.fori_loop(0, rounds, lambda _, y: -y, x)

    array = jnp.ones([size // 4], jnp.float32)
    bandwidths[size] = 2 * size * rounds / _fastest(negate, array, now)
  return Ceilings(operations, bandwidths)


def _fastest(
  function: Callable[[Any], Any], given: jax.Array, now: Callable[[], float]
) -> float:
  """Returns the least seconds that a call took, after one that is not timed."""
  call = jax.jit(function)
  jax.block_until_ready(call(given))
  seconds = []
  for _ in range(_REPEATS):
    began = now()
    jax.block_until_ready(call(given))
    seconds.append(now() - began)
  return min(seconds)
