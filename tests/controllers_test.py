"""The controllers against the paper's equations, a cell at a time."""

import math
from typing import Any

import haiku as hk
import jax
import numpy as np
from absl.testing import absltest, parameterized

from dnc_jax.config import ModelConfig, make_core
from dnc_jax.controllers import (
  Buckets,
  DeepLSTM,
  FeedForward,
  Skip,
  bucket_codes,
)
from tests.cores import Hearing, make_params, numbers, transform

T, B, I, H = 4, 2, 3, 5


def sigmoid(x):
  return 1 / (1 + math.exp(-x))


def unroll(make):
  def function(inputs):
    core = make()
    return hk.dynamic_unroll(
      core, inputs, core.initial_state(B), return_all_states=True
    )

  return transform(function)


def run(make):
  """Returns random inputs and parameters, and what comes of them."""
  inputs = numbers(np.random.default_rng(0), T, B, I, scale=1)
  network = unroll(make)
  params = make_params(network, inputs)
  return inputs, params, jax.jit(network.apply)(params, inputs)


def run_beside(make):
  """Returns inputs, parameters, and what the core and its LSTM alone say."""
  inputs, params, found = run(make)
  alone = unroll(lambda: hk.LSTM(H, name="lstm"))
  return inputs, params, (found, jax.jit(alone.apply)(params, inputs))


def deep_lstm_step(chi, hidden, cell, layers):
  """The paper's deep LSTM for one sequence, one cell at a time, in float64.

  Args:
    chi: What the controller hears. Shape `[I]`.
    hidden: h of each layer at the step before. Shape `[L, H]`.
    cell: s of each layer at the step before. Shape `[L, H]`.
    layers: Of each layer `w` and `b` by the gate that they make.
  """
  new_hidden, new_cell = np.zeros_like(hidden), np.zeros_like(cell)
  for l in range(len(layers)):
    z = [*chi, *hidden[l], *(new_hidden[l - 1] if l else ())]
    for k in range(hidden.shape[1]):
      pre = {
        gate: sum(w[j, k] * z[j] for j in range(len(z))) + b[k]
        for gate, (w, b) in layers[l].items()
      }
      new_cell[l, k] = sigmoid(pre["f"]) * cell[l, k] + sigmoid(
        pre["i"]
      ) * math.tanh(pre["s"])
      new_hidden[l, k] = sigmoid(pre["o"]) * math.tanh(new_cell[l, k])
  return new_hidden, new_cell


class DeepLSTMTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 3)
  def test_it_follows_the_papers_equations(self, num_layers):
    inputs, params, (outputs, states) = run(lambda: DeepLSTM(H, num_layers))
    layers = []
    for l in range(num_layers):
      layer = {
        key: np.split(np.asarray(x, np.float64), 4, axis=-1)
        for key, x in params[f"deep_lstm/layer_{l}"].items()
      }
      layers.append(dict(zip("isfo", zip(layer["w"], layer["b"]))))
    for b in range(B):
      hidden, cell = np.zeros([2, num_layers, H])
      for t in range(T):
        hidden, cell = deep_lstm_step(inputs[t, b], hidden, cell, layers)
        for found, expected in (
          (outputs, hidden.ravel()),
          (states.hidden, hidden),
          (states.cell, cell),
        ):
          np.testing.assert_allclose(
            found[t, b], expected, rtol=1e-5, atol=1e-6
          )

  def test_one_layer_is_an_lstm(self):
    inputs, params, (outputs, _) = run(lambda: DeepLSTM(H, 1))
    layer = params["deep_lstm/layer_0"]
    # Haiku adds 1 to what opens the forget gate.
    bias = layer["b"] - np.repeat([0, 0, 1, 0], H).astype(np.float32)
    lstm = unroll(lambda: hk.LSTM(H, name="lstm"))
    expected, _ = lstm.apply(
      {"lstm/linear": {"w": layer["w"], "b": bias}}, inputs
    )
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)

  def test_every_layer_hears_the_input_itself_and_the_layer_below(self):
    _, params, _ = run(lambda: DeepLSTM(H, 3))
    self.assertEqual(
      {name: x["w"].shape for name, x in params.items()},
      {
        "deep_lstm/layer_0": (I + H, 4 * H),
        "deep_lstm/layer_1": (I + H + H, 4 * H),
        "deep_lstm/layer_2": (I + H + H, 4 * H),
      },
    )

  def test_it_begins_at_zero(self):
    initial = hk.transform(lambda b: DeepLSTM(H, 2).initial_state(b))
    for batch_size, leading in ((None, ()), (B, (B,))):
      for leaf in initial.apply({}, None, batch_size):
        np.testing.assert_array_equal(leaf, np.zeros([*leading, 2, H]))

  @parameterized.parameters(
    ((0, 1), "hidden_size must be at least 1, got 0"),
    ((4, 0), "num_layers must be at least 1, got 0"),
  )
  def test_sizes_below_one_are_refused(self, sizes, message):
    with self.assertRaisesRegex(ValueError, message):
      hk.transform(lambda: DeepLSTM(*sizes)).init(None)


