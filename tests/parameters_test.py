"""Names and shapes of parameters: what checkpoints are made of.

After a change that is meant, `python -m tests.parameters_test` writes the
golden file anew.
"""

import json
import pathlib

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from dnc_jax.config import CONTROLLERS, ModelConfig, make_core
from dnc_jax.training import num_params
from tests.cores import CORES, INPUT_SIZE, MEMORY_SIZE

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "parameters.json"
MEANING = (
  "Checkpoints made before this change no longer load. If that is meant, say "
  "so in CHANGELOG.md and run python -m tests.parameters_test"
)

CONFIGS = {
  "defaults": ModelConfig(output_size=5),
  **{
    f"{controller}_controller": ModelConfig(
      output_size=5,
      controller=controller,
      hidden_size=7,
      num_layers=2 if controller in ("deep_lstm", "feed_forward") else 1,
    )
    for controller in CONTROLLERS
  },
  "ntm": ModelConfig(
    output_size=5, core="ntm", num_writes=2, initial_memory="learned"
  ),
  "mann": ModelConfig(output_size=5, core="mann"),
  "sam": ModelConfig(output_size=5, core="sam"),
  "sdnc": ModelConfig(output_size=5, core="sdnc"),
  "no_memory": ModelConfig(
    output_size=5, core="none", controller="deep_lstm", num_layers=2
  ),
  "no_links": ModelConfig(output_size=5, links="off"),
  "masks": ModelConfig(output_size=5, num_writes=2, content_mask=True),
  "link_sharpness": ModelConfig(
    output_size=5, num_writes=2, content_mask=True, link_sharpness=True
  ),
  "franke": ModelConfig(
    output_size=5, links="off", layer_norm=True, bypass_dropout=0.1
  ),
  "softmax_allocation": ModelConfig(
    output_size=5, num_writes=2, link_sharpness=True, allocation="softmax"
  ),
}


def of_core(name):
  """Returns the parameters of a core of the table, as shapes and dtypes."""

  def step(inputs):
    core = CORES[name].make(MEMORY_SIZE)
    return core(inputs, core.initial_state(2))

  return jax.eval_shape(
    hk.transform(step).init,
    jax.random.key(0),
    CORES[name].inputs(
      np.random.default_rng(0), 2, memory_size=MEMORY_SIZE, scale=1.0
    ),
  )


def of_config(config, input_size=INPUT_SIZE):
  """Returns the parameters of a configured core, as shapes and dtypes."""

  def step(inputs):
    core = make_core(config)
    return core(inputs, core.initial_state(2))

  return jax.eval_shape(
    hk.transform(step).init, jax.random.key(0), jnp.zeros([2, input_size])
  )


PARAMETERS = {
  **{name: (of_core, name) for name in CORES},
  **{f"config/{name}": (of_config, config) for name, config in CONFIGS.items()},
}


def shapes(name):
  """Returns the shape of each parameter by its name, one line of JSON each."""
  function, argument = PARAMETERS[name]
  return {
    f"{module}/{key}": str(list(array.shape))
    for module, arrays in sorted(function(argument).items())
    for key, array in sorted(arrays.items())
  }


class ParametersTest(parameterized.TestCase):
  maxDiff = None

  def test_the_golden_file_has_every_core(self):
    self.assertCountEqual(json.loads(GOLDEN.read_text()), PARAMETERS, MEANING)

  @parameterized.parameters(*PARAMETERS)
  def test_names_and_shapes_are_those_of_before(self, name):
    golden = json.loads(GOLDEN.read_text())
    self.assertEqual(golden.get(name), shapes(name), MEANING)

  @parameterized.parameters(*PARAMETERS)
  def test_parameters_are_float32(self, name):
    function, argument = PARAMETERS[name]
    for leaf in jax.tree.leaves(function(argument)):
      self.assertEqual(leaf.dtype, jnp.float32)

  def test_deepminds_defaults_have_as_many_as_in_their_code(self):
    # Repeat copy hears 6 numbers at a step and answers 5.
    params = of_config(ModelConfig(output_size=5), input_size=6)
    self.assertEqual(num_params(params), 43_980)

  @parameterized.parameters(
    {"memory_size": 99},
    {"clip_value": None},
    {"strength": "oneplus"},
    {"usage_gradient": True},
    {"links": "stop_gradient"},
    {"links": "sparse", "link_size": 2},
    {"mask_floor": 0.5},
    {"deallocate": True},
  )
  def test_options_without_parameters_change_none(self, **options):
    self.assertEqual(
      of_config(ModelConfig(output_size=5, **options)),
      of_config(ModelConfig(output_size=5)),
    )

  def test_names_are_below_those_of_the_modules_around(self):
    def step(inputs):
      with hk.name_scope("outer"):
        core = make_core(ModelConfig(output_size=5))
      return core(inputs, core.initial_state(2))

    params = jax.eval_shape(
      hk.transform(step).init, jax.random.key(0), jnp.zeros([2, 4])
    )
    self.assertEqual(
      set(params),
      {
        "outer/lstm/linear",
        "outer/memory_access/interface",
        "outer/dnc/output_linear",
      },
    )


if __name__ == "__main__":
  GOLDEN.write_text(
    json.dumps({name: shapes(name) for name in PARAMETERS}, indent=1) + "\n"
  )
