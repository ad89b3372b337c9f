"""Tables as Markdown has them."""

from collections.abc import Iterable, Sequence


def head(columns: Sequence[str]) -> str:
  """Returns the first two lines of a table."""
  return f"{row(columns)}\n{row(['---'] * len(columns))}"


def row(texts: Iterable[str]) -> str:
  """Returns a line of a table."""
  return f"| {' | '.join(texts)} |"
