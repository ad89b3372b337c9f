"""The Differentiable Neural Computer as a Haiku recurrent core.

Graves et al., "Hybrid computing using a neural network with dynamic external
memory", Nature 538 (2016), with the numerics of google-deepmind/dnc.

Shapes: B sequences in the batch, R read heads, W numbers in a slot.
"""

from typing import Any, ClassVar, NamedTuple, Protocol

import haiku as hk
import jax
import jax.numpy as jnp

from dnc_jax._checks import dropout_rate
from dnc_jax._logits import ToLogits
from dnc_jax.access import MemoryAccess


class DNCState(NamedTuple):
  """State of `DNC` after a step.

  Attributes:
    access_output: The words read, which the controller hears at the next step.
      Shape ``[B, R, W]``.
    access_state: State of the memory, an `AccessState`.
    controller_state: State of the controller, whatever it is.
  """

  access_output: jax.Array  # [B, R, W]
  access_state: Any
  controller_state: Any


class Access(Protocol):
  """What `DNC` asks of a memory: an `hk.RNNCore` that tells its shape."""

  @property
  def output_shape(self) -> tuple[int, ...]:
    """Shape of the output of a step, without the batch."""
    ...

  def __call__(self, inputs: jax.Array, prev_state: Any) -> tuple[Any, Any]:
    """Does one step."""
    ...

  def initial_state(self, batch_size: int | None) -> Any:
    """Returns the state before the first step."""
    ...


class DNC(ToLogits):
  """A controller network around a memory that it reads and writes.

  At each step the controller hears the input and the words read at the step
  before, says what to read and write, and answers from what it says and the
  words now read:

      h, s = controller([x; r_prev], s_prev)
      r = access(h)
      y = W [h; r] + b

  Outputs are logits: no nonlinearity follows. With a ``clip_value`` c, h, every
  array of s and y are each clipped to [-c, c], as DeepMind's code does (c = 20
  in its training script).

  A whole sequence, in a function given to ``hk.transform``:

      core = dnc_jax.DNC(output_size=8)
      outputs, state = hk.dynamic_unroll(core, inputs, core.initial_state(B))
  """

  _default_access: ClassVar[type[Any]] = MemoryAccess

  def __init__(
    self,
    output_size: int,
    *,
    access: Access | None = None,
    controller: hk.RNNCore | None = None,
    clip_value: float | None = None,
    bypass_dropout: float = 0.0,
    name: str | None = None,
  ):
    """Makes a DNC.

    Args:
      output_size: How many numbers a step's output has, at least 1.
      access: The memory; `MemoryAccess` with its defaults if None.
      controller: Any core from ``[B, inputs]`` to ``[B, hidden size]``;
        ``hk.LSTM`` with 64 cells, named ``lstm``, if None.
      clip_value: Bound on controller and output, more than 0; None for none.
      bypass_dropout: How much of what the controller says is left out on its
        way to the output, though not to the memory, in [0, 1): what is kept is
        divided by what is kept on average. The answer then has to come from
        what is read, earlier in training (Franke, Niehues & Waibel 2018, who
        have 0.1). Only where there is a key: train with
        ``network.apply(params, key, ...)``, and test with None for the key or
        with ``hk.without_apply_rng``.
      name: Name of the module; that of the class, ``dnc``, if None.

    Raises:
      ValueError: ``output_size``, ``clip_value`` or ``bypass_dropout`` is out
        of its range.
    """
    super().__init__(output_size, clip_value, name)
    self._bypass_dropout = dropout_rate(bypass_dropout)
    self._access = self._default_access() if access is None else access
    self._controller = (
      hk.LSTM(64, name="lstm") if controller is None else controller
    )

  def __call__(
    self, inputs: jax.Array, prev_state: DNCState
  ) -> tuple[jax.Array, DNCState]:
    """Does one step.

    Args:
      inputs: Shape ``[B, ...]``; what follows the batch is flattened.
      prev_state: State of the step before.

    Returns:
      Logits of shape ``[B, output_size]``, and the new state.
    """
    batch_size = inputs.shape[0]
    heard = jnp.concatenate(
      [
        inputs.reshape(batch_size, -1),
        prev_state.access_output.reshape(batch_size, -1),
      ],
      axis=-1,
    )
    said, controller_state = self._controller(
      heard, prev_state.controller_state
    )
    said = self._clip(said)
    controller_state = jax.tree.map(self._clip, controller_state)
    read_words, access_state = self._access(said, prev_state.access_state)
    if self._bypass_dropout and (key := hk.maybe_next_rng_key()) is not None:
      said = hk.dropout(key, self._bypass_dropout, said)
    logits = hk.Linear(self._output_size, name="output_linear")(
      jnp.concatenate([said, read_words.reshape(batch_size, -1)], axis=-1)
    )
    return self._clip(logits), DNCState(
      access_output=read_words,
      access_state=access_state,
      controller_state=controller_state,
    )

  def initial_state(self, batch_size: int | None) -> DNCState:
    """Returns the state before the first step: zeros throughout."""
    shape = self._access.output_shape
    return DNCState(
      access_output=jnp.zeros(
        shape if batch_size is None else (batch_size, *shape)
      ),
      access_state=self._access.initial_state(batch_size),
      controller_state=self._controller.initial_state(batch_size),
    )
