"""Networks without a memory of their own, to compare a memory with.

Shapes: B sequences in the batch.
"""

from typing import Any, NamedTuple

import haiku as hk
import jax

from dnc_jax._checks import at_least
from dnc_jax._logits import ToLogits
from dnc_jax.controllers import DeepLSTM


class BaselineState(NamedTuple):
  """State of a baseline after a step.

  Attributes:
    controller_state: State of the recurrent network, whatever it is.
  """

  controller_state: Any


class _Alone(ToLogits):
  """A controller alone: what `Baseline`, `LSTM` and `GRU` have in common."""

  _controller: hk.RNNCore

  def __call__(
    self, inputs: jax.Array, prev_state: BaselineState
  ) -> tuple[jax.Array, BaselineState]:
    """Does one step.

    Args:
      inputs: Shape ``[B, ...]``; what follows the batch is flattened.
      prev_state: State of the step before.

    Returns:
      Logits of shape ``[B, output_size]``, and the new state.
    """
    said, state = self._controller(
      inputs.reshape(inputs.shape[0], -1), prev_state.controller_state
    )
    state = jax.tree.map(self._clip, state)
    output = hk.Linear(self._output_size, name="output_linear")
    return self._clip(output(self._clip(said))), BaselineState(state)

  def initial_state(self, batch_size: int | None) -> BaselineState:
    """Returns the state before the first step: zeros throughout."""
    return BaselineState(self._controller.initial_state(batch_size))


class Baseline(_Alone):
  """A controller alone, with the output layer of a `DNC`.

  Called as a DNC is: ``[B, ...]`` to logits ``[B, output_size]``. With a
  ``clip_value`` c, what the controller says, its state and the logits are
  clipped to [-c, c], as there.
  """

  def __init__(
    self,
    output_size: int,
    *,
    controller: hk.RNNCore,
    clip_value: float | None = None,
    name: str = "baseline",
  ):
    """Makes a network.

    Args:
      output_size: How many numbers a step's output has, at least 1.
      controller: Any core from ``[B, inputs]`` to ``[B, hidden size]``.
      clip_value: Bound on controller and output, more than 0; None for none.
      name: Name of the module.

    Raises:
      ValueError: ``output_size`` or ``clip_value`` is out of its range.
    """
    super().__init__(output_size, clip_value, name)
    self._controller = controller


class LSTM(_Alone):
  """An LSTM, or with several layers the paper's deep LSTM, to logits."""

  def __init__(
    self,
    output_size: int,
    *,
    hidden_size: int = 256,
    num_layers: int = 1,
    clip_value: float | None = None,
    name: str = "lstm_baseline",
  ):
    """Makes a network.

    Args:
      output_size: How many numbers a step's output has, at least 1.
      hidden_size: Cells in each layer, at least 1.
      num_layers: Layers, at least 1; `controllers.DeepLSTM` if more than 1.
      clip_value: As `Baseline` takes it.
      name: Name of the module.

    Raises:
      ValueError: A size is below 1, or ``clip_value`` out of its range.
    """
    at_least("hidden_size", hidden_size, 1)
    at_least("num_layers", num_layers, 1)
    super().__init__(output_size, clip_value, name)
    if num_layers > 1:
      self._controller = DeepLSTM(hidden_size, num_layers)
    else:
      self._controller = hk.LSTM(hidden_size, name="lstm")


class GRU(_Alone):
  """A GRU, to logits."""

  def __init__(
    self,
    output_size: int,
    *,
    hidden_size: int = 256,
    clip_value: float | None = None,
    name: str = "gru_baseline",
  ):
    """Makes a network.

    Args:
      output_size: How many numbers a step's output has, at least 1.
      hidden_size: Cells, at least 1.
      clip_value: As `Baseline` takes it.
      name: Name of the module.

    Raises:
      ValueError: A size is below 1, or ``clip_value`` out of its range.
    """
    at_least("hidden_size", hidden_size, 1)
    super().__init__(output_size, clip_value, name)
    self._controller = hk.GRU(hidden_size, name="gru")
