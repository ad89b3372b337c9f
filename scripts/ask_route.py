"""A route over a city that a trained network plans, in words and as a picture.

`scripts.ask` calls this for ``--from`` with ``--to``.
"""

import dataclasses
import pathlib
from typing import Any, NamedTuple

import haiku as hk
import jax
import numpy as np

from dnc_jax import training
from scripts.measure import check_memory_size, safe_memory_size
from scripts.saved import RunConfig
from tasks import graphs, routes
from tasks.shortest_path import ShortestPath
from tasks.underground import Map

_NETWORK, _SHORTEST, _TRACK = "#c0392b", "#2980b9", "#d0d0d0"


class Step(NamedTuple):
  """A move over a map, as indices into its nodes and labels.

  Attributes:
    source: Where it began.
    label: Line and direction.
    destination: Where it led.
    chance: How sure the network was, in [0, 1]; NaN of a planner's.
  """

  source: int
  label: int
  destination: int
  chance: float


class Route(NamedTuple):
  """Where a network went, and where it should have gone.

  Attributes:
    steps: Its moves.
    shortest: A path that is as short as any, the one most like them.
    arrived: Whether they lead to the destination.
    slots: Slots that its memory had.
  """

  steps: list[Step]
  shortest: list[Step]
  arrived: bool
  slots: int


def plan(
  config: RunConfig,
  params: hk.Params,
  place: Map,
  source: int,
  destination: int,
  *,
  memory_size: int | None,
  readings: int,
  seed: int,
) -> Route:
  """Lets a network find its way.

  Args:
    config: The run that it is of, of shortest path.
    params: Its parameters.
    place: The map.
    source: Station to start from, an index.
    destination: Station to go to.
    memory_size: Slots; chosen to suffice if None.
    readings: How often the map is told, each time under other labels and in
      another order; moves are decided by the mean of their chances.
    seed: What labels and order of the map are drawn from.

  Returns:
    The route.

  Raises:
    ValueError: No path leads there, or the map does not fit into the memory.
  """
  rng = np.random.default_rng(seed)
  task = config.make_task()
  assert isinstance(task, ShortestPath)
  drawn = graphs.labelled_copies(rng, place.edges, readings)
  between = routes.distances(drawn)
  if source == destination:
    raise ValueError(f"{place.nodes[source]} is where you are already.")
  if between[0, source, destination] >= routes.UNREACHABLE:
    raise ValueError(
      f"On the map {place.name} nothing leads from {place.nodes[source]} to "
      f"{place.nodes[destination]}."
    )
  pairs = np.array([[[source, destination]]] * readings)
  episodes = task.encode(rng, drawn, between, pairs)
  if memory_size is None:
    check_memory_size(config, place.name, len(place.edges))
    memory_size = safe_memory_size(config, len(episodes.inputs))
  goal = dataclasses.replace(task.test_objective, readings=readings)
  evaluate = training.make_evaluate(config.model, goal)
  moves, _ = evaluate(params, episodes, memory_size)
  moves = jax.device_get(moves)
  by_node = _edges_by_node(place)
  steps = []
  for step in np.flatnonzero(moves.moving[:, 0]):
    node = int(moves.node[step, 0])
    label, leads_to = by_node[node][int(moves.edge[step, 0])]
    steps.append(Step(node, label, leads_to, float(moves.chance[step, 0])))
  return Route(
    steps=steps,
    shortest=_shortest(by_node, between[0, :, destination], source, steps),
    arrived=steps[-1].destination == destination,
    slots=memory_size,
  )


def in_words(place: Map, route: Route, destination: int) -> str:
  """Returns a route beside the shortest, line by line with changes."""
  start = place.nodes[route.shortest[0].source]
  goal = place.nodes[destination]
  length, shortest = len(route.steps), len(route.shortest)
  if not route.arrived:
    verdict = (
      f"WRONG: after {length} steps it is at "
      f"{place.nodes[route.steps[-1].destination]}."
    )
  elif length > shortest:
    verdict = f"{length} steps, {length - shortest} MORE THAN NEEDED."
  else:
    verdict = f"{length} steps; there is no shorter way."
  lines = [f"{start} to {goal}, as the network goes: {verdict}"]
  lines += _legs(place, route.steps)
  if route.arrived and length == shortest:
    return "\n".join(lines)
  lines.append(f"A shortest way, {shortest} steps:")
  return "\n".join(lines + _legs(place, route.shortest))


