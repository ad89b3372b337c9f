"""What the backward pass finds kept, and what it computes again.

Shapes: T steps, B sequences, C steps of a chunk.
"""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from dnc_jax import _allocation, _linear, _links
from dnc_jax.config import ModelConfig

# Numbers in the memories and links of a batch, up to which they are small.
_SMALL = 2**14


def is_small(config: ModelConfig, batch_size: int) -> bool:
  """Returns whether a step does so little that its overhead is what counts.

  Memories and links then fit into a processor's nearest cache; measured in
  docs/performance.md.

  >>> is_small(ModelConfig(output_size=5, memory_size=16), batch_size=16)
  True
  >>> is_small(ModelConfig(output_size=5, memory_size=64), batch_size=16)
  False

  Args:
    config: The model.
    batch_size: B, sequences that it goes through at a time.
  """
  slots = config.memory_size
  if config.core == "none":
    return True
  lists = 4 * min(config.link_size, slots)
  links = 0
  if config.core == "sdnc":
    links = lists
  elif config.core == "dnc":
    links = {"off": 0, "sparse": lists}.get(config.links, slots)
    links *= config.num_writes
  return batch_size * slots * (config.word_size + links) <= _SMALL


def recompute(
  core: hk.RNNCore, config: ModelConfig, batch_size: int, kernels: str = "xla"
) -> Any:
  """Returns the core, computing again in the backward pass what it may.

  Unless memories are small or sparse, only matrix products with parameters and
  the order of the slots are kept of each step; all else is computed again,
  which is faster on a CPU than keeping it and takes a fraction of the memory.

  Sparse cores keep little as they are. To compute again what a step did, it
  must be kept what the memory was before it: all of it, for each step.

  Args:
    core: The core.
    config: What it is made of.
    batch_size: B, sequences that it goes through at a time.
    kernels: See `OptimiserConfig`. `native_unroll` sees to all this itself.
  """
  if kernels == "native":
    return core
  step = _linear.quick(core)
  if is_small(config, batch_size) or config.core in ("sam", "sdnc"):
    return step
  policies = jax.checkpoint_policies
  return hk.remat(
    step,
    policy=policies.save_from_both_policies(
      policies.dots_with_no_batch_dims_saveable,
      policies.save_only_these_names(_allocation.ORDER, _links.DIRECTIONS),
    ),
    # A scan's body is not merged with its backward pass: nothing is lost.
    prevent_cse=False,
  )


def unroll_in_chunks(
  core: Any,
  inputs: Any,
  state: Any,
  chunk_length: int,
  unroll: Callable[..., tuple[Any, Any]] = hk.dynamic_unroll,
) -> tuple[Any, Any]:
  """Unrolls a core as `hk.dynamic_unroll`, keeping far less for its gradient.

  Only the states between chunks are kept; the backward pass computes one chunk
  at a time again and holds what it needs of that one. So what is held grows
  with ``T / C + C`` states, least where ``C`` is about the square root of T,
  instead of T, for one more pass forward. (Chen et al. 2016, "Training deep
  nets with sublinear memory cost".)

  Outputs, states and gradients are those of `hk.dynamic_unroll` but for
  rounding; what a core draws from `hk.next_rng_key` is drawn otherwise.

  Args:
    core: Any function from inputs and state to outputs and state, such as an
      `hk.RNNCore`.
    inputs: Arrays ``[T, B, ...]``.
    state: State before the first step.
    chunk_length: C, steps of a chunk, at least 1. What is left over at the end
      is a shorter one.
    unroll: What unrolls a chunk: `hk.dynamic_unroll` or `native_unroll`.

  Returns:
    Outputs ``[T, B, ...]``, and the state after the last step.

  Raises:
    ValueError: ``chunk_length`` is below 1.
  """
  if chunk_length < 1:
    raise ValueError(f"chunk_length must be at least 1, got {chunk_length}.")
  num_steps = jax.tree.leaves(inputs)[0].shape[0]
  num_chunks = num_steps // chunk_length
  if hk.running_init() or num_chunks == 0:
    return unroll(core, inputs, state)
  whole = num_chunks * chunk_length

  chunk = hk.remat(
    lambda steps, state: unroll(core, steps, state),
    prevent_cse=False,
  )

  def body(state: Any, steps: Any) -> tuple[Any, Any]:
    outputs, state = chunk(steps, state)
    return state, outputs

  state, outputs = hk.scan(
    body,
    state,
    jax.tree.map(
      lambda x: x[:whole].reshape(num_chunks, chunk_length, *x.shape[1:]),
      inputs,
    ),
  )
  outputs = jax.tree.map(lambda x: x.reshape(whole, *x.shape[2:]), outputs)
  if whole < num_steps:
    rest, state = chunk(jax.tree.map(lambda x: x[whole:], inputs), state)
    outputs = jax.tree.map(lambda *x: jnp.concatenate(x), outputs, rest)
  return outputs, state
