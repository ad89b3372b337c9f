"""Controllers that a memory can be built around, as Haiku recurrent cores.

Any other ``hk.RNNCore`` from ``[B, inputs]`` to ``[B, hidden size]`` serves as
well, such as ``hk.LSTM`` and ``hk.GRU``.
"""

from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from dnc_jax._checks import at_least


class FeedForward(hk.RNNCore):
  """Linear layers with ReLU after each, without a state.

  The network then remembers through its memory alone, as in the paper's
  experiments on allocation and on links (Extended Data Figs 1 and 4).
  """

  def __init__(
    self, hidden_size: int, num_layers: int = 1, name: str = "feed_forward"
  ):
    """Makes a controller.

    Args:
      hidden_size: Numbers that each layer gives, at least 1.
      num_layers: Number of layers, at least 1.
      name: Name of the module.

    Raises:
      ValueError: A size is below 1.
    """
    super().__init__(name=name)
    self._hidden_size = at_least("hidden_size", hidden_size, 1)
    self._num_layers = at_least("num_layers", num_layers, 1)

  def __call__(
    self, inputs: jax.Array, prev_state: tuple[()]
  ) -> tuple[jax.Array, tuple[()]]:
    """Does one step, from ``[B, inputs]`` to ``[B, hidden_size]``."""
    outputs = inputs
    for layer in range(self._num_layers):
      linear = hk.Linear(self._hidden_size, name=f"linear_{layer}")
      outputs = jax.nn.relu(linear(outputs))
    return outputs, prev_state

  def initial_state(self, batch_size: int | None) -> tuple[()]:
    """Returns the state, which is empty."""
    del batch_size
    return ()


class DeepLSTMState(NamedTuple):
  """State of `DeepLSTM` after a step, L layers of H cells.

  Attributes:
    hidden: What each layer said, in [-1, 1]. Shape ``[B, L, H]``.
    cell: What each layer's cells hold. Shape ``[B, L, H]``.
  """

  hidden: jax.Array  # [B, L, H]
  cell: jax.Array  # [B, L, H]


class DeepLSTM(hk.RNNCore):
  """The paper's controller: LSTM layers with skip connections.

  Each layer hears the controller's input χ, itself at the step before, and the
  layer below; all layers are heard by what follows (Methods, "Controller
  network"). For layer l, with z = [χ; h_prev(l); h(l - 1)] and h(0) = 0:

      i = σ(Wi z + bi)    f = σ(Wf z + bf)    o = σ(Wo z + bo)
      s(l) = f ∘ s_prev(l) + i ∘ tanh(Ws z + bs)
      h(l) = o ∘ tanh(s(l))

  Differs from the paper: the lowest layer has no weights for h(0), which is
  always zero.
  """

  def __init__(
    self, hidden_size: int, num_layers: int, name: str = "deep_lstm"
  ):
    """Makes a controller.

    Args:
      hidden_size: Cells in each layer, at least 1. The output of a step has
        ``num_layers * hidden_size`` numbers.
      num_layers: Number of layers, at least 1.
      name: Name of the module.

    Raises:
      ValueError: A size is below 1.
    """
    super().__init__(name=name)
    self._hidden_size = at_least("hidden_size", hidden_size, 1)
    self._num_layers = at_least("num_layers", num_layers, 1)

  def __call__(
    self, inputs: jax.Array, prev_state: DeepLSTMState
  ) -> tuple[jax.Array, DeepLSTMState]:
    """Does one step, from ``[B, inputs]`` to ``[B, L * H]``."""
    hidden: list[jax.Array] = []
    cells: list[jax.Array] = []
    for layer in range(self._num_layers):
      heard = [inputs, prev_state.hidden[:, layer], *hidden[-1:]]
      gates = hk.Linear(4 * self._hidden_size, name=f"layer_{layer}")(
        jnp.concatenate(heard, axis=-1)
      )
      i, s, f, o = jnp.split(gates, 4, axis=-1)
      kept = jax.nn.sigmoid(f) * prev_state.cell[:, layer]
      cells.append(kept + jax.nn.sigmoid(i) * jnp.tanh(s))
      hidden.append(jax.nn.sigmoid(o) * jnp.tanh(cells[-1]))
    return jnp.concatenate(hidden, axis=-1), DeepLSTMState(
      hidden=jnp.stack(hidden, axis=1), cell=jnp.stack(cells, axis=1)
    )

  def initial_state(self, batch_size: int | None) -> DeepLSTMState:
    """Returns the state before the first step: zeros."""
    shape: tuple[int, ...] = (self._num_layers, self._hidden_size)
    if batch_size is not None:
      shape = (batch_size, *shape)
    return DeepLSTMState(hidden=jnp.zeros(shape), cell=jnp.zeros(shape))
