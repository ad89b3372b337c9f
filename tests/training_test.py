"""Training: the optimisers, an update, and what it must never do."""

import dataclasses
import functools
import math

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import absltest, parameterized

from dnc_jax import losses, training
from dnc_jax.config import ModelConfig, make_core
from dnc_jax.losses import Batch
from dnc_jax.training import OptimiserConfig
from tests.cores import transform

T, B, I, O = 6, 4, 3, 20
SLOTS = 5

CONFIG = ModelConfig(
  output_size=O, hidden_size=8, memory_size=SLOTS, word_size=4, num_reads=2
)
OPTIONS = dataclasses.replace(
  CONFIG,
  controller="deep_lstm",
  num_layers=2,
  num_writes=2,
  strength="oneplus",
  usage_gradient=True,
  links="stop_gradient",
  content_mask=True,
  deallocate=True,
)
# For what does not depend on the model, as it compiles fast.
SIMPLE = dataclasses.replace(CONFIG, controller="feed_forward", links="off")
RMSPROP = OptimiserConfig(learning_rate=1e-2)
OBJECTIVES = {"bits": losses.bits, "digits": losses.digits}


def draw_batch(seed=0, num_steps=T):
  """Returns a batch with one-hot digits, which are bits as well."""
  rng = np.random.default_rng(seed)
  digits = rng.integers(10, size=(num_steps, B, O // 10))
  return Batch(
    inputs=rng.normal(size=(num_steps, B, I)).astype(np.float32),
    targets=np.eye(10, dtype=np.float32)[digits].reshape(num_steps, B, O),
    mask=(rng.uniform(size=(num_steps, B)) < 0.7).astype(np.float32),
    lesson=np.zeros(B, np.int32),
  )


def with_nan(batch):
  inputs = batch.inputs.copy()
  inputs[-1, 0, 0] = math.nan
  # What is heard at the last step counts.
  return batch._replace(inputs=inputs, mask=np.ones_like(batch.mask))


def make_state(config=CONFIG, seed=0):
  return training.init_state(config, RMSPROP, I, seed)


@functools.cache
def make_update(objective="bits", config=CONFIG):
  """Returns an update. Cached, as compiling is what takes long."""
  return training.make_update(config, RMSPROP, OBJECTIVES[objective])


def copy(tree):
  """Returns a copy, as an update uses up the state that it is given."""
  return jax.tree.map(jnp.array, tree)


def follow(config, gradients, params):
  """Returns the parameters after each of the gradients."""
  optimiser = training.make_optimiser(config)
  state = optimiser.init(params)
  history = []
  for gradient in gradients:
    updates, state = optimiser.update(gradient, state, params)
    params = optax.apply_updates(params, updates)
    history.append(params)
  return history


class OptimiserTest(parameterized.TestCase):
  def test_rmsprop_is_tensorflow_1s(self):
    rng = np.random.default_rng(0)
    shape = (20, 3)
    gradients = rng.normal(size=shape) * np.logspace(-4, 0.5, 20)[:, None]
    config = OptimiserConfig(learning_rate=0.1, epsilon=1e-3)
    start = rng.normal(size=3)
    history = follow(
      config,
      [jnp.asarray(g, jnp.float32) for g in gradients],
      jnp.asarray(start, jnp.float32),
    )
    mean_square, params = np.ones(3), start
    for gradient, found in zip(gradients, history):
      mean_square = 0.9 * mean_square + 0.1 * gradient**2
      params = params - 0.1 * gradient / np.sqrt(mean_square + 1e-3)
      np.testing.assert_allclose(found, params, rtol=1e-5, atol=1e-6)

  def test_adam_is_the_papers(self):
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(10, 3))
    config = OptimiserConfig("adam", learning_rate=0.1)
    history = follow(
      config, [jnp.asarray(g, jnp.float32) for g in gradients], jnp.zeros(3)
    )
    m, v, params = np.zeros([3, 3])
    for t, (gradient, found) in enumerate(zip(gradients, history), start=1):
      m = 0.9 * m + 0.1 * gradient
      v = 0.999 * v + 0.001 * gradient**2
      m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
      params = params - 0.1 * m_hat / (np.sqrt(v_hat) + 1e-8)
      np.testing.assert_allclose(found, params, rtol=1e-4, atol=1e-6)

  def test_long_gradients_are_shortened_all_together(self):
    config = OptimiserConfig(max_grad_norm=2.5)
    zero = {"a": jnp.zeros(1), "b": jnp.zeros(1)}

    def step(a, b):
      gradient = {"a": jnp.array([a]), "b": jnp.array([b])}
      return follow(config, [gradient], zero)[0]

    chex.assert_trees_all_close(step(30.0, 40.0), step(1.5, 2.0), rtol=1e-6)
    # Those that are short enough are as they were.
    chex.assert_trees_all_equal(
      step(1.5, 0.0),
      follow(
        OptimiserConfig(max_grad_norm=1e9),
        [{"a": jnp.array([1.5]), "b": jnp.array([0.0])}],
        zero,
      )[0],
    )

  @parameterized.parameters(
    (0, 0, [1, 1, 1, 1]),
    (4, 0, [0, 0.25, 0.5, 0.75, 1, 1, 1]),
    (0, 4, [1, *(0.01 + 0.495 * (1 + math.cos(math.pi * k / 4))
                 for k in (1, 2, 3)), 0.01, 0.01]),
    (2, 2, [0, 0.5, 1, 0.505, 0.01, 0.01]),
  )  # fmt: skip
  def test_the_learning_rate_rises_and_falls(self, warmup, decay, expected):
    config = OptimiserConfig(
      "adam", learning_rate=2.0, warmup_steps=warmup, decay_steps=decay
    )
    # Where gradients never change, an update of Adam is the learning rate.
    history = follow(config, [jnp.ones([])] * len(expected), jnp.zeros([]))
    rates = -np.diff([0, *(float(x) for x in history)])
    np.testing.assert_allclose(
      rates, 2.0 * np.array(expected), rtol=1e-4, atol=1e-6
    )

  @parameterized.parameters(
    ({"optimiser": "sgd"}, "optimiser must be one of 'rmsprop', 'adam', got"),
    ({"learning_rate": 0.0}, "learning_rate must be more than 0, got 0.0"),
    ({"learning_rate": math.inf}, "learning_rate .*, got inf.*finite"),
    ({"learning_rate": math.nan}, "learning_rate must be more than 0, got nan"),
    ({"epsilon": -1e-9}, "epsilon must be more than 0, got -1e-09"),
    ({"max_grad_norm": 0}, "max_grad_norm must be more than 0, got 0"),
    ({"warmup_steps": -1}, "warmup_steps must be at least 0, got -1"),
    ({"decay_steps": -5}, "decay_steps must be at least 0, got -5"),
  )
  def test_values_out_of_range_are_refused(self, fields, message):
    with self.assertRaisesRegex(ValueError, message):
      OptimiserConfig(**fields)


class InitStateTest(parameterized.TestCase):
  def test_it_is_a_function_of_the_seed(self):
    state = make_state(seed=3)
    chex.assert_trees_all_equal(state, make_state(seed=3), strict=True)
    other = make_state(seed=4).params
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.params):
      if leaf.ndim > 1:  # Biases begin at zero.
        module, name = (key.key for key in path)
        self.assertTrue(np.any(leaf != other[module][name]), module)

  def test_the_number_of_slots_makes_no_difference(self):
    more = dataclasses.replace(CONFIG, memory_size=1000)
    chex.assert_trees_all_equal(make_state(), make_state(more), strict=True)

  def test_no_step_is_done(self):
    state = make_state()
    self.assertEqual((state.step.dtype, state.step), (jnp.int32, 0))


