"""External memory with read and write heads, as Haiku recurrent cores.

`MemoryAccess` turns what a controller says into reads and writes, by the
functions of `dnc_jax.addressing`. `TemporalLinkage` and `Freeness` are the two
parts of it that have a state of their own; another access module can be built
from them.

Shapes: B sequences in the batch, N slots, W numbers in a slot, R read heads, H
write heads.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from dnc_jax import _interface, _products, addressing, sparse_links
from dnc_jax._checks import at_least, one_of
from dnc_jax.linkage import TemporalLinkage, TemporalLinkageState
from dnc_jax.sharpening import sharpen_links
from dnc_jax.sparse_links import SparseLinkageState

STRENGTHS = {"softplus": jax.nn.softplus, "oneplus": addressing.oneplus}
LINKS = ("dense", "stop_gradient", "sparse", "off")
ALLOCATIONS = ("sort", "softmax")


class AccessState(NamedTuple):
  """State of `MemoryAccess` after a step.

  Attributes:
    memory: Contents. Shape ``[B, N, W]``.
    read_weights: Where each head read, in [0, 1]. Shape ``[B, R, N]``.
    write_weights: Where each head wrote, in [0, 1]. Shape ``[B, H, N]``.
    linkage: Order of the writes; None where links are off.
    usage: How much each slot is used, in [0, 1]. Shape ``[B, N]``.
  """

  memory: jax.Array  # [B, N, W]
  read_weights: jax.Array  # [B, R, N]
  write_weights: jax.Array  # [B, H, N]
  linkage: TemporalLinkageState | SparseLinkageState | None
  usage: jax.Array  # [B, N]


class Freeness(hk.RNNCore):
  """Remembers which slots are used and which are free to be written.

  A step takes ``(write_weights, free_gate, read_weights)``, the weights being
  those of the step before, and gives the new usage ``[B, N]``, as output and
  as state. It has no parameters.
  """

  def __init__(
    self,
    memory_size: int,
    *,
    usage_gradient: bool = False,
    name: str = "freeness",
  ):
    """Makes a freeness.

    Args:
      memory_size: N, number of slots, at least 1.
      usage_gradient: Lets gradients flow from usage to write weights, as the
        paper's equations do. DeepMind's code stops them, the default here.
      name: Name of the module.

    Raises:
      ValueError: ``memory_size`` is below 1.
    """
    super().__init__(name=name)
    self._memory_size = at_least("memory_size", memory_size, 1)
    self._usage_gradient = usage_gradient

  def __call__(
    self,
    inputs: tuple[jax.Array, jax.Array, jax.Array],
    prev_state: jax.Array,
  ) -> tuple[jax.Array, jax.Array]:
    """Counts the last step's writes and what is freed of its reads.

    Args:
      inputs: Write weights of the step before, ``[B, H, N]``; this step's free
        gates, ``[B, R]``; read weights of the step before, ``[B, R, N]``. All
        in [0, 1].
      prev_state: Usage at the step before, in [0, 1]. Shape ``[B, N]``.

    Returns:
      The new usage, in [0, 1], twice. Shape ``[B, N]``.
    """
    prev_write_weights, free_gate, prev_read_weights = inputs
    if not self._usage_gradient:
      prev_write_weights = jax.lax.stop_gradient(prev_write_weights)
    usage = addressing.usage_after_write(prev_state, prev_write_weights)
    usage = addressing.usage_after_read(usage, free_gate, prev_read_weights)
    return usage, usage

  def initial_state(self, batch_size: int | None) -> jax.Array:
    """Returns the usage before anything is written: zeros."""
    return _zeros(batch_size, self._memory_size)


class MemoryAccess(hk.RNNCore):
  """A memory with heads that read and write it.

  A step takes what the controller says, ``[B, hidden size]``, and gives the
  words read, ``[B, R, W]``. From the controller's output one linear layer,
  named ``interface``, makes these, side by side in this order:

  | quantity | numbers | range | from |
  | --- | --- | --- | --- |
  | write_vectors | H·W | any | |
  | erase_vectors | H·W | [0, 1] | sigmoid |
  | free_gate | R | [0, 1] | sigmoid |
  | allocation_gate | H | [0, 1] | sigmoid |
  | write_gate | H | [0, 1] | sigmoid |
  | read_mode | R·(1 + 2H) | sums to 1 | softmax; none with links off |
  | write_keys | H·W | any | |
  | write_strengths | H | [0, ∞) or [1, ∞) | softplus or oneplus |
  | read_keys | R·W | any | |
  | read_strengths | R | [0, ∞) or [1, ∞) | softplus or oneplus |
  | write_masks | H·W | [mask_floor, 1] | sigmoid; with content_mask |
  | read_masks | R·W | [mask_floor, 1] | sigmoid; with content_mask |
  | link_sharpness | R·2H | [1, ∞) | oneplus; backward, then forward |
  | allocation_strengths | H | [1, ∞) | oneplus; with softmax allocation |

  The number of slots is not a parameter's size: weights trained with one
  ``memory_size`` run with any other.
  """

  def __init__(
    self,
    memory_size: int = 128,
    word_size: int = 20,
    num_reads: int = 1,
    num_writes: int = 1,
    *,
    strength: str = "softplus",
    usage_gradient: bool = False,
    links: str = "dense",
    link_size: int = 8,
    bfloat16_links: bool = False,
    content_mask: bool = False,
    mask_floor: float = 0.1,
    deallocate: bool = False,
    link_sharpness: bool = False,
    layer_norm: bool = False,
    allocation: str = "sort",
    name: str = "memory_access",
  ):
    """Makes a memory. Options that are off cost nothing.

    Args:
      memory_size: N, number of slots, at least 1.
      word_size: W, numbers in a slot, at least 1.
      num_reads: R, number of read heads, at least 1.
      num_writes: H, number of write heads, at least 1.
      strength: What makes strengths positive: ``"softplus"``, in [0, ∞), as
        DeepMind's code, or ``"oneplus"``, in [1, ∞), as the paper.
      usage_gradient: Lets gradients flow from usage to write weights (the
        paper's equations); stopped as in DeepMind's code by default.
      links: ``"dense"`` for the paper's temporal links; ``"stop_gradient"`` for
        links that pass no gradient to the writes (Rae et al. 2016 do so);
        ``"sparse"`` for at most ``link_size`` of those a slot each way, in O(N)
        (`SparseLinkage`); ``"off"`` for none, which leaves content look-up as
        the only way to read and makes a step's cost linear in N but for
        allocation: the content-based memory of Franke et al. 2018, who saved
        up to 70 % of memory by it.
      link_size: K, sparse links of a slot, at least 1; N where it is more. The
        paper found 8 to do, whatever N.
      bfloat16_links: Stores links in 16 bits instead of 32, which halves most
        of the state at many slots; a step computes in full. Needs dense links.
      content_mask: Lets each look-up choose which elements of a word to compare
        (Csordás & Schmidhuber, ICLR 2019).
      mask_floor: Least that a masked element counts, in [0, 1]. Csordás &
        Schmidhuber found 0 to slow learning.
      deallocate: Wipes a slot's contents as far as it is freed (Csordás &
        Schmidhuber, ICLR 2019), so that old contents are not found again.
      link_sharpness: Makes directional weights sharper again, as much as each
        read head says (Csordás & Schmidhuber, ICLR 2019), so that following
        links for long does not blur. Needs links.
      layer_norm: Normalises what the layer ``interface`` gives, all of it
        together, with a learned scale and offset for each number (Franke,
        Niehues & Waibel 2018), who found training steadier by it.
      allocation: ``"sort"``, the paper's, or ``"softmax"`` of s (1 - usage),
        s of each write head learned, which needs no order of the slots, whose
        gradient leaves nothing out, and which goes on writing where all is
        used (Ben-Ari & Bekker 2017, who found it "more stable and slightly
        better" on repeat copy, with s near 2 and ``usage_gradient``).
      name: Name of the module.

    Raises:
      ValueError: A size is below 1, or an option is none of those named.
    """
    super().__init__(name=name)
    self.memory_size = at_least("memory_size", memory_size, 1)
    self.word_size = at_least("word_size", word_size, 1)
    self.num_reads = at_least("num_reads", num_reads, 1)
    self.num_writes = at_least("num_writes", num_writes, 1)
    self._strength = STRENGTHS[one_of("strength", strength, STRENGTHS)]
    self._links = one_of("links", links, LINKS)
    self._content_mask = content_mask
    if not 0 <= mask_floor <= 1:
      raise ValueError(f"mask_floor must be in [0, 1], got {mask_floor}.")
    self._mask_floor = mask_floor
    self._deallocate = deallocate
    if link_sharpness and links == "off":
      raise ValueError("link_sharpness needs links, which are 'off'.")
    self._link_sharpness = link_sharpness
    if bfloat16_links and links in ("sparse", "off"):
      raise ValueError(f"bfloat16_links needs dense links, got {links!r}.")
    self._layer_norm = layer_norm
    self._allocation = one_of("allocation", allocation, ALLOCATIONS)
    # As they were given, for what computes a step otherwise: `native`.
    self.options: Mapping[str, Any] = {
      "strength": strength,
      "usage_gradient": usage_gradient,
      "links": links,
      "bfloat16_links": bfloat16_links,
      "content_mask": content_mask,
      "mask_floor": mask_floor,
      "deallocate": deallocate,
      "link_sharpness": link_sharpness,
      "layer_norm": layer_norm,
      "allocation": allocation,
    }
    self._freeness = Freeness(memory_size, usage_gradient=usage_gradient)
    at_least("link_size", link_size, 1)
    self._linkage: Any = None
    if links == "sparse":
      self._linkage = sparse_links.of_dnc(memory_size, num_writes, link_size)
    elif links != "off":
      self._linkage = TemporalLinkage(
        memory_size, num_writes, bfloat16=bfloat16_links
      )

  @property
  def output_shape(self) -> tuple[int, int]:
    """Shape of the words read at a step, without the batch: ``(R, W)``."""
    return (self.num_reads, self.word_size)

  def interface_layout(self) -> dict[str, tuple[int, ...]]:
    """Returns name and shape of each quantity in the interface, in order."""
    return _interface.layout(
      word_size=self.word_size,
      num_reads=self.num_reads,
      num_writes=self.num_writes,
      links=self._links,
      content_mask=self._content_mask,
      link_sharpness=self._link_sharpness,
      allocation=self._allocation,
    )

  def __call__(
    self, inputs: jax.Array, prev_state: AccessState
  ) -> tuple[jax.Array, AccessState]:
    """Writes to the memory, then reads from it.

    Args:
      inputs: What the controller says. Shape ``[B, hidden size]``.
      prev_state: State of the step before.

    Returns:
      The words read, shape ``[B, R, W]``, and the new state.
    """
    interface = self.interface(inputs)
    free_gate = interface["free_gate"]
    usage, _ = self._freeness(
      (prev_state.write_weights, free_gate, prev_state.read_weights),
      prev_state.usage,
    )
    write_weights = self._write_weights(interface, prev_state.memory, usage)
    memory = addressing.erase_and_write(
      prev_state.memory,
      write_weights,
      interface["erase_vectors"],
      interface["write_vectors"],
      addressing.retention(free_gate, prev_state.read_weights)
      if self._deallocate
      else None,
    )
    linkage, forward, backward = self._follow(
      write_weights, prev_state.linkage, prev_state.read_weights
    )
    read_weights = self._read_weights(interface, memory, forward, backward)
    return _products.weighted_sums(read_weights, memory), AccessState(
      memory=memory,
      read_weights=read_weights,
      write_weights=write_weights,
      linkage=linkage,
      usage=usage,
    )

  def initial_state(self, batch_size: int | None) -> AccessState:
    """Returns an empty memory that was never read or written: zeros."""
    size = self.memory_size
    return AccessState(
      memory=_zeros(batch_size, size, self.word_size),
      read_weights=_zeros(batch_size, self.num_reads, size),
      write_weights=_zeros(batch_size, self.num_writes, size),
      linkage=self._linkage and self._linkage.initial_state(batch_size),
      usage=self._freeness.initial_state(batch_size),
    )

  @hk.name_like("__call__")
  def interface(self, inputs: jax.Array) -> dict[str, jax.Array]:
    """Returns the quantities of the interface by name, each in its range.

    Args:
      inputs: What the controller says. Shape ``[B, hidden size]``.
    """
    parts = _interface.speak(
      inputs, self.interface_layout(), layer_norm=self._layer_norm
    )
    for name in ("erase_vectors", "free_gate", "allocation_gate", "write_gate"):
      parts[name] = jax.nn.sigmoid(parts[name])
    for name in ("write_strengths", "read_strengths"):
      parts[name] = self._strength(parts[name])
    for name in ("write_masks", "read_masks"):
      if name in parts:
        mask = jax.nn.sigmoid(parts[name])
        parts[name] = self._mask_floor + (1 - self._mask_floor) * mask
    for name in ("link_sharpness", "allocation_strengths"):
      if name in parts:
        parts[name] = addressing.oneplus(parts[name])
    if "read_mode" in parts:
      parts["read_mode"] = jax.nn.softmax(parts["read_mode"], axis=-1)
    return parts

  def _write_weights(
    self,
    interface: Mapping[str, jax.Array],
    memory: jax.Array,
    usage: jax.Array,
  ) -> jax.Array:
    """Returns where each head writes, ``[B, H, N]``."""
    content = addressing.content_weights(
      memory,
      interface["write_keys"],
      interface["write_strengths"],
      interface.get("write_masks"),
    )
    allocation_gate = interface["allocation_gate"]
    write_gate = interface["write_gate"]
    allocation = addressing.write_allocation_weights(
      usage,
      allocation_gate * write_gate,
      interface.get("allocation_strengths"),
    )
    return addressing.write_weights(
      content, allocation, allocation_gate, write_gate
    )

  def _follow(
    self, write_weights: jax.Array, prev: Any, prev_read_weights: jax.Array
  ) -> tuple[Any, jax.Array | None, jax.Array | None]:
    """Returns the linkage after this step's writes, and where it leads to.

    Returns:
      The linkage, and directional weights, forward and backward, each of shape
      ``[B, R, H, N]``; None three times where links are off.
    """
    if self._links == "off":
      return None, None, None
    if self._links == "sparse":
      linkage, _ = self._linkage(write_weights, prev)
      lead = functools.partial(
        sparse_links.directional_weights, linkage.links, prev_read_weights
      )
      return linkage, lead(forward=True), lead(forward=False)
    return self._linkage.follow(
      write_weights,
      prev,
      prev_read_weights,
      stop_gradient=self._links == "stop_gradient",
    )

  def _read_weights(
    self,
    interface: Mapping[str, jax.Array],
    memory: jax.Array,
    forward: jax.Array | None,
    backward: jax.Array | None,
  ) -> jax.Array:
    """Returns where each head reads, ``[B, R, N]``."""
    content = addressing.content_weights(
      memory,
      interface["read_keys"],
      interface["read_strengths"],
      interface.get("read_masks"),
    )
    if forward is None or backward is None:
      return content
    if self._link_sharpness:
      sharpness = interface["link_sharpness"]
      backward = sharpen_links(backward, sharpness[..., : self.num_writes])
      forward = sharpen_links(forward, sharpness[..., self.num_writes :])
    return addressing.read_weights(
      content, forward, backward, interface["read_mode"]
    )


def _zeros(batch_size: int | None, *shape: int) -> jax.Array:
  """Returns zeros of this shape, led by the batch if there is one."""
  return jnp.zeros(shape if batch_size is None else (batch_size, *shape))
