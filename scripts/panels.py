"""Draws what went on inside a memory: panels over one axis of time.

After Graves et al. 2016, Extended Data Fig. 1.
"""

import pathlib
from typing import Any, NamedTuple

import numpy as np

from scripts import inside as insides
from scripts.comparison import blank_page
from scripts.inside import Inside, Strip

_HEARD, _WRITES, _READS, _USAGE, _GATES = (
  "Greys",
  "Greens",
  "Purples",
  "Oranges",
  "Blues",
)


# Thinner ones could not be seen: of more, the greatest of several is shown.
_MOST_ROWS = 96


class _Panel(NamedTuple):
  """A picture of numbers over time.

  Attributes:
    title: What they are.
    rows: One for each slot, number or gate. Shape ``[rows, T]``.
    label: What a row is.
    colors: Name of a matplotlib colour map.
    top: What is darkest.
    scale: What the numbers are, at the scale of colours; none if empty.
    names: Of the rows; numbers if empty.
    numbers: Of the rows, where they are not in order.
  """

  title: str
  rows: np.ndarray
  label: str
  colors: str
  top: float = 1.0
  scale: str = ""
  names: tuple[str, ...] = ()
  numbers: tuple[int, ...] = ()

  @property
  def height(self) -> float:
    """In inches."""
    each = 0.2 if self.names else 0.1
    return float(np.clip(each * len(self.rows), 0.5, 2.4 + len(self.names)))


def draw(
  path: pathlib.Path,
  title: str,
  inside: Inside,
  order: np.ndarray | None = None,
) -> None:
  """Draws what went on on one sequence, as a PNG.

  Args:
    path: File to write.
    title: What stands above.
    inside: What went on.
    order: The slots, from top to bottom; by number if None. Shape ``[N]``.

  Raises:
    ValueError: matplotlib is missing.
    OSError: The file cannot be written.
  """
  panels = _panels(inside)
  if order is not None:
    panels = [_in_order(panel, order) for panel in panels]
  heights = [panel.height for panel in panels]
  steps = len(inside.scored)
  page = blank_page(
    float(np.clip(5 + 0.1 * steps, 8, 12)),
    sum(heights) + 0.42 * len(panels) + 1,
  )
  page.suptitle(title)
  axes = page.subplots(
    len(panels), sharex=True, squeeze=False, height_ratios=heights
  )[:, 0]
  for panel, there in zip(panels, axes):
    _draw_panel(page, there, panel)
    _mark_answers(there, inside.scored)
  axes[-1].set_xlabel("step (lines: where answering begins and ends)")
  axes[-1].xaxis.get_major_locator().set_params(integer=True)
  page.savefig(path, dpi=120, format="png")


def _in_order(panel: _Panel, order: np.ndarray) -> _Panel:
  """Returns a panel with its slots in another order, if it is of slots."""
  if panel.label != "slot":
    return panel
  return panel._replace(rows=panel.rows[order], numbers=tuple(order.tolist()))


def _panels(inside: Inside) -> list[_Panel]:
  """Returns the panels, from top to bottom."""
  trace, asked = inside.trace, inside.scored[:, None]
  most = max(1.0, float(np.abs(inside.inputs).max(initial=0)))
  panels = [
    _Panel("heard", inside.inputs.T, "number", _HEARD, most),
    _Panel("wanted", (inside.targets * asked).T, "number", _HEARD),
    _Panel("answered", (inside.answers * asked).T, "number", _HEARD),
  ]
  for kind, colors in (("write", _WRITES), ("read", _READS)):
    weights = trace[f"{kind}_weights"]  # [T, heads, N]
    heads = weights.shape[1]
    for head in range(heads):
      number = f", head {head + 1}" if heads > 1 else ""
      panels.append(
        _Panel(
          f"{kind} weights{number}",
          weights[:, head].T,
          "slot",
          colors,
          scale="weight",
        )
      )
  if "usage" in trace:
    usage = trace["usage"]
    top = max(1.0, float(usage.max()))
    panels.append(_Panel("usage", usage.T, "slot", _USAGE, top, "usage"))
  for title, strips in (
    ("gates", insides.gates(trace)),
    ("modes", insides.modes(trace)),
  ):
    if strips:
      panels.append(_of_strips(title, strips))
  return panels


def _of_strips(title: str, strips: list[Strip]) -> _Panel:
  return _Panel(
    title,
    np.stack([strip.values for strip in strips]),
    "",
    _GATES,
    scale="open" if title == "gates" else "share",
    names=tuple(strip.name for strip in strips),
  )


def _draw_panel(page: Any, axes: Any, panel: _Panel) -> None:
  each = -(-len(panel.rows) // _MOST_ROWS)
  rows = np.maximum.reduceat(
    panel.rows, range(0, len(panel.rows), each), axis=0
  )
  image = axes.imshow(
    rows,
    extent=(-0.5, rows.shape[1] - 0.5, each * len(rows) - 0.5, -0.5),
    aspect="auto",
    cmap=panel.colors,
    vmin=0,
    vmax=panel.top,
    interpolation_stage="data",
  )
  title = panel.title
  if each > 1:
    title += f" (the most of every {each} slots)"
  axes.set_title(title, loc="left", fontsize=10, pad=3)
  axes.tick_params(labelsize=8)
  axes.set_ylabel(panel.label, fontsize=9)
  if panel.names:
    axes.set_yticks(range(len(panel.names)), panel.names)
    for row in range(1, len(panel.names)):
      axes.axhline(row - 0.5, color="white", linewidth=1.5)
  elif panel.numbers:
    every = -(-len(panel.numbers) // 16)
    rows = range(0, len(panel.numbers), every)
    axes.set_yticks(rows, [str(panel.numbers[row]) for row in rows])
  else:
    axes.yaxis.get_major_locator().set_params(integer=True, nbins=5)
  if panel.scale:
    bar = page.colorbar(image, ax=axes, pad=0.01, fraction=0.03, aspect=12)
    bar.set_label(panel.scale, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _mark_answers(axes: Any, scored: np.ndarray) -> None:
  """Draws a line wherever answering begins or ends."""
  for step in np.flatnonzero(np.diff(scored.astype(int))):
    axes.axvline(step + 0.5, color="#c0392b", linewidth=0.8, linestyle="--")