class UpdateTest(parameterized.TestCase):
  def test_steps_are_deterministic_and_counted(self):
    def run():
      state, scores = make_state(), None
      for step in range(3):
        state, scores = make_update()(state, draw_batch(step), step, SLOTS)
      return state, scores

    first = run()
    chex.assert_trees_all_equal(first, run(), strict=True)
    self.assertEqual(first[0].step, 3)
    self.assertEqual(first[0].step.dtype, jnp.int32)

  def test_the_scores_are_those_before_the_update(self):
    batch = draw_batch()
    evaluate = training.make_evaluate(CONFIG, losses.bits)
    state = make_state()
    logits, expected = evaluate(state.params, batch, SLOTS)
    self.assertEqual(logits.shape, (T, B, O))
    chex.assert_trees_all_close(
      losses.bits(logits, batch.targets, batch.mask), expected, rtol=1e-5
    )
    state, scores = make_update()(state, batch, 0, SLOTS)
    chex.assert_trees_all_close(scores, expected, rtol=1e-5)
    after = evaluate(state.params, batch, SLOTS)[1]
    self.assertLess(after.loss, expected.loss)

  @parameterized.parameters(CONFIG, OPTIONS)
  def test_an_update_follows_the_gradient_of_a_plain_unroll(self, config):
    batch, state = draw_batch(), make_state(config)

    def loss(params):
      def unroll():
        core = make_core(config)
        return hk.dynamic_unroll(core, batch.inputs, core.initial_state(B))

      logits, _ = transform(unroll).apply(params)
      return losses.bits(logits, batch.targets, batch.mask).loss

    expected_loss, gradients = jax.jit(jax.value_and_grad(loss))(state.params)
    expected = follow(RMSPROP, [gradients], state.params)[0]
    state, scores = make_update("bits", config)(state, batch, 0, SLOTS)
    np.testing.assert_allclose(scores.loss, expected_loss, rtol=1e-5)
    chex.assert_trees_all_close(state.params, expected, rtol=1e-4, atol=1e-6)

  def test_it_is_compiled_once_for_each_shape(self):
    traces = []

    def objective(logits, targets, mask):
      traces.append(logits.shape)
      return losses.bits(logits, targets, mask)

    update = training.make_update(SIMPLE, RMSPROP, objective)
    state = make_state(SIMPLE)
    for step in range(3):
      state, _ = update(state, draw_batch(step), step, SLOTS)
    self.assertLen(traces, 1)
    state, _ = update(state, draw_batch(3), 3, SLOTS + 1)
    self.assertLen(traces, 2)
    state, _ = update(state, draw_batch(4, T + 1), 4, SLOTS)
    self.assertLen(traces, 3)
    self.assertEqual(state.step, 5)

  @parameterized.parameters(("bits", CONFIG), ("digits", SIMPLE))
  def test_padding_makes_no_difference(self, objective, config):
    batch = draw_batch()

    def pad(x):
      return np.concatenate([x, np.zeros([3, *x.shape[1:]], x.dtype)])

    padded = Batch(*(pad(x) for x in batch[:3]), lesson=batch.lesson)
    self.assertLen(padded.mask, T + 3)
    update = make_update(objective, config)
    plain, plain_scores = update(make_state(config), batch, 0, SLOTS)
    longer, longer_scores = update(make_state(config), padded, 0, SLOTS)
    chex.assert_trees_all_close(plain_scores, longer_scores, rtol=1e-6)
    chex.assert_trees_all_close(
      plain.params, longer.params, rtol=1e-6, atol=1e-6
    )

  def test_what_the_mask_hides_makes_no_difference(self):
    batch = draw_batch()
    hidden = batch.mask[..., None] == 0
    targets = np.where(hidden, 1 - batch.targets, batch.targets)
    self.assertTrue(np.any(targets != batch.targets))
    chex.assert_trees_all_equal(
      make_update()(make_state(), batch, 0, SLOTS),
      make_update()(make_state(), batch._replace(targets=targets), 0, SLOTS),
    )


