"""How tests compile: soon rather than well, as what they compute is tiny.

That of a DNC's gradient took 1.3 s instead of 12.8. With ``XLA_FLAGS`` in the
environment, were it empty, tests compile as that says; ``compile_fully`` is for
what must hold of what users run.
"""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import jax

# What tests have, and what users have.
_FLAGS = {
  "xla_backend_optimization_level": (0, 3),
  "xla_llvm_disable_expensive_passes": (True, False),
  "xla_cpu_use_fusion_emitters": (False, True),
}
_TEXT = " ".join(f"--{name}={quick}" for name, (quick, _) in _FLAGS.items())


def compile_soon() -> None:
  """Sets it for this process and its children, before JAX is first used."""
  if "XLA_FLAGS" in os.environ:
    return
  # XLA ends a process that gives a flag which its version does not have.
  known = subprocess.run(
    [sys.executable, "-c", "import jax; jax.devices()"],
    env={**os.environ, "XLA_FLAGS": _TEXT},
    capture_output=True,
    check=False,
  )
  os.environ["XLA_FLAGS"] = _TEXT if known.returncode == 0 else ""


def keep_compiled() -> None:
  """Keeps what is compiled, until the tests end, for whatever needs it again.

  That is this process, the workers, and what any of them starts.
  """
  if "JAX_COMPILATION_CACHE_DIR" in os.environ:
    return
  folder = tempfile.mkdtemp()
  atexit.register(shutil.rmtree, folder, ignore_errors=True)
  settings = {
    "jax_compilation_cache_dir": folder,
    "jax_persistent_cache_min_compile_time_secs": 0.1,
    "jax_persistent_cache_min_entry_size_bytes": -1,
  }
  for name, value in settings.items():
    os.environ[name.upper()] = str(value)
    jax.config.update(name, value)


def compile_fully(function: Callable[..., Any], **settings: Any) -> Any:
  """Returns what `jax.jit` does for users."""
  quick = os.environ.get("XLA_FLAGS") == _TEXT
  options = {name: full for name, (_, full) in _FLAGS.items()}
  return jax.jit(
    function, compiler_options=options if quick else None, **settings
  )
