"""Controllers that a memory can be built around, as Haiku recurrent cores.

Any other ``hk.RNNCore`` from ``[B, inputs]`` to ``[B, hidden size]`` serves as
well, such as ``hk.LSTM`` and ``hk.GRU``.
"""

from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from dnc_jax._checks import at_least

# Tables that `Buckets` sorts symbols by.
NUM_TABLES = 2


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


class Skip(hk.RNNCore):
  """A controller with layers above it that hear the inputs again.

      h, s = controller(x, s_prev)
      a(1) = tanh(W(1) [x; h] + b(1))
      a(l) = a(l - 1) + tanh(W(l) a(l - 1) + b(l))
      out = [h; a(L)]

  What was read at the step before gets to the keys of this one without the
  recurrent part in between, which for many things at once is narrow: a key can
  then hold all that a look-up found, and with two layers what two look-ups
  found alike.
  """

  def __init__(
    self,
    controller: hk.RNNCore,
    skip_size: int,
    skip_layers: int = 1,
    name: str = "skip",
  ):
    """Makes a controller.

    Args:
      controller: From ``[B, inputs]`` to ``[B, hidden size]``.
      skip_size: Units of each layer, at least 1; a step gives as many numbers
        more than the controller does.
      skip_layers: L, number of layers, at least 1.
      name: Name of the module.

    Raises:
      ValueError: ``skip_size`` or ``skip_layers`` is below 1.
    """
    super().__init__(name=name)
    self._controller = controller
    self._skip_size = at_least("skip_size", skip_size, 1)
    self._skip_layers = at_least("skip_layers", skip_layers, 1)

  def __call__(self, inputs: jax.Array, prev_state: Any) -> tuple[Any, Any]:
    """Does one step, from ``[B, inputs]`` to ``[B, hidden + skip_size]``."""
    hidden, state = self._controller(inputs, prev_state)
    layer = hk.Linear(self._skip_size, name="linear")
    again = jnp.tanh(layer(jnp.concatenate([inputs, hidden], axis=-1)))
    for number in range(1, self._skip_layers):
      layer = hk.Linear(self._skip_size, name=f"linear_{number}")
      again += jnp.tanh(layer(again))
    return jnp.concatenate([hidden, again], axis=-1), state

  def initial_state(self, batch_size: int | None) -> Any:
    """Returns the controller's state before the first step."""
    return self._controller.initial_state(batch_size)


def bucket_codes(
  symbol_size: int, num_buckets: int, num_tables: int = NUM_TABLES
) -> np.ndarray:
  """Returns the codes that `Buckets` sorts symbols by, always the same.

  Args:
    symbol_size: Numbers that stand for a symbol.
    num_buckets: K, the buckets of a table.
    num_tables: Tables.

  Returns:
    Whole numbers from 0 to K - 1. Shape ``[num_tables, symbol_size]``.
  """
  rng = np.random.default_rng(0)
  return rng.integers(num_buckets, size=(num_tables, symbol_size))


class Buckets(hk.RNNCore):
  """A controller that hears in which bucket each symbol of its input falls.

  A symbol is a group of zeros and ones that stand together, such as a label of
  three digits. With x the one of them and K the number of buckets, for tables
  t = 1, 2 ...:

      k(t) = (c(t) · x) mod K    b(t, k) = min(1, Σ x) [k = k(t)]

  c are `bucket_codes` (tabulation hashing: Carter and Wegman 1979). What a mean
  of a few labels' digits leaves open, since digits can be exchanged between
  them, their buckets tell: a symbol's own, in each table, that it shares with
  few others. Nothing here is learned.
  """

  def __init__(
    self,
    controller: hk.RNNCore,
    num_symbols: int,
    symbol_size: int,
    num_buckets: int,
    num_tables: int = NUM_TABLES,
    name: str = "buckets",
  ):
    """Makes a controller.

    Args:
      controller: From ``[B, inputs + num_symbols * num_tables * num_buckets]``
        to ``[B, hidden size]``.
      num_symbols: Symbols that an input begins with, at least 1.
      symbol_size: Numbers that stand for a symbol, at least 1.
      num_buckets: Buckets of a table, at least 1.
      num_tables: Tables, at least 1.
      name: Name of the module.

    Raises:
      ValueError: A size is below 1.
    """
    super().__init__(name=name)
    self._controller = controller
    self._num_symbols = at_least("num_symbols", num_symbols, 1)
    self._symbol_size = at_least("symbol_size", symbol_size, 1)
    self._num_buckets = at_least("num_buckets", num_buckets, 1)
    self._num_tables = at_least("num_tables", num_tables, 1)

  def __call__(self, inputs: jax.Array, prev_state: Any) -> tuple[Any, Any]:
    """Does one step, from ``[B, inputs]`` to ``[B, hidden size]``.

    Raises:
      ValueError: The inputs are too few for the symbols.
    """
    size = self._num_symbols * self._symbol_size
    if inputs.shape[1] < size:
      raise ValueError(
        f"An input of {self._num_symbols} symbols of {self._symbol_size} "
        f"numbers has at least {size}, got {inputs.shape[1]} with what is read."
      )
    codes = jnp.asarray(
      bucket_codes(self._symbol_size, self._num_buckets, self._num_tables),
      jnp.float32,
    )
    symbols = inputs[:, :size].reshape(-1, self._num_symbols, self._symbol_size)
    sums = jnp.einsum("bsd,td->bst", symbols.astype(jnp.float32), codes)
    number = jnp.asarray(jnp.round(sums), jnp.int32) % self._num_buckets
    there = jnp.minimum(symbols.sum(axis=-1), 1)
    buckets = jax.nn.one_hot(number, self._num_buckets, dtype=inputs.dtype)
    buckets *= there[..., None, None]
    return self._controller(
      jnp.concatenate([inputs, buckets.reshape(len(inputs), -1)], axis=-1),
      prev_state,
    )

  def initial_state(self, batch_size: int | None) -> Any:
    """Returns the controller's state before the first step."""
    return self._controller.initial_state(batch_size)
