"""Settings that hold for every test."""

import jax
from absl import flags

from tests.compiling import compile_soon, keep_compiled

# A [B, N] array never silently broadcasts against a [N] one.
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config):
  """Sets up the process.

  Lets absl's create_tempdir work under pytest, which parses no flags.
  """
  del config
  compile_soon()
  keep_compiled()
  flags.FLAGS.mark_as_parsed()


# A file stays with one worker, so those that take longest come first.
_LONGEST = (
  "recurrence_test",
  "devices_test",
  "compare_test",
  "pretrained_test",
  "scripts_test",
  "options_test",
)


def pytest_collection_modifyitems(items):
  """Orders files by how long they take."""

  def order(item):
    name = item.path.stem
    return _LONGEST.index(name) if name in _LONGEST else len(_LONGEST)

  items.sort(key=order)
