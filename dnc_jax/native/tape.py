"""A memory's steps by compiled kernels, and the tape that they write.

The tape holds a memory's state as it is now, memories and links as they were
before every so many steps, and what a step's gradient needs. Kernels write it
where it lies, step after step. The gradient of the tape is the tape itself:
`finish` hands it to the backward pass in that place, and each step's gradient
reads there what the step kept, and leaves the gradient of the state where that
was. So nothing is copied that JAX would stack or carry, and no zeros are made
to be written over.

Shapes: B sequences in the batch, N slots, W numbers in a slot, R read heads, H
write heads, I numbers in the interface, S memories and T steps on the tape, C
rows of N in the state, K kept of a step.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dnc_jax.native import library

# In the order of ``Links`` in memory.h.
LINKS = ("off", "dense", "stop_gradient")

# Numbers in a line of a cache.
_LINE = 16


class Options(NamedTuple):
  """What kind of memory it is.

  Attributes:
    num_reads: R.
    num_writes: H.
    num_heard: I.
    links: Of `LINKS`.
    oneplus: Strengths are by oneplus, otherwise by softplus.
    usage_gradient: See `MemoryAccess`, as for those after it.
    content_mask: Look-ups have masks.
    deallocate: Freed slots are wiped.
    mask_floor: Least that a masked element counts.
    spacing: Memory and links before every so many-th step are on the tape; 0
      where none are, since no gradient is asked for.
  """

  num_reads: int
  num_writes: int
  num_heard: int
  links: str
  oneplus: bool
  usage_gradient: bool
  content_mask: bool
  deallocate: bool
  mask_floor: float
  spacing: int

  def num_states(self, num_steps: int) -> int:
    """Returns S, states that a tape of so many steps holds."""
    return 1 + (-(-num_steps // self.spacing) if self.spacing else 0)

  @property
  def num_rows(self) -> int:
    """K, rows that are kept of a step."""
    reads, writes = self.num_reads, self.num_writes
    links = 0 if self.links == "off" else writes * (1 + 2 * reads)
    norms = reads + writes if self.content_mask else 2
    return 4 * reads + 7 * writes + 3 + links + norms

  def attributes(self) -> dict[str, Any]:
    """Returns the options as the kernels take them."""
    return {
      "writes": np.int64(self.num_writes),
      "links": np.int64(LINKS.index(self.links)),
      "oneplus": self.oneplus,
      "usage_gradient": self.usage_gradient,
      "masked": self.content_mask,
      "deallocate": self.deallocate,
      "mask_floor": np.float32(self.mask_floor),
      "spacing": np.int64(self.spacing),
    }


class Tape(NamedTuple):
  """What steps write.

  Attributes:
    memories: Contents, the last as they are now. Shape ``[S, B, N, W]``.
    links: Likewise. Shape ``[S, B, H, N, N]``; ``[S, B, 0]`` without links.
    carried: All else of the state as it is now: read weights, write weights,
      usage and, with links, precedence weights. Shape ``[B, C, N]``.
    heard: The interface, each quantity in its range, and what is left to the
      next line of a cache. Shape ``[T, B, I + ...]``.
    kept: Shape ``[T, B, K, N]``.
    clock: Steps done so far. Shape ``[1]``.
  """

  memories: jax.Array
  links: jax.Array
  carried: jax.Array
  heard: jax.Array
  kept: jax.Array
  clock: jax.Array


def _like(tree: Any) -> Any:
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def start(
  options: Options,
  num_steps: int,
  memory: jax.Array,
  link: jax.Array,
  carried: jax.Array,
) -> Tape:
  """Returns a tape that holds what is before the first step.

  Args:
    options: What kind of memory it is.
    num_steps: Steps to come, at least 1.
    memory: Shape ``[B, N, W]``.
    link: Shape ``[B, H, N, N]``; ``[B, 0]`` without links.
    carried: Shape ``[B, C, N]``.
  """
  batch_size, num_slots, _ = memory.shape
  num_states = options.num_states(num_steps)
  num_kept = num_steps if options.spacing else 1

  def room(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)

  num_heard = -(-options.num_heard // _LINE) * _LINE
  results = (
    room(num_states, *memory.shape),
    room(num_states, *link.shape),
    room(*carried.shape),
    room(num_kept, batch_size, num_heard),
    room(num_kept, batch_size, options.num_rows, num_slots),
    room(1),
  )
  library.register()
  call = jax.ffi.ffi_call("dnc_jax_open", results)
  return Tape(*call(memory, link, carried))


def _start_forward(*args: Any) -> tuple[Tape, None]:
  return start(*args), None


def _start_backward(
  options: Options, num_steps: int, kept: None, tape: Tape
) -> tuple[jax.Array, jax.Array, jax.Array]:
  del num_steps, kept
  of_link = tape.links[-1]
  if options.links == "stop_gradient":
    of_link = jnp.zeros_like(of_link)
  return tape.memories[-1], of_link, tape.carried


start.defvjp(_start_forward, _start_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def step(
  options: Options, said: jax.Array, tape: Tape
) -> tuple[jax.Array, Tape]:
  """Does a step.

  Args:
    options: What kind of memory it is.
    said: What the controller says to the memory. Shape ``[B, I]``.
    tape: What the step before gave.

  Returns:
    The words read, ``[B, R, W]``, and what it gives the next step.
  """
  _, batch_size, _, word_size = tape.memories.shape
  shape = (batch_size, options.num_reads, word_size)
  return _call_with_tape("dnc_jax_forward", options, said, shape, tape)


def _call_with_tape(
  name: str, options: Options, given: jax.Array, shape: Any, tape: Tape
) -> tuple[jax.Array, Tape]:
  """Calls a kernel that writes the tape where it lies."""
  library.register()
  result = jax.ShapeDtypeStruct(shape, jnp.float32)
  call = jax.ffi.ffi_call(
    name,
    (result, *_like(tape)),
    input_output_aliases={1 + i: 1 + i for i in range(len(tape))},
  )
  result, *rest = call(given, *tape, **options.attributes())
  return result, Tape(*rest)


def _step_forward(options: Options, said: jax.Array, tape: Tape) -> Any:
  if options.spacing == 0:
    raise ValueError(
      "native_unroll was told to keep nothing for a gradient, and one is asked "
      "for. Leave out keep=False."
    )
  return step(options, said, tape), None


def _step_backward(
  options: Options, kept: None, of: tuple[jax.Array, Tape]
) -> tuple[jax.Array, Tape]:
  del kept
  of_words, tape = of
  shape = (len(of_words), options.num_heard)
  return _call_with_tape("dnc_jax_backward", options, of_words, shape, tape)


step.defvjp(_step_forward, _step_backward)


@jax.custom_vjp
def finish(
  rest: Any, tape: Tape, notes: Any
) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
  """Returns what is after the last step, and hands the tape to its gradient.

  Args:
    rest: All outputs and states that a gradient can come through.
    tape: After the last step.
    notes: Arrays that are handed to their gradient as the tape is.

  Returns:
    ``rest``, and the memory, the links and all else of the state.
  """
  del notes
  return rest, tape.memories[-1], tape.links[-1], tape.carried


def _finish_backward(kept: tuple[Tape, Any], of: Any) -> tuple[Any, Tape, Any]:
  tape, notes = kept
  of_rest, of_memory, of_link, of_carried = of
  of_tape = tape._replace(
    memories=tape.memories.at[-1].set(of_memory),
    links=tape.links.at[-1].set(of_link),
    carried=of_carried,
  )
  return of_rest, of_tape, notes


finish.defvjp(
  lambda rest, tape, notes: (finish(rest, tape, notes), (tape, notes)),
  _finish_backward,
)