class FeedForwardTest(parameterized.TestCase):
  @parameterized.parameters(1, 3)
  def test_layers_are_linear_with_relu_after_each(self, num_layers):
    inputs, params, (outputs, states) = run(lambda: FeedForward(H, num_layers))
    self.assertEqual(states, ())
    self.assertLen(params, num_layers)
    expected = inputs.astype(np.float64)
    for l in range(num_layers):
      layer = params[f"feed_forward/linear_{l}"]
      expected = np.maximum(expected @ layer["w"] + layer["b"], 0)
    self.assertTrue(np.any(expected) and not np.all(expected))
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)

  def test_its_state_is_empty(self):
    initial = hk.transform(lambda b: FeedForward(H).initial_state(b))
    for batch_size in (None, B):
      self.assertEqual(initial.apply({}, None, batch_size), ())

  @parameterized.parameters(
    ((0, 1), "hidden_size must be at least 1, got 0"),
    ((4, -1), "num_layers must be at least 1, got -1"),
  )
  def test_sizes_below_one_are_refused(self, sizes, message):
    with self.assertRaisesRegex(ValueError, message):
      hk.transform(lambda: FeedForward(*sizes)).init(None)


class SkipTest(parameterized.TestCase):
  def test_the_layer_hears_inputs_and_controller(self):
    inputs, params, ((outputs, states), alone) = run_beside(
      lambda: Skip(hk.LSTM(H, name="lstm"), 3)
    )
    hidden = np.asarray(alone[0], float)
    layer = params["skip/linear"]
    heard = np.concatenate([inputs, hidden], axis=-1)
    again = np.tanh(heard @ layer["w"] + layer["b"])
    self.assertEqual(outputs.shape, (T, B, H + 3))
    np.testing.assert_allclose(outputs[..., :H], hidden, atol=1e-6)
    np.testing.assert_allclose(outputs[..., H:], again, atol=1e-5)
    for one, other in zip(states, alone[1], strict=True):
      np.testing.assert_allclose(one, other, atol=1e-6)

  def test_further_layers_add_to_the_first(self):
    inputs, params, ((outputs, _), alone) = run_beside(
      lambda: Skip(hk.LSTM(H, name="lstm"), 3, 3)
    )
    again = np.concatenate([inputs, np.asarray(alone[0], float)], axis=-1)
    for name in ("linear", "linear_1", "linear_2"):
      layer = params[f"skip/{name}"]
      more = np.tanh(again @ layer["w"] + layer["b"])
      again = more if name == "linear" else again + more
    self.assertEqual(outputs.shape, (T, B, H + 3))
    np.testing.assert_allclose(outputs[..., H:], again, atol=1e-5)

  @parameterized.parameters(
    ((0,), "skip_size must be at least 1"),
    ((3, 0), "skip_layers must be at least 1, got 0"),
  )
  def test_refuses_no_units(self, sizes, message):
    with self.assertRaisesRegex(ValueError, message):
      hk.transform(lambda: Skip(hk.LSTM(H), *sizes)).init(jax.random.key(0))


