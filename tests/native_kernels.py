"""Tests of native kernels, left out where there is no C++ compiler."""

import pytest

from dnc_jax.native import library


def _lacking() -> bool:
  try:
    library.compiler()
  except ValueError:
    return True
  return False


needed = pytest.mark.skipif(_lacking(), reason="There is no C++ compiler.")
