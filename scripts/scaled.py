"""How scaling is measured: what crosses between devices, and powers that fit.

Shapes: T steps, B sequences in the batch, N slots.
"""

import collections
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from dnc_jax import losses, sharding, training
from dnc_jax.config import ModelConfig
from dnc_jax.training import OptimiserConfig
from scripts.costs import NUM_BITS, random_batch

_COLLECTIVES = (
  "all-gather|all-reduce|all-to-all|collective-broadcast|collective-permute|"
  "reduce-scatter"
)
_COLLECTIVE = re.compile(rf" = (.*?) ({_COLLECTIVES})(?:-start)?\(")
_ARRAY = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")


class Traffic(NamedTuple):
  """What crosses between devices in an update, as its program says.

  Attributes:
    per_step: Bytes by kind of collective, of one time step forward and back.
    once: The same, of what is done once.
  """

  per_step: Mapping[str, int]
  once: Mapping[str, int]


def traffic(text: str) -> Traffic:
  """Returns what crosses between devices, from a compiled program's text.

  Counted are the bytes of what each collective gives to a device. How many of
  them a network carries hangs on how it adds up: of an all-reduce about twice
  as many, of the others a little less.

  Args:
    text: What ``compiled.as_text()`` gives. What is in a loop is taken to be
      done at each time step.
  """
  found = {True: collections.Counter(), False: collections.Counter()}
  is_once = False
  for line in text.splitlines():
    if line and not line[0].isspace():
      is_once = line.startswith("ENTRY")
    if match := _COLLECTIVE.search(line):
      found[is_once][match[2]] += sum(
        math.prod(map(int, filter(None, shape.split(",")))) * _size(dtype)
        for dtype, shape in _ARRAY.findall(match[1])
      )
  return Traffic(found[False], found[True])


def compile_update(
  config: ModelConfig, num_steps: int, batch_size: int, mesh: Any
) -> Any:
  """Returns an update of random bits over a mesh, compiled and not run."""
  optimiser = OptimiserConfig()
  state = jax.eval_shape(
    lambda: training.init_state(config, optimiser, NUM_BITS, seed=0)
  )
  everywhere = sharding.replicated(mesh)
  state = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), state
  )
  batch = sharding.shard_batch(random_batch(num_steps, batch_size), mesh)
  update: Any = training.make_update(
    config, optimiser, losses.bits, 0, mesh=mesh
  )
  return update.lower(state, batch, 0, config.memory_size).compile()


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
  """Returns p of the power law, value = c sizeᵖ, that fits best.

  Args:
    sizes: At least two, all above 0.
    values: One for each, all above 0.
  """
  slope, _ = np.polyfit(np.log(sizes), np.log(values), 1)
  return round(float(slope), 3)


def _size(dtype: str) -> int:
  """Returns the bytes of a number of one of XLA's types, such as f32."""
  return max(1, int(re.sub(r"\D", "", dtype) or 8) // 8)
