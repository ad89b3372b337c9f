"""Unrolls a core whose memory does its steps in compiled kernels."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jax import ad_checkpoint
from jax.extend import core as jax_core

from dnc_jax import _interface, _linear
from dnc_jax.access import AccessState, MemoryAccess
from dnc_jax.config import ModelConfig
from dnc_jax.linkage import TemporalLinkageState
from dnc_jax.native import layers, library
from dnc_jax.native import tape as tapes
from dnc_jax.native.tape import Options, Tape

# Memory and links are kept before every so many-th step; a step's gradient
# computes those of its own again. What it buys is in docs/performance.md.
_SPACING = 4

# What `jax.checkpoint` knows the words by.
_WORDS_READ = "dnc_jax_words_read"

_Core = Callable[[Any, Any], tuple[Any, Any]]


def native_unroll(
  core: _Core, inputs: Any, state: Any, *, keep: bool = True
) -> tuple[Any, Any]:
  """Unrolls a core as `hk.dynamic_unroll`, its memory in compiled kernels.

  What a `MemoryAccess` does in a step, and its gradient, are then one function
  each, in C++, for CPUs: docs/performance.md has what that buys. They are
  compiled at first use, for the machine that they run on, and kept in
  ``DNC_JAX_CACHE`` or the user's folder for caches. Outputs, states and
  gradients are those of `hk.dynamic_unroll` but for rounding.

      core = dnc_jax.DNC(output_size=8)
      outputs, state = dnc_jax.native_unroll(
        core, inputs, core.initial_state(batch_size)
      )

  Forward-mode differentiation is refused, and so are cores that change the
  memory's state between steps, such as `hk.ResetCore`. Memories and links are
  written where they lie from step to step, which is why the whole unrolling
  has to be known and not a step alone.

  Args:
    core: A function from inputs and state to outputs and state, such as an
      `hk.RNNCore`, with one `MemoryAccess` in it.
    inputs: Arrays ``[T, B, ...]``, T at least 1.
    state: State before the first step, with one `AccessState` in it. Float32.
    keep: Whether a gradient may be asked for. Without, nothing is kept for it.

  Returns:
    Outputs ``[T, B, ...]``, and the state after the last step.

  Raises:
    ValueError: There is no C++ compiler, the default device is not a CPU, there
      is not one memory, or it has an option that kernels do not know: sparse
      links or links in 16 bits, ``link_sharpness``, allocation by softmax. Or a
      gradient is asked for, and nothing was kept.
  """
  if hk.running_init():
    return hk.dynamic_unroll(core, inputs, state)
  _check_machine()
  leaves, tree = jax.tree.flatten(state, is_leaf=_is_memory)
  places = [i for i, leaf in enumerate(leaves) if _is_memory(leaf)]
  if len(places) != 1:
    raise ValueError(
      "native kernels need a state with one AccessState in it, got "
      f"{len(places)}. Choose core 'dnc', or leave the kernels to XLA."
    )
  before = leaves[places[0]]
  if before.memory.dtype != jnp.float32:
    raise ValueError(
      f"native kernels need a float32 memory, got {before.memory.dtype}. Leave "
      "the kernels to XLA."
    )
  # All of it is on the tape.
  leaves[places[0]] = jax.tree.map(lambda x: x[:0], before)
  reel = _Reel()
  start = tree.unflatten(leaves)
  num_steps = len(jax.tree.leaves(inputs)[0])
  options = reel.ask(core, jax.tree.map(lambda x: x[0], inputs), state)
  options = options._replace(spacing=_SPACING if keep else 0)
  reel.options = options
  if not keep:
    reel.layers.clear()
  # Of a step is kept what layers answered and which words were read; what lies
  # between is computed again, which costs less than to keep it.
  step = hk.remat(
    functools.partial(reel.step, core),
    policy=jax.checkpoint_policies.save_only_these_names(
      layers.ANSWERS, _WORDS_READ
    ),
    # A scan's body is not merged with its backward pass: nothing is lost.
    prevent_cse=False,
  )

  def body(carry: Any, x: Any) -> tuple[Any, Any]:
    outputs, *carry = step(*carry, *x)
    return tuple(carry), outputs

  tape = tapes.start(options, num_steps, *_divide(before))
  notes = layers.begin(reel.layers, num_steps)
  (tape, notes, state), outputs = hk.scan(
    body, (tape, notes, start), (jnp.arange(num_steps), inputs)
  )
  finished: Any = tapes.finish((outputs, state), tape, notes)
  (outputs, state), *divided = finished
  leaves = jax.tree.leaves(state, is_leaf=_is_memory)
  leaves[places[0]] = _join(before, *divided)
  return outputs, tree.unflatten(leaves)


def check(config: ModelConfig) -> None:
  """Makes the kernels ready for a model.

  Raises:
    ValueError: They are not for it, or cannot run here.
  """
  if config.core != "dnc":
    raise ValueError(
      f"kernels must be 'xla' for core {config.core!r}, got 'native': those "
      "are of core 'dnc'."
    )
  _check_options(config.to_dict())
  _check_machine()


def _check_machine() -> None:
  """Makes the kernels ready.

  Raises:
    ValueError: They cannot run here.
  """
  if jax.default_backend() != "cpu":
    raise ValueError(
      f"native kernels run on a CPU, not on {jax.default_backend()!r}. Leave "
      "the kernels to XLA, or set JAX_PLATFORMS=cpu."
    )
  library.register()


def _check_options(options: Mapping[str, Any]) -> None:
  """Raises a `ValueError` for options of a memory that kernels do not know."""
  unknown = {
    "links 'sparse'": options["links"] == "sparse",
    "bfloat16_links": options["bfloat16_links"],
    "link_sharpness": options["link_sharpness"],
    "allocation 'softmax'": options["allocation"] == "softmax",
  }
  for name, is_asked in unknown.items():
    if is_asked:
      raise ValueError(
        f"native kernels do not know {name}. Leave the kernels to XLA."
      )


class _Reel:
  """Does a core's steps, its memory's on a tape, its layers' with notes."""

  def __init__(self):
    self.options: Options | None = None
    # Those that have notes, by name.
    self.layers: dict[str, layers.Layer] = {}
    self._tape: Any = None
    self._index: Any = None
    self._notes: dict[str, layers.Notes] = {}
    self._memory: Any = None
    self._asked: list[Options] = []
    self._trace: Any = None
    self._called: list[layers.Layer] = []

  def ask(self, core: _Core, inputs: Any, state: Any) -> Options:
    """Returns what kind of memory it is, by tracing a step, and finds layers.

    Raises:
      ValueError: It is none that kernels know.
    """
    # With keys of its own, so that the steps to come draw what they would.
    with hk.with_rng(jax.random.key(0)):
      hk.eval_shape(functools.partial(self._run, core), inputs, state)
    if len(self._asked) != 1:
      raise ValueError(
        "native kernels need a core that calls one MemoryAccess once a step, "
        f"got {len(self._asked)} calls. Leave the kernels to XLA."
      )
    names = [layer.name for layer in self._called]
    self.layers = {
      layer.name: layer
      for layer in self._called
      if layer.can_be_noted and names.count(layer.name) == 1
    }
    return self._asked[0]

  def step(
    self,
    core: _Core,
    tape: Tape,
    notes: dict[str, layers.Notes],
    state: Any,
    index: jax.Array,
    inputs: Any,
  ) -> tuple[Any, Tape, dict[str, layers.Notes], Any]:
    """Does a step, and returns outputs, tape, notes and state."""
    self._tape, self._notes, self._index = tape, dict(notes), index
    outputs, state = self._run(core, inputs, state)
    tape, notes = self._tape, self._notes
    self._tape, self._notes, self._index = None, {}, None
    return outputs, tape, notes, state

  def _run(self, core: _Core, inputs: Any, state: Any) -> tuple[Any, Any]:
    leaves = jax.tree.leaves(state, is_leaf=_is_memory)
    self._memory = next(x for x in leaves if _is_memory(x)).memory
    self._trace = _trace()
    with hk.intercept_methods(self._intercept):
      return core(inputs, state)

  def _intercept(
    self,
    call: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: hk.MethodContext,
  ) -> Any:
    module = context.module
    if isinstance(module, MemoryAccess) and context.method_name == "__call__":
      return self._access(module, *args, **kwargs)
    if not _linear.is_plain(args, kwargs, context):
      return call(*args, **kwargs)
    name = module.module_name
    if self.options is None:
      # From a transformation within the step nothing can be noted.
      can_be_noted = _trace() == self._trace and args[0].dtype == jnp.float32
      layer = cast(hk.Linear, module)
      self._called.append(layers.Layer(name, layer, len(args[0]), can_be_noted))
      return call(*args)
    if name not in self._notes:
      outputs = _linear.layer(call, args, kwargs, context)
      return ad_checkpoint.checkpoint_name(outputs, layers.ANSWERS)
    own = jax.lax.stop_gradient(self.layers[name].parameters())
    outputs, self._notes[name] = layers.answer(
      args[0], own, self._notes[name], self._index
    )
    return outputs

  def _access(
    self, module: MemoryAccess, inputs: jax.Array, prev_state: AccessState
  ) -> tuple[jax.Array, AccessState]:
    """Does what a memory's ``__call__`` does."""
    if prev_state.memory is not self._memory:
      raise ValueError(
        "native kernels need a core that leaves its memory's state alone "
        "between steps, as hk.ResetCore does not. Leave the kernels to XLA."
      )
    said = _interface.say(
      inputs, module.interface_layout(), layer_norm=module.options["layer_norm"]
    )
    if self.options is None:
      self._asked.append(_options(module, said.shape[1]))
      words = jnp.zeros([len(inputs), *module.output_shape])
      return words, prev_state
    done: Any = tapes.step(self.options, said, self._tape)
    words, self._tape = done
    return ad_checkpoint.checkpoint_name(words, _WORDS_READ), prev_state


