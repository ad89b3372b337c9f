"""What a compiled function needs and does, for tests of its cost."""

import math
import re
from typing import Any

_COPY = re.compile(r"= \w+\[([\d,]+)\]\S* copy\(")


def temporary_bytes(compiled: Any) -> int:
  """Returns the memory that a compiled function needs beside its results."""
  return compiled.memory_analysis().temp_size_in_bytes


def copies_in_loops(compiled: Any, least: int) -> list[str]:
  """Returns the copies of at least so many numbers, but those done once.

  Of the text of the CPU's compiler.
  """
  where, copies = "", []
  for line in str(compiled.as_text()).splitlines():
    if line and not line.startswith(" "):
      where = line.split()[0]
    found = _COPY.search(line)
    if found is None or where == "ENTRY":
      continue
    if math.prod(int(x) for x in found[1].split(",")) >= least:
      copies.append(line)
  return copies
