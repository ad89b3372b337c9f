"""What processes that run the same program together agree on.

After ``jax.distributed.initialize`` several processes, each with devices of its
own, are one program: all do the same steps, and what only one may do, such as
writing a file, the first does while the others wait. Without it there is one
process, which is the first, and nothing here waits or starts JAX.

`numbers` and `first_does` must be called by every process, in the same order.
"""

import re
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

# How what adds up over a network, or JAX's coordinator, says that one is gone.
_LOST = re.compile(
  "gloo|nccl|connection (reset|closed|refused)|coordination service|"
  "task.* unhealthy|heartbeat",
  re.IGNORECASE,
)


def are_several() -> bool:
  """Returns whether there is more than one process."""
  # In this order, since to count them starts JAX.
  return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
  """Returns whether this is the process that writes and prints."""
  return not are_several() or jax.process_index() == 0


def numbers(number: int) -> list[int]:
  """Returns the number that each process gives, in their order.

  >>> numbers(7)
  [7]

  Args:
    number: Its own, of 32 bits.
  """
  if not are_several():
    return [int(number)]
  found = multihost_utils.process_allgather(np.int32(number))
  return [int(x) for x in np.ravel(found)]


def first_does(action: Callable[[], object]) -> None:
  """Lets the first process do something, and the others wait for it.

  Args:
    action: What to do.

  Raises:
    Exception: What it raised, in the first process.
    OSError: It raised something there, in the others.
  """
  error = None
  if is_first():
    try:
      action()
    except Exception as raised:
      error = raised
  failed = numbers(error is not None)[0]
  if error is not None:
    raise error
  if failed:
    raise OSError("Process 0 failed and says why.")


def tells_of_loss(error: BaseException) -> bool:
  """Returns whether an error says that another process is gone.

  JAX has no class of its own for these.
  """
  return are_several() and _LOST.search(str(error)) is not None
