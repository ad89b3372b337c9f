"""Configs: what they refuse, their JSON, and the cores made of them."""

import dataclasses
import json
import math

import haiku as hk
import hypothesis
import jax
import jax.numpy as jnp
from absl.testing import absltest, parameterized
from hypothesis import strategies as st

from dnc_jax.config import CONTROLLERS, ModelConfig, make_core

HYPOTHESIS = hypothesis.settings(
  max_examples=100, deadline=None, derandomize=True, database=None
)

SIZES = (
  "output_size",
  "hidden_size",
  "num_layers",
  "memory_size",
  "word_size",
  "num_reads",
  "num_writes",
)


@st.composite
def configs(draw):
  """Any config that can be made."""
  controller = draw(st.sampled_from(CONTROLLERS))
  layers = (
    st.just(1) if controller in ("lstm", "gru") else st.integers(1, 10**6)
  )
  sizes = {name: st.integers(1, 10**12) for name in SIZES}
  return ModelConfig(
    controller=controller,
    **draw(st.fixed_dictionaries({**sizes, "num_layers": layers})),
    clip_value=draw(
      st.none() | st.integers(1, 100) | st.floats(0, exclude_min=True)
    ),
    strength=draw(st.sampled_from(["softplus", "oneplus"])),
    usage_gradient=draw(st.booleans()),
    links=draw(st.sampled_from(["dense", "stop_gradient", "off"])),
    content_mask=draw(st.booleans()),
    mask_floor=draw(st.floats(0, 1)),
    deallocate=draw(st.booleans()),
  )


class RoundTripTest(parameterized.TestCase):
  @HYPOTHESIS
  @hypothesis.given(configs())
  def test_a_config_survives_json(self, config):
    again = ModelConfig.from_json(config.to_json())
    self.assertEqual(again, config)
    self.assertEqual(again.to_json(), config.to_json())
    self.assertEqual(ModelConfig.from_dict(config.to_dict()), config)

  def test_json_has_every_field_on_a_line_of_its_own(self):
    config = ModelConfig(output_size=5)
    names = [field.name for field in dataclasses.fields(ModelConfig)]
    self.assertEqual(list(json.loads(config.to_json())), names)
    self.assertLen(config.to_json().splitlines(), len(names) + 2)

  def test_fields_not_named_have_deepminds_values(self):
    self.assertEqual(
      ModelConfig.from_dict({"output_size": 5}),
      ModelConfig(
        output_size=5,
        controller="lstm",
        hidden_size=64,
        num_layers=1,
        memory_size=16,
        word_size=16,
        num_reads=4,
        num_writes=1,
        clip_value=20.0,
        strength="softplus",
        usage_gradient=False,
        links="dense",
        content_mask=False,
        deallocate=False,
      ),
    )

  def test_a_config_cannot_be_changed(self):
    with self.assertRaises(dataclasses.FrozenInstanceError):
      ModelConfig(output_size=5).output_size = 6  # pyright: ignore


BAD = (
  *(
    ({name: value}, rf"{name} must be at least 1, got {value}\.")
    for name in SIZES
    for value in (0, -7)
  ),
  (
    {"controller": "transformer"},
    "controller must be one of 'lstm', 'deep_lstm', 'gru', 'feed_forward', "
    r"got 'transformer'\.",
  ),
  (
    {"strength": "exp"},
    r"strength must be one of 'softplus', 'oneplus', got 'exp'\.",
  ),
  (
    {"links": ""},
    r"links must be one of 'dense', 'stop_gradient', 'off', got ''\.",
  ),
  *(
    ({"clip_value": value}, rf"clip_value must be more than 0, got {value}\.")
    for value in (0, -20.0, math.nan)
  ),
  *(
    ({"mask_floor": value}, rf"mask_floor must be in \[0, 1\], got {value}\.")
    for value in (-0.25, 1.25, math.nan)
  ),
  *(
    (
      {"controller": controller, "num_layers": 2},
      f"num_layers must be 1 for controller '{controller}', got 2. For more "
      "layers use 'deep_lstm'",
    )
    for controller in ("lstm", "gru")
  ),
)