class FrozenTest(parameterized.TestCase):
  """Once an update goes wrong, nothing changes any more."""

  def test_an_update_that_is_not_the_next_changes_nothing(self):
    before = make_state()
    for step in (1, 7, -1):
      state, _ = make_update()(copy(before), draw_batch(), step, SLOTS)
      chex.assert_trees_all_equal(state, before, strict=True)

  def test_after_a_nan_nothing_changes_until_the_step_is_done_again(self):
    update = make_update()
    before, _ = update(make_state(), draw_batch(0), 0, SLOTS)
    state, scores = update(copy(before), with_nan(draw_batch(1)), 1, SLOTS)
    self.assertTrue(np.isnan(scores.loss))
    chex.assert_trees_all_equal(state, before, strict=True)
    for step in (2, 3):
      state, scores = update(state, draw_batch(step), step, SLOTS)
      self.assertTrue(np.isfinite(scores.loss))
      chex.assert_trees_all_equal(state, before, strict=True)
    state, _ = update(state, draw_batch(1), 1, SLOTS)
    unbroken, _ = update(before, draw_batch(1), 1, SLOTS)
    chex.assert_trees_all_equal(state, unbroken, strict=True)
    self.assertEqual(state.step, 2)

  @parameterized.named_parameters(
    ("gradient", lambda x: jnp.sqrt(0.0 * x)),
    ("loss", lambda x: jax.lax.stop_gradient(jnp.inf * jnp.abs(x + 1))),
  )
  def test_either_of_loss_and_gradients_not_finite_changes_nothing(self, spoil):
    def objective(logits, targets, mask):
      scores = losses.bits(logits, targets, mask)
      return scores._replace(loss=scores.loss + spoil(jnp.sum(logits**2)))

    update = training.make_update(SIMPLE, RMSPROP, objective)
    before = make_state(SIMPLE)
    state, scores = update(copy(before), draw_batch(), 0, SLOTS)
    chex.assert_trees_all_equal(state, before, strict=True)
    self.assertTrue(np.isnan(scores.loss))

  def test_gradients_whose_squares_overflow_are_shortened(self):
    def objective(logits, targets, mask):
      scores = losses.bits(logits, targets, mask)
      return scores._replace(loss=1e25 * scores.loss)

    update = training.make_update(SIMPLE, RMSPROP, objective)
    before = make_state(SIMPLE)
    state, scores = update(copy(before), draw_batch(), 0, SLOTS)
    self.assertGreater(scores.loss, 1e24)
    self.assertEqual(state.step, 1)
    moved = 0.0
    for x, y in zip(
      jax.tree.leaves(state.params), jax.tree.leaves(before.params), strict=True
    ):
      self.assertTrue(np.all(np.isfinite(x)))
      moved = max(moved, float(np.max(np.abs(x - y))))
    self.assertGreater(moved, 0)