class BucketsTest(parameterized.TestCase):
  SYMBOLS, SIZE, BUCKETS, TABLES = 3, 4, 5, 2

  def heard(self, inputs):
    """Returns what the controller hears."""
    network = unroll(
      lambda: Buckets(
        Hearing(), self.SYMBOLS, self.SIZE, self.BUCKETS, self.TABLES
      )
    )
    params = jax.jit(network.init)(jax.random.key(0), inputs)
    self.assertEmpty(params)  # Nothing is learned.
    outputs, _ = jax.jit(network.apply)(params, inputs)
    return np.asarray(outputs)

  def inputs(self):
    return (np.random.default_rng(0).random((T, B, 14)) < 0.3).astype(
      np.float32
    )

  def test_symbol_by_symbol(self):
    inputs = self.inputs()
    heard = self.heard(inputs)
    codes = bucket_codes(self.SIZE, self.BUCKETS, self.TABLES)
    np.testing.assert_array_equal(heard[..., :14], inputs)
    buckets = heard[..., 14:].reshape(
      T, B, self.SYMBOLS, self.TABLES, self.BUCKETS
    )
    empty = 0
    for step, row, symbol, table in np.ndindex(buckets.shape[:4]):
      start = symbol * self.SIZE
      x = inputs[step, row, start : start + self.SIZE]
      expected = [0] * self.BUCKETS
      if any(x):
        number = sum(
          int(c) for c, bit in zip(codes[table], x, strict=True) if bit
        )
        expected[number % self.BUCKETS] = 1
      empty += not any(x)
      np.testing.assert_array_equal(buckets[step, row, symbol, table], expected)
    self.assertGreater(empty, 0)

  def test_a_symbol_is_in_the_same_buckets_wherever_it_stands(self):
    inputs = np.zeros((1, 1, 12), np.float32)
    inputs[0, 0, [1, 3, 9, 11]] = 1
    buckets = self.heard(inputs)[0, 0, 12:].reshape(self.SYMBOLS, -1)
    np.testing.assert_array_equal(buckets[0], buckets[2])
    self.assertEqual(buckets[0].sum(), self.TABLES)
    np.testing.assert_array_equal(buckets[1], 0)  # It is not there.

  def test_labels_fall_evenly_and_tables_apart(self):
    codes = bucket_codes(30, 24)
    digits = np.stack(np.unravel_index(np.arange(1000), (10, 10, 10)), axis=-1)
    labels = np.eye(10, dtype=int)[digits].reshape(1000, 30)
    numbers = labels @ codes.T % 24
    for column in numbers.T:
      counts = np.bincount(column, minlength=24)
      # 42 labels on average.
      self.assertBetween(counts.min(), 20, 42)
      self.assertBetween(counts.max(), 42, 70)
    # Of labels in one bucket of a table few are in one of the other.
    both = np.bincount(numbers @ [24, 1], minlength=576)
    self.assertLess(both.max(), 10)

  @parameterized.parameters(
    "num_symbols", "symbol_size", "num_buckets", "num_tables"
  )
  def test_refuses_sizes_below_one(self, name):
    sizes: dict[str, Any] = {
      "num_symbols": 1,
      "symbol_size": 1,
      "num_buckets": 1,
      name: 0,
    }
    with self.assertRaisesRegex(ValueError, f"{name} must be at least 1"):
      hk.transform(lambda: Buckets(Hearing(), **sizes)).init(jax.random.key(0))

  def test_refuses_inputs_too_short_for_the_symbols(self):
    with self.assertRaisesRegex(
      ValueError, "3 symbols of 4 numbers has at least 12, got 11"
    ):
      self.heard(np.zeros((T, B, 11), np.float32))

  def test_from_a_config(self):
    config = ModelConfig(output_size=5, hidden_size=H)

    def shapes(**options):
      def function(inputs):
        core = make_core(
          ModelConfig(**{**config.to_dict(), "num_symbols": 2, **options})
        )
        return hk.dynamic_unroll(core, inputs, core.initial_state(B))

      inputs = np.zeros((T, B, 70), np.float32)
      params = jax.eval_shape(
        hk.transform(function).init, jax.random.key(0), inputs
      )
      return {
        f"{module}/{name}": x.shape
        for module, names in params.items()
        for name, x in names.items()
      }

    reads = config.num_reads * config.word_size
    plain = shapes()
    self.assertEqual(plain["lstm/linear/w"], (70 + reads + H, 4 * H))
    both = shapes(skip_size=7, num_buckets=6)
    heard = 70 + 2 * 2 * 6 + reads
    self.assertEqual(both["lstm/linear/w"], (heard + H, 4 * H))
    self.assertEqual(both["skip/linear/w"], (heard + H, 7))
    self.assertEqual(both["memory_access/interface/w"][0], H + 7)
    self.assertEqual(both["dnc/output_linear/w"], (H + 7 + reads, 5))
    more = shapes(skip_size=7, num_buckets=6, skip_layers=2)
    self.assertEqual(
      more, both | {"skip/linear_1/w": (7, 7), "skip/linear_1/b": (7,)}
    )


if __name__ == "__main__":
  absltest.main()
