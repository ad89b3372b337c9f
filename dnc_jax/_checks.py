"""Checks of values that people give, with one clear line each."""

from collections.abc import Iterable


def at_least(name: str, value: int, bound: int) -> int:
  """Returns the value, or raises a ValueError where it is below the bound."""
  if value < bound:
    raise ValueError(f"{name} must be at least {bound}, got {value}.")
  return value


def one_of(name: str, value: str, choices: Iterable[str]) -> str:
  """Returns the value, or raises a ValueError that lists the choices."""
  if value not in (choices := tuple(choices)):
    listed = ", ".join(repr(choice) for choice in choices)
    raise ValueError(f"{name} must be one of {listed}, got {value!r}.")
  return value


def clip_bound(clip_value: float | None) -> float | None:
  """Returns the bound, or raises a ValueError where it is not above 0."""
  if clip_value is not None and not clip_value > 0:
    raise ValueError(
      f"clip_value must be more than 0, got {clip_value}. For no clipping use "
      "None."
    )
  return clip_value


def dropout_rate(value: float) -> float:
  """Returns a value to drop at, if it is one.

  Raises:
    ValueError: It is not in [0, 1).
  """
  if not 0 <= value < 1:
    raise ValueError(
      f"bypass_dropout must be at least 0 and below 1, got {value}."
    )
  return value