def draw_copy(rng, num_words):
  """Returns a batch of words, then to be said in the order they were heard."""
  words = np.eye(4)[rng.integers(4, size=(num_words, 16))]
  rest = np.zeros_like(words)
  heard = np.concatenate([words, rest])
  recall = np.zeros([2 * num_words, 16, 1])
  recall[num_words:] = 1
  return Batch(
    inputs=np.concatenate([heard, recall], axis=-1).astype(np.float32),
    targets=np.concatenate([rest, words]).astype(np.float32),
    mask=recall[..., 0].astype(np.float32),
    lesson=np.zeros(16, np.int32),
  )


@pytest.mark.slow
class LearningTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("default", {}),
    ("feed_forward", {"controller": "feed_forward"}),
    (
      "options",
      {
        "strength": "oneplus",
        "usage_gradient": True,
        "content_mask": True,
        "deallocate": True,
      },
    ),
  )
  def test_copying_is_learned(self, options):
    config = ModelConfig(
      output_size=4,
      hidden_size=32,
      memory_size=8,
      word_size=8,
      num_reads=1,
      **options,
    )
    optimiser = OptimiserConfig("adam", learning_rate=3e-3, max_grad_norm=10)
    state = training.init_state(config, optimiser, 5, seed=0)
    update = training.make_update(config, optimiser, losses.bits)
    for step in range(1500):
      batch = draw_copy(np.random.default_rng([0, step]), 4)
      state, _ = update(state, batch, step, 8)
    evaluate = training.make_evaluate(config, losses.bits)
    batch = draw_copy(np.random.default_rng([1, 0]), 4)
    _, scores = evaluate(state.params, batch, 8)
    self.assertEqual(state.step, 1500)
    # Saying that each bit is 1 a quarter of the time costs 9 nats.
    self.assertLess(scores.loss, 1)
    self.assertGreater(scores.right.sum() / scores.count.sum(), 0.98)


if __name__ == "__main__":
  absltest.main()