class RefusalTest(parameterized.TestCase):
  @parameterized.parameters(*BAD)
  def test_a_value_out_of_range_is_refused_in_one_line(self, fields, message):
    fields = {"output_size": 5, **fields}
    for make in (
      lambda: ModelConfig(**fields),
      lambda: ModelConfig.from_dict(fields),
      lambda: ModelConfig.from_json(json.dumps(fields)),
      lambda: dataclasses.replace(ModelConfig(output_size=5), **fields),
    ):
      with self.assertRaisesRegex(ValueError, message) as caught:
        make()
      self.assertNotIn("\n", str(caught.exception))

  @parameterized.parameters(
    *(
      (name, value)
      for name in SIZES
      for value in ("16", 16.0, True, None, [16])
    ),
    *(
      (name, value)
      for name in ("controller", "strength", "links")
      for value in (None, 1, True, ["lstm"])
    ),
    *(
      (name, value)
      for name in ("usage_gradient", "content_mask", "deallocate")
      for value in (None, 1, 0.0, "yes")
    ),
    ("clip_value", "20"),
    ("clip_value", False),
    ("mask_floor", "0.1"),
    ("mask_floor", None),
    ("mask_floor", True),
  )
  def test_a_value_of_the_wrong_type_is_refused(self, name, value):
    with self.assertRaisesRegex(ValueError, f"^{name} .*wrong type") as caught:
      ModelConfig.from_dict({"output_size": 5, name: value})
    self.assertIn(repr(value), str(caught.exception))

  def test_an_unknown_field_is_refused_with_those_that_there_are(self):
    with self.assertRaisesRegex(ValueError, "'slots' is not a field") as caught:
      ModelConfig.from_dict({"output_size": 5, "slots": 16})
    for field in dataclasses.fields(ModelConfig):
      self.assertIn(field.name, str(caught.exception))

  def test_the_output_size_must_be_given(self):
    with self.assertRaisesRegex(ValueError, "lacks output_size"):
      ModelConfig.from_dict({"memory_size": 16})

  @parameterized.parameters("", "{", "output_size: 5", "[]", "5", "null")
  def test_text_that_is_no_config_is_refused(self, text):
    with self.assertRaises(ValueError):
      ModelConfig.from_json(text)


class MakeCoreTest(parameterized.TestCase):
  @parameterized.product(
    controller=CONTROLLERS, links=("dense", "stop_gradient", "off")
  )
  def test_cores_have_the_configured_sizes(self, controller, links):
    config = ModelConfig(
      output_size=3,
      controller=controller,
      hidden_size=6,
      num_layers=1 if controller in ("lstm", "gru") else 2,
      memory_size=7,
      word_size=5,
      num_reads=2,
      num_writes=4,
      links=links,
    )
    outputs, state = self._step(config)
    self.assertEqual(outputs.shape, (2, 3))
    self.assertEqual(state.access_output.shape, (2, 2, 5))
    access = state.access_state
    self.assertEqual(access.memory.shape, (2, 7, 5))
    self.assertEqual(access.read_weights.shape, (2, 2, 7))
    self.assertEqual(access.write_weights.shape, (2, 4, 7))
    if links == "off":
      self.assertIsNone(access.linkage)
    else:
      self.assertEqual(access.linkage.link.shape, (2, 4, 7, 7))
    shapes = [x.shape for x in jax.tree.leaves(state.controller_state)]
    self.assertEqual(
      shapes,
      {
        "lstm": [(2, 6)] * 2,
        "gru": [(2, 6)],
        "deep_lstm": [(2, 2, 6)] * 2,
        "feed_forward": [],
      }[controller],
    )

  @parameterized.parameters(
    {"clip_value": 0.01},
    {"strength": "oneplus"},
    {"links": "off"},
    {"content_mask": True},
    {"deallocate": True},
    {"controller": "gru"},
    {"hidden_size": 5},
    {"num_reads": 1},
    {"num_writes": 2},
    {"word_size": 3},
  )
  def test_every_option_reaches_the_core(self, **options):
    config = ModelConfig(output_size=3, memory_size=7)
    changed = dataclasses.replace(config, **options)
    self.assertNotEqual(self._three_steps(changed), self._three_steps(config))

  def test_the_mask_floor_reaches_the_core(self):
    config = ModelConfig(output_size=3, memory_size=7, content_mask=True)
    changed = dataclasses.replace(config, mask_floor=0.9)
    self.assertNotEqual(self._three_steps(changed), self._three_steps(config))

  @parameterized.parameters(
    {"usage_gradient": True}, {"links": "stop_gradient"}
  )
  def test_options_of_gradients_change_gradients_alone(self, **options):
    config = ModelConfig(output_size=3, memory_size=7)
    changed = dataclasses.replace(config, **options)
    self.assertEqual(self._three_steps(changed), self._three_steps(config))
    self.assertNotEqual(
      self._three_steps(changed, gradient=True),
      self._three_steps(config, gradient=True),
    )

  def _transform(self, config, num_steps):
    def run():
      core = make_core(config)
      state, outputs = core.initial_state(2), None
      for step in range(num_steps):
        outputs, state = core(jnp.full([2, 4], 1.0 + step), state)
      return outputs, state

    return hk.without_apply_rng(hk.transform(run))

  def _step(self, config):
    run = self._transform(config, 1)
    shapes = jax.eval_shape(run.init, jax.random.key(0))
    return jax.eval_shape(run.apply, shapes)

  def _three_steps(self, config, *, gradient=False):
    """Returns a number that depends on everything three steps compute."""
    run = self._transform(config, 3)
    params = jax.jit(run.init)(jax.random.key(0))

    @jax.jit
    def total(params):
      leaves = jax.tree.leaves(run.apply(params)[0])
      return sum(jnp.sum(jnp.sin(1e3 * x)) for x in leaves)

    if gradient:
      return [x.tolist() for x in jax.tree.leaves(jax.grad(total)(params))]
    return total(params).item()


if __name__ == "__main__":
  absltest.main()
