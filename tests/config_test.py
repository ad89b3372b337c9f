"""Configs: what they refuse, their JSON, and the cores made of them."""

import dataclasses
import functools
import json
import math

import haiku as hk
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import strategies as st

from dnc_jax.config import CONTROLLERS, ModelConfig, make_core
from tests.cores import make_params, numbers, transform

HYPOTHESIS = hypothesis.settings(
  max_examples=100, deadline=None, derandomize=True, database=None
)

SIZES = (
  "output_size",
  "hidden_size",
  "num_layers",
  "num_symbols",
  "symbol_size",
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
  links = draw(st.sampled_from(["dense", "stop_gradient", "sparse", "off"]))
  sizes["memory_size"] = st.integers(10, 10**12)
  return ModelConfig(
    core=draw(st.sampled_from(["dnc", "ntm", "sam", "sdnc", "none"])),
    sparsity=draw(st.integers(1, 10)),
    link_size=draw(st.integers(1, 10**12)),
    approximate=draw(st.booleans()),
    max_shift=draw(st.integers(0, 9)),
    skip_size=draw(st.integers(0, 10**12)),
    skip_layers=draw(st.integers(1, 10**6)),
    num_buckets=draw(st.integers(0, 10**12)),
    initial_memory=draw(st.sampled_from(["constant", "learned", "random"])),
    link_sharpness=links != "off" and draw(st.booleans()),
    bfloat16_links=links in ("dense", "stop_gradient") and draw(st.booleans()),
    controller=controller,
    **draw(st.fixed_dictionaries({**sizes, "num_layers": layers})),
    clip_value=draw(
      st.none() | st.integers(1, 100) | st.floats(0, exclude_min=True)
    ),
    strength=draw(st.sampled_from(["softplus", "oneplus"])),
    usage_gradient=draw(st.booleans()),
    links=links,
    content_mask=draw(st.booleans()),
    mask_floor=draw(st.floats(0, 1)),
    deallocate=draw(st.booleans()),
    layer_norm=draw(st.booleans()),
    allocation=draw(st.sampled_from(["sort", "softmax"])),
    bypass_dropout=draw(st.floats(0, 1, exclude_max=True)),
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
        core="dnc",
        link_sharpness=False,
        bfloat16_links=False,
        layer_norm=False,
        allocation="sort",
        bypass_dropout=0.0,
        max_shift=1,
        initial_memory="constant",
        sparsity=4,
        link_size=8,
        approximate=False,
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
    r"links must be one of 'dense', 'stop_gradient', 'sparse', 'off', got ''\.",
  ),
  *(
    ({name: 0}, rf"{name} must be at least 1, got 0\.")
    for name in ("sparsity", "link_size")
  ),
  *(
    (
      {"core": core, "memory_size": 3},
      r"sparsity must be at most memory_size, 3, got 4: .* Lower sparsity",
    )
    for core in ("sam", "sdnc")
  ),
  (
    {"allocation": "none"},
    r"allocation must be one of 'sort', 'softmax', got 'none'\.",
  ),
  *(
    (
      {"bypass_dropout": value},
      f"bypass_dropout must be at least 0 and below 1, got {value}",
    )
    for value in (-0.1, 1, math.nan)
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
      for name in ("controller", "strength", "links", "core", "allocation")
      for value in (None, 1, True, ["lstm"])
    ),
    *(
      (name, value)
      for name in (
        "usage_gradient",
        "deallocate",
        "link_sharpness",
        "bfloat16_links",
        "layer_norm",
        "approximate",
      )
      for value in (None, 1, 0.0, "yes")
    ),
    ("clip_value", "20"),
    ("clip_value", False),
    ("mask_floor", "0.1"),
    ("mask_floor", None),
    ("mask_floor", True),
    ("bypass_dropout", "0.1"),
    ("bypass_dropout", False),
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
    with self.assertRaisesRegex(ValueError, "model.s config"):
      ModelConfig.from_json(text)


SMALL = ModelConfig(
  output_size=2,
  hidden_size=4,
  memory_size=4,
  word_size=3,
  num_reads=1,
  content_mask=True,
)


@functools.cache
def network(config):
  """Returns random parameters and a function of them, over four steps."""

  def unroll():
    core = make_core(config)
    inputs = numbers(np.random.default_rng(0), 4, 1, 3, scale=3)
    return hk.dynamic_unroll(core, inputs, core.initial_state(1))[0]

  params = make_params(transform(unroll), scale=1)
  return params, lambda params: jnp.sum(transform(unroll).apply(params))


@functools.cache
def total(config):
  params, function = network(config)
  return float(jax.jit(function)(params))


@functools.cache
def gradients(config):
  params, function = network(config)
  return jax.jit(jax.grad(function))(params)


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
    {"deallocate": True},
    {"mask_floor": 0.75},
    {"links": "sparse", "link_size": 1},
  )
  def test_options_without_parameters_reach_the_core(self, **options):
    changed = dataclasses.replace(SMALL, **options)
    self.assertNotEqual(total(changed), total(SMALL))

  @parameterized.parameters(
    {"usage_gradient": True}, {"links": "stop_gradient"}
  )
  def test_options_of_gradients_change_gradients_alone(self, **options):
    changed = dataclasses.replace(SMALL, **options)
    np.testing.assert_allclose(total(changed), total(SMALL), rtol=1e-4)
    differences = [
      np.max(np.abs(x - y))
      for x, y in zip(
        jax.tree.leaves(gradients(changed)), jax.tree.leaves(gradients(SMALL))
      )
    ]
    self.assertGreater(max(differences), 1e-3)

  def test_sparse_cores_have_the_configured_sizes(self):
    config = ModelConfig(
      output_size=3,
      core="sdnc",
      memory_size=7,
      word_size=5,
      num_reads=2,
      sparsity=4,
      link_size=6,
    )
    for core in ("sam", "sdnc"):
      outputs, state = self._step(dataclasses.replace(config, core=core))
      self.assertEqual(outputs.shape, (2, 3))
      self.assertEqual(state.access_output.shape, (2, 2, 5))
      access = state.access_state
      self.assertEqual(access.memory.shape, (2, 7, 5))
      self.assertEqual(access.read_slots.shape, (2, 2, 4))
      self.assertEqual(access.write_slots.shape, (2, 9))
    self.assertEqual(access.linkage.links.successors.shape, (2, 1, 7, 6))

  @parameterized.parameters("sam", "sdnc")
  def test_approximate_reaches_the_core(self, core):
    def uses_it(approximate):
      config = ModelConfig(output_size=2, core=core, approximate=approximate)

      def step():
        made = make_core(config)
        return made(jnp.zeros([2, 4]), made.initial_state(2))

      params = jax.eval_shape(transform(step).init, jax.random.key(0))
      text = str(jax.make_jaxpr(transform(step).apply)(params))
      return "approx_top_k" in text

    self.assertTrue(uses_it(True))
    self.assertFalse(uses_it(False))

  def _step(self, config):
    def step():
      core = make_core(config)
      return core(jnp.zeros([2, 4]), core.initial_state(2))

    params = jax.eval_shape(transform(step).init, jax.random.key(0))
    return jax.eval_shape(transform(step).apply, params)


if __name__ == "__main__":
  absltest.main()