def draw(
  place: Map, route: Route, destination: int, path: pathlib.Path
) -> None:
  """Draws a route on its map, as a PNG.

  Args:
    place: The map. One without positions is laid out by its distances.
    route: The route.
    destination: Where it was to lead.
    path: File to write.

  Raises:
    ImportError: matplotlib is missing.
    OSError: The file cannot be written.
  """
  # Here, because it is a part of the extra plot.
  import matplotlib as mpl

  mpl.use("Agg")
  from matplotlib import pyplot as plt

  points = _layout(place)
  figure, axes = plt.subplots(figsize=(11, 8.5), layout="constrained")
  for source, _, leads_to in place.edges.tolist():
    _line(axes, points, (source, leads_to), color=_TRACK, linewidth=1.5)
  axes.scatter(*points.T, s=14, color="#808080", zorder=3)
  for steps, style in (
    (route.shortest, {"color": _SHORTEST, "linewidth": 7, "alpha": 0.45}),
    (route.steps, {"color": _NETWORK, "linewidth": 2.5}),
  ):
    for step in steps:
      _line(axes, points, (step.source, step.destination), zorder=4, **style)
  named = {destination, route.shortest[0].source}
  for step in (*route.steps, *route.shortest):
    named |= {step.source, step.destination}
  named = sorted(named, key=lambda node: points[node, 1])
  for number, node in enumerate(named):
    axes.annotate(
      place.nodes[node],
      points[node],
      xytext=(6, 6 if number % 2 else -12),
      textcoords="offset points",
      fontsize=9,
      zorder=6,
      bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
    )
  ends = points[[route.shortest[0].source, destination]]
  axes.scatter(*ends.T, s=90, color="black", zorder=5)
  for label, style in (
    ("network", {"color": _NETWORK, "linewidth": 2.5}),
    ("a shortest way", {"color": _SHORTEST, "linewidth": 7, "alpha": 0.45}),
  ):
    axes.plot([], [], label=label, **style)
  axes.legend(loc="lower right")
  axes.set_title(
    f"{place.nodes[route.shortest[0].source]} to {place.nodes[destination]}"
  )
  axes.set_axis_off()
  figure.savefig(path, dpi=110, format="png")
  plt.close(figure)


def _line(axes: Any, points: np.ndarray, ends: tuple[int, int], **style: Any):
  axes.plot(*points[list(ends)].T, solid_capstyle="round", **style)


def _layout(place: Map) -> np.ndarray:
  """Returns where to draw each station, ``[V, 2]``."""
  if not np.isnan(place.positions).any():
    latitude, longitude = place.positions.T
    # A degree of longitude is shorter than one of latitude.
    return np.stack(
      [longitude * np.cos(np.deg2rad(latitude.mean())), latitude], axis=-1
    )
  drawn = graphs.labelled_copies(np.random.default_rng(0), place.edges, 1)
  between = routes.distances(drawn)[0].astype(float)
  between = np.minimum(between, between.T)
  far = between[between < routes.UNREACHABLE].max() + 1
  squares = np.minimum(between, far) ** 2
  # Classical scaling: the plane in which distances are best kept.
  centred = squares - squares.mean(axis=0)
  centred -= centred.mean(axis=1, keepdims=True)
  _, vectors = np.linalg.eigh(-centred)
  return vectors[:, -2:]


def _edges_by_node(place: Map) -> list[list[tuple[int, int]]]:
  """Returns label and destination of the edges that leave each node.

  In the order in which `graphs.labelled_copies` has them.
  """
  edges: list[list[tuple[int, int]]] = [[] for _ in place.nodes]
  for source, label, destination in place.edges.tolist():
    edges[source].append((label, destination))
  return edges


def _shortest(
  by_node: list[list[tuple[int, int]]],
  left: np.ndarray,
  source: int,
  steps: list[Step],
) -> list[Step]:
  """Returns a shortest path, along the network's moves as far as it can."""
  taken = {(step.source, step.label) for step in steps}
  path: list[Step] = []
  here, line = source, -1
  while left[here]:
    best = [
      (label, node)
      for label, node in by_node[here]
      if left[node] == left[here] - 1
    ]
    # The network's own choice, or else to stay on the line.
    label, node = min(
      best, key=lambda edge: ((here, edge[0]) not in taken, edge[0] != line)
    )
    path.append(Step(here, label, node, float("nan")))
    here, line = node, label
  return path


def _legs(place: Map, steps: list[Step]) -> list[str]:
  """Returns a line for each move, and one for each change."""
  lines, before = [], ""
  for step in steps:
    label = place.labels[step.label]
    line = label.rsplit(" ", 1)[0]
    if before and line != before:
      lines.append(f"  change to {line} at {place.nodes[step.source]}")
    before = line
    sure = "" if np.isnan(step.chance) else f"  ({step.chance:.1%} sure)"
    lines.append(
      f"  {place.nodes[step.source]} - {label} - "
      f"{place.nodes[step.destination]}{sure}"
    )
  return lines
