"""What the machine can do at most, and how near to that a program comes.

Shapes: T steps, B sequences in the batch.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

# Bytes of the arrays that are copied: two for caches, and one for none.
ARRAY_BYTES = (2**18, 2**22, 2**27)
MATRIX_SIZE = 1024

# Bytes to copy, and operations to do, in one timed call.
_COPIED = 2**28
_OPERATIONS = 2**33
_REPEATS = 5


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


def of_forward(operations: int, state_bytes: int, num_steps: int) -> Least:
  """Returns the least of a forward pass.

  Args:
    operations: Those of the program.
    state_bytes: State of the whole batch, which each step reads and writes.
    num_steps: T.
  """
  return Least(operations, ((2 * num_steps * state_bytes, state_bytes),))


def of_update(
  operations: int,
  forward_operations: int,
  state_bytes: int,
  kept_bytes: int,
  num_steps: int,
) -> Least:
  """Returns the least of a step of training.

  Its operations are those of the program, but no more than three times those
  forward: what the backward pass computes again need not be computed. Its bytes
  are: the state, read by each step forward, which writes the next as part of
  what it keeps; the gradient of the state, read and written by each step
  backward; and what is kept of each step, written once and read once.
  Parameters, inputs and the optimiser are left out.

  Args:
    operations: Those of the program.
    forward_operations: Those of the program forward.
    state_bytes: State of the whole batch.
    kept_bytes: What is kept of a time step of the whole batch.
    num_steps: T.
  """
  all_kept = num_steps * kept_bytes
  return Least(
    min(operations, 3 * forward_operations),
    ((3 * num_steps * state_bytes, state_bytes), (2 * all_kept, all_kept)),
  )


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
