"""Operations and bytes of a program, counted from what JAX traced of it.

XLA counts them too (``cost_analysis`` of a compiled program), but the body of a
loop once, however often it runs: so a sequence of 100 steps counts as one of
1. Here a scan counts as often as it is long.
"""

import math
from typing import Any, NamedTuple

from jax.extend.core import ClosedJaxpr, Jaxpr

# What only moves numbers, renames them or makes them from nothing.
_MOVES = frozenset(
  (
    "broadcast_in_dim", "concatenate", "convert_element_type", "copy",
    "device_put", "dynamic_slice", "dynamic_update_slice", "gather",
    "iota", "name", "optimization_barrier", "pad", "reshape", "rev", "scatter",
    "slice", "split", "squeeze", "stack", "stop_gradient", "tile", "transpose",
    "unstack",
  )
)  # fmt: skip


class Counts(NamedTuple):
  """What a program does.

  Attributes:
    operations: On numbers. A multiplication and an addition of a matrix product
      are two; any other operation on an element is one, a comparison or an
      exponential as much as an addition; one that only moves it is none.
    named_bytes: What all operations take and give, moves included: what would
      go through memory if each were done by itself. The compiler fuses them, so
      this is the most.
  """

  operations: int = 0
  named_bytes: int = 0


def count(program: ClosedJaxpr | Jaxpr) -> Counts:
  """Returns what a program does.

  >>> import jax, jax.numpy as jnp
  >>> def product(x):
  ...   return jnp.tanh(x @ x)
  >>> count(jax.make_jaxpr(product)(jnp.zeros([4, 4]))).operations
  144

  Args:
    program: As `jax.make_jaxpr` and ``jax.jit(...).trace(...).jaxpr`` give it.

  Raises:
    ValueError: It has a loop whose length is known only as it runs.
  """
  jaxpr = program.jaxpr if isinstance(program, ClosedJaxpr) else program
  operations = named_bytes = 0
  for equation in jaxpr.eqns:
    name, params = equation.primitive.name, equation.params
    times = params["length"] if name == "scan" else 1
    if name == "while":
      raise ValueError("while: how often this loop runs is not known.")
    if name == "cond":
      found = max(count(branch) for branch in params["branches"])
    elif (inner := _body(name, params)) is not None:
      found = count(inner)
    else:
      arrays = [x.aval for x in (*equation.invars, *equation.outvars)]
      found = Counts(_operations(equation), sum(map(_bytes, arrays)))
    operations += times * found.operations
    named_bytes += times * found.named_bytes
  return Counts(operations, named_bytes)


def _body(name: str, params: dict[str, Any]) -> Any:
  """Returns the program that an operation calls; None if it is an operation.

  What a reduction or a scatter does with two numbers is no such program.
  """
  if name.startswith(("reduce", "scatter")):
    return None
  for field in ("jaxpr", "call_jaxpr"):
    if isinstance(params.get(field), ClosedJaxpr | Jaxpr):
      return params[field]
  return None


def _operations(equation: Any) -> int:
  """Returns how many operations on numbers one of the program's is."""
  name = equation.primitive.name
  heard, told = (
    [x.aval for x in side] for side in (equation.invars, equation.outvars)
  )
  if name == "dot_general":
    (summed, _), _ = equation.params["dimension_numbers"]
    return 2 * told[0].size * math.prod(heard[0].shape[x] for x in summed)
  if name in _MOVES:
    return 0
  if name in ("sort", "top_k"):
    length = heard[0].shape[equation.params.get("dimension", -1)]
    return heard[0].size * math.ceil(math.log2(max(length, 2)))
  if name.startswith("scatter"):
    return heard[2].size
  if name.startswith(("reduce_", "arg", "cum")) and name != "reduce_precision":
    return heard[0].size
  return sum(x.size for x in told)


def _bytes(array: Any) -> int:
  # A key of random numbers has no size in bytes that is of interest.
  return array.size * getattr(array.dtype, "itemsize", 0)