def _options(module: MemoryAccess, num_heard: int) -> Options:
  """Returns what kernels are to know of a memory.

  Raises:
    ValueError: They do not know its kind.
  """
  if type(module) is not MemoryAccess:
    raise ValueError(
      f"native kernels know MemoryAccess, not {type(module).__name__}. Leave "
      "the kernels to XLA."
    )
  own = module.options
  _check_options(own)
  return Options(
    num_reads=module.num_reads,
    num_writes=module.num_writes,
    num_heard=num_heard,
    links=own["links"],
    oneplus=own["strength"] == "oneplus",
    usage_gradient=own["usage_gradient"],
    content_mask=own["content_mask"],
    deallocate=own["deallocate"],
    mask_floor=own["mask_floor"],
    spacing=0,
  )


def _trace() -> Any:
  """Returns what tells whether JAX transforms the same function as before."""
  return jax_core.get_opaque_trace_state(convention="haiku")


def _is_memory(x: Any) -> bool:
  return isinstance(x, AccessState)


def _divide(memory: AccessState) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns a memory's state as `tapes.start` takes it."""
  link = jnp.zeros([len(memory.usage), 0])
  carried = [memory.read_weights, memory.write_weights, memory.usage[:, None]]
  if isinstance(memory.linkage, TemporalLinkageState):
    link = memory.linkage.link
    carried.append(memory.linkage.precedence_weights)
  return memory.memory, link, jnp.concatenate(carried, axis=1)


def _join(
  before: AccessState, memory: jax.Array, link: jax.Array, carried: jax.Array
) -> AccessState:
  """Returns what `_divide` divided, of the kind of a state before."""
  ends = np.cumsum([before.read_weights.shape[1], len(before.write_weights[0])])
  read_weights, write_weights, usage, precedence_weights = jnp.split(
    carried, [*ends, ends[-1] + 1], axis=1
  )
  linkage = before.linkage
  if isinstance(linkage, TemporalLinkageState):
    linkage = TemporalLinkageState(link, precedence_weights)
  return AccessState(
    memory=memory,
    read_weights=read_weights,
    write_weights=write_weights,
    linkage=linkage,
    usage=usage[:, 0],
  )
