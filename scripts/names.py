"""Names that people type, looked up in a list."""

import difflib
from collections.abc import Sequence


def find(what: str, name: str, names: Sequence[str], where: str) -> int:
  """Returns the index of a name, in whatever case.

  Args:
    what: What it names, for the message.
    name: What was typed.
    names: All there are.
    where: Where they are, for the message.

  Raises:
    ValueError: There is no such name; the message has the nearest.
  """
  folded = [other.casefold() for other in names]
  wanted = name.strip().casefold()
  if wanted in folded:
    return folded.index(wanted)
  near = difflib.get_close_matches(wanted, folded, n=3, cutoff=0.4)
  nearest = ", ".join(names[folded.index(other)] for other in near)
  raise ValueError(
    f"There is no {what} {name!r} {where}. Nearest: {nearest or 'none'}."
  )
