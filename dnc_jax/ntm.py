"""The Neural Turing Machine: a memory whose heads also move along the slots.

Graves, Wayne & Danihelka, "Neural Turing Machines" (arXiv:1410.5401, 2014).
Where the paper leaves a choice, docs/deviations.md has ours.

Shapes: B sequences in the batch, N slots of memory, W numbers in a slot, R
read heads, H heads of the kind at hand, S shifts.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from dnc_jax import _interface, addressing
from dnc_jax._checks import at_least, one_of
from dnc_jax.dnc import DNC
from dnc_jax.sharpening import sharpen

INITIAL_MEMORIES = ("constant", "learned", "random")

# What a slot holds at first, where that is constant: not zero, so that slots
# have a direction to be compared by (Collier & Beel 2018).
_CONSTANT = 1e-6

# What brings what is said of each head into its range.
_RANGES = {
  "strengths": jax.nn.softplus,
  "gates": jax.nn.sigmoid,
  "shifts": functools.partial(jax.nn.softmax, axis=-1),
  "sharpness": addressing.oneplus,
}


def interpolate(
  content: jax.Array, prev_weights: jax.Array, gate: jax.Array
) -> jax.Array:
  """Returns weights between a look-up and where a head was (Section 3.3.2).

      w = g wᶜ + (1 - g) w_prev

  >>> interpolate(jnp.array([[[1.0, 0.0]]]), jnp.array([[[0.0, 1.0]]]),
  ...             jnp.array([[0.25]]))
  Array([[[0.25, 0.75]]], dtype=float32)

  Args:
    content: wᶜ, what the look-up gives. Shape ``[B, H, N]``.
    prev_weights: Weights of the step before. Shape ``[B, H, N]``.
    gate: g, in [0, 1]. Shape ``[B, H]``.

  Returns:
    Shape ``[B, H, N]``.
  """
  chex.assert_equal_shape([content, prev_weights])
  gate = gate[..., None]
  return gate * content + (1 - gate) * prev_weights


def shift(weights: jax.Array, shifts: jax.Array) -> jax.Array:
  """Returns weights moved along the slots, which form a ring (equation 8).

      w'[i] = Σⱼ w[j] s[i - j]

  With S = 2 m + 1 the first shift moves by -m, towards slot 0, the one in the
  middle leaves weights where they are, and the last moves by m.

  >>> shift(jnp.array([[[0.0, 1.0, 0.0, 0.0]]]), jnp.array([[[0.0, 0.5, 0.5]]]))
  Array([[[0. , 0.5, 0.5, 0. ]]], dtype=float32)

  Args:
    weights: Shape ``[B, H, N]``.
    shifts: How much to move by each, a distribution. Shape ``[B, H, S]``, S
      odd.

  Returns:
    Shape ``[B, H, N]``, with the same sum.
  """
  chex.assert_rank([weights, shifts], [3, 3])
  most = shifts.shape[-1] // 2
  return sum(
    (
      jnp.roll(weights, index - most, axis=-1) * shifts[..., index, None]
      for index in range(shifts.shape[-1])
    ),
    start=jnp.zeros_like(weights),
  )


class NTMAccessState(NamedTuple):
  """State of `NTMAccess` after a step.

  Attributes:
    memory: Contents. Shape ``[B, N, W]``.
    read_weights: Where each head read, a distribution. Shape ``[B, R, N]``.
    write_weights: Where each head wrote, a distribution. Shape ``[B, H, N]``.
  """

  memory: jax.Array  # [B, N, W]
  read_weights: jax.Array  # [B, R, N]
  write_weights: jax.Array  # [B, H, N]


class NTMAccess(hk.RNNCore):
  """The memory of a Neural Turing Machine.

  Each head looks a key up, or stays where it was, or something between; moves;
  and is made sharp:

      w = sharpen(shift(interpolate(content(k, β), w_prev, g), s), γ)

  First the write heads erase and add, then the read heads read what is there
  now. A step takes what the controller says, ``[B, hidden size]``, and gives
  the words read, ``[B, R, W]``. One linear layer named ``interface`` gives, in
  this order, for the read heads and then for the write heads:

  | quantity | numbers | range | made by |
  | --- | --- | --- | --- |
  | keys k | H·W | any | |
  | strengths β | H | (0, ∞) | softplus |
  | gates g | H | [0, 1] | sigmoid |
  | shifts s | H·S | a distribution | softmax |
  | sharpness γ | H | [1, ∞) | 1 + softplus |
  | erase vectors | H·W | [0, 1] | sigmoid; write heads only |
  | write vectors | H·W | any | write heads only |
  """

  def __init__(
    self,
    memory_size: int = 128,
    word_size: int = 20,
    num_reads: int = 1,
    num_writes: int = 1,
    *,
    max_shift: int = 1,
    initial_memory: str = "constant",
    name: str = "ntm_access",
  ):
    """Makes a memory.

    Args:
      memory_size: N, slots, at least 1. No parameter's shape depends on it.
      word_size: W, numbers in a slot, at least 1.
      num_reads: R, read heads, at least 1.
      num_writes: Write heads, at least 1.
      max_shift: Slots that a head can move by in a step, at least 0.
      initial_memory: What is in the memory at first: ``"constant"``, 1e-6
        throughout, which Collier & Beel (2018) found to learn fastest;
        ``"learned"``, a learned word, the same in each slot; or ``"random"``,
        numbers of standard deviation 0.5, the same in each run.
      name: Name of the module.

    Raises:
      ValueError: A size is below 1, ``max_shift`` below 0, or
        ``initial_memory`` none of those named.
    """
    super().__init__(name=name)
    self._memory_size = at_least("memory_size", memory_size, 1)
    self._word_size = at_least("word_size", word_size, 1)
    self._num_reads = at_least("num_reads", num_reads, 1)
    self._num_writes = at_least("num_writes", num_writes, 1)
    self._num_shifts = 2 * at_least("max_shift", max_shift, 0) + 1
    self._initial_memory = one_of(
      "initial_memory", initial_memory, INITIAL_MEMORIES
    )

  @property
  def output_shape(self) -> tuple[int, int]:
    """Shape of the words read at a step, without the batch: ``(R, W)``."""
    return (self._num_reads, self._word_size)

  def __call__(
    self, inputs: jax.Array, prev_state: NTMAccessState
  ) -> tuple[jax.Array, NTMAccessState]:
    """Writes to the memory, then reads from it.

    Args:
      inputs: What the controller says. Shape ``[B, hidden size]``.
      prev_state: State of the step before.

    Returns:
      The words read, shape ``[B, R, W]``, and the new state.
    """
    parts = self.interface(inputs)
    write_weights = self._weights(
      "write", parts, prev_state.memory, prev_state.write_weights
    )
    memory = addressing.erase_and_write(
      prev_state.memory,
      write_weights,
      parts["erase_vectors"],
      parts["write_vectors"],
    )
    read_weights = self._weights("read", parts, memory, prev_state.read_weights)
    return read_weights @ memory, NTMAccessState(
      memory=memory, read_weights=read_weights, write_weights=write_weights
    )

  @hk.name_like("__call__")
  def interface(self, inputs: jax.Array) -> dict[str, jax.Array]:
    """Returns the quantities of the interface by name, each in its range.

    Args:
      inputs: What the controller says. Shape ``[B, hidden size]``.
    """
    writes = (self._num_writes, self._word_size)
    parts = _interface.speak(
      inputs,
      {
        **self._head_layout("read", self._num_reads),
        **self._head_layout("write", self._num_writes),
        "erase_vectors": writes,
        "write_vectors": writes,
      },
    )
    parts["erase_vectors"] = jax.nn.sigmoid(parts["erase_vectors"])
    for kind in ("read", "write"):
      for name, to_range in _RANGES.items():
        parts[f"{kind}_{name}"] = to_range(parts[f"{kind}_{name}"])
    return parts

  def initial_state(self, batch_size: int | None) -> NTMAccessState:
    """Returns the memory before the first step, with all heads at slot 0."""
    shape = (self._memory_size, self._word_size)
    if self._initial_memory == "learned":
      word = hk.get_parameter(
        "initial_word", shape[1:], init=hk.initializers.RandomNormal(0.1)
      )
      memory = jnp.broadcast_to(word, shape)
    elif self._initial_memory == "random":
      memory = 0.5 * jax.random.normal(jax.random.key(0), shape)
    else:
      memory = jnp.full(shape, _CONSTANT)
    at_first = jnp.zeros(self._memory_size).at[0].set(1)
    batch = () if batch_size is None else (batch_size,)

    def of_heads(heads: int) -> jax.Array:
      return jnp.broadcast_to(at_first, (*batch, heads, self._memory_size))

    return NTMAccessState(
      memory=jnp.broadcast_to(memory, (*batch, *shape)),
      read_weights=of_heads(self._num_reads),
      write_weights=of_heads(self._num_writes),
    )

  def _head_layout(self, kind: str, heads: int) -> dict[str, tuple[int, ...]]:
    """Returns name and shape of what says where heads of a kind go."""
    return {
      f"{kind}_keys": (heads, self._word_size),
      f"{kind}_strengths": (heads,),
      f"{kind}_gates": (heads,),
      f"{kind}_shifts": (heads, self._num_shifts),
      f"{kind}_sharpness": (heads,),
    }

  def _weights(
    self,
    kind: str,
    parts: Mapping[str, jax.Array],
    memory: jax.Array,
    prev_weights: jax.Array,
  ) -> jax.Array:
    """Returns where heads of a kind are now, ``[B, H, N]``."""
    content = addressing.content_weights(
      memory,
      parts[f"{kind}_keys"],
      parts[f"{kind}_strengths"],
    )
    gate = parts[f"{kind}_gates"]
    moved = shift(
      interpolate(content, prev_weights, gate), parts[f"{kind}_shifts"]
    )
    return sharpen(moved, parts[f"{kind}_sharpness"])


class NTM(DNC):
  """A Neural Turing Machine: a `DNC` around an `NTMAccess`.

  Made and called as a DNC is, with the same `dnc.DNCState`. Its memory, if none
  is given, has the paper's sizes; its name, if none is given, is ``ntm``.
  """

  _default_access = NTMAccess
