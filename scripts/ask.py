"""Asks a trained network for a walk, a route or a relative, in words.

    python -m scripts.ask --from "Bond Street" --then "Central E" "Central E"
    python -m scripts.ask --from Moorgate --to "Piccadilly Circus"
    python -m scripts.ask --family tree --who "Freya's maternal great uncle"

Each step of a walk names a line and a direction; a route is the network's to
find. The network is told the whole map, with stations and lines as random
numbers, and then the question; what it answers stands beside the truth, with
how sure it was.
"""

import pathlib
from collections.abc import Sequence

import haiku as hk
import jax
import numpy as np
from absl import flags

from dnc_jax import losses, training
from scripts import ask_route, relatives
from scripts import flags as shared
from scripts.measure import check_memory_size, safe_memory_size
from scripts.names import find
from scripts.saved import RunConfig, pretrained_folder, restore_params
from tasks import cities, family_files, graphs, traversal, underground

FROM = flags.DEFINE_string("from", None, "Station to start from.")
THEN = flags.DEFINE_multi_string(
  "then", [], 'Lines to take, a step each, such as "Central E".'
)
TO = flags.DEFINE_string("to", None, "Station to find the way to.")
PICTURE = flags.DEFINE_string(
  "picture", "route.png", "File for a picture of a route; empty for none."
)
MAP = flags.DEFINE_string(
  "map",
  None,
  f"Map to walk: {', '.join(underground.MAPS)}, or a CSV file with columns "
  "from, to, line, direction; if not given, zone1, and interchanges for --to.",
)
PRETRAINED = flags.DEFINE_string(
  "pretrained",
  None,
  "Name of the weights, a folder below pretrained/; if not given, traversal "
  "for a walk, shortest_path for a route, inference for a relative.",
)
MEMORY_SIZE = flags.DEFINE_integer(
  "memory_size",
  None,
  "Slots of the memory; chosen to suffice if not given.",
  lower_bound=1,
)
SEED = flags.DEFINE_integer(
  "seed", 0, "What the labels and the order of the map are drawn from."
)
READINGS = flags.DEFINE_integer(
  "readings",
  8,
  "For a route: how often the network is told the map, each time under other "
  "labels and in another order; moves are decided by the mean of their "
  "chances.",
  lower_bound=1,
)
FAMILY = flags.DEFINE_string(
  "family", "tree", "Family to ask about: tree, or a CSV or GEDCOM file."
)
WHO = flags.DEFINE_string(
  "who", None, 'Whom to ask for, such as "Freya\'s maternal great uncle".'
)

_HERE = "on this map"


def walk_edges(
  place: underground.Map, start: str, steps: Sequence[str]
) -> np.ndarray:
  """Returns the edges of a walk, each (source, label, destination).

  Args:
    place: The map.
    start: Name of the first station.
    steps: Line and direction of each step.

  Returns:
    Shape ``[S, 3]``.

  Raises:
    ValueError: There is no such station, or no such edge where it is named.
  """
  if not steps:
    raise ValueError('Give at least one step, such as --then "Central E".')
  leads = {(s, label): d for s, label, d in place.edges.tolist()}
  here = find("station", start, place.nodes, _HERE)
  edges = []
  for step in steps:
    label = find("line and direction", step, place.labels, _HERE)
    if (here, label) not in leads:
      there = sorted(place.labels[l] for s, l in leads if s == here)
      raise ValueError(
        f"{place.labels[label]} does not leave {place.nodes[here]} on the map "
        f"{place.name}. From there: {', '.join(there)}."
      )
    edges.append((here, label, leads[here, label]))
    here = edges[-1][2]
  return np.array(edges)


def find_network(task: str) -> tuple[RunConfig, hk.Params]:
  """Returns the network that the flags name, which must be of this task.

  Raises:
    ValueError: There is none, or it is of another task.
  """
  if shared.CHECKPOINT_DIR.value is None:
    folder = pretrained_folder(PRETRAINED.value or task)
  elif PRETRAINED.value is None:
    folder = shared.checkpoint_dir()
  else:
    raise ValueError("Give only one of --checkpoint_dir and --pretrained.")
  config, params, _ = restore_params(folder)
  if config.task != task:
    raise ValueError(f"{folder} was trained on {config.task}, not {task}.")
  return config, params


def main(argv: Sequence[str]) -> None:
  """Asks as the flags say."""
  if flags.FLAGS["readings"].present and TO.value is None:
    raise ValueError("--readings is for a route: give --to.")
  if WHO.value is not None or flags.FLAGS["family"].present:
    _ask_family()
    return
  if FROM.value is None:
    raise ValueError('Give the station to start from, --from="Bond Street".')
  usual = "zone1" if TO.value is None else "interchanges"
  place = cities.load(usual if MAP.value is None else MAP.value)
  steps = [*THEN.value, *argv]
  if TO.value is None:
    _walk(place, steps)
  elif steps:
    raise ValueError("Give --then for a walk or --to for a route, not both.")
  else:
    _route(place, TO.value)


def _route(place: underground.Map, to: str) -> None:
  """Lets the network find the way, and tells and draws it."""
  source = find("station", FROM.value or "", place.nodes, _HERE)
  destination = find("station", to, place.nodes, _HERE)
  config, params = find_network("shortest_path")
  route = ask_route.plan(
    config,
    params,
    place,
    source,
    destination,
    memory_size=MEMORY_SIZE.value,
    readings=READINGS.value,
    seed=SEED.value,
  )
  _say_map(place, route.slots, READINGS.value)
  print(ask_route.in_words(place, route, destination))
  if not PICTURE.value:
    return
  try:
    ask_route.draw(place, route, destination, pathlib.Path(PICTURE.value))
  except ImportError:
    print('No picture: that needs matplotlib, pip install -e ".[plot]".')
  else:
    print(f"Drawn in {PICTURE.value}.")


def _say_map(place: underground.Map, slots: int, readings: int = 1) -> None:
  often = f", read {readings} times" if readings > 1 else ""
  print(
    f"{place.name}: {len(place.nodes)} stations, {len(place.edges)} edges, "
    f"{slots} slots of memory{often}"
  )


def _walk(place: underground.Map, steps: Sequence[str]) -> None:
  """Asks for a walk, and tells each step beside the truth."""
  edges = walk_edges(place, FROM.value or "", steps)
  config, params = find_network("traversal")
  rng = np.random.default_rng(SEED.value)
  node_labels = graphs.distinct_labels(rng, len(place.nodes), 1)
  edge_names = graphs.distinct_labels(rng, len(place.labels), 1)
  drawn = graphs.labelled(place.edges, node_labels, edge_names)
  truth = np.stack(
    [
      node_labels[0, edges[:, 0]],
      edge_names[0, edges[:, 1]],
      node_labels[0, edges[:, 2]],
    ],
    axis=-1,
  )
  batch = traversal.encode(
    rng, drawn, np.array([[len(edges)]]), walks=[truth[None]]
  )
  evaluate = training.make_evaluate(config.model, losses.digits)
  slots = MEMORY_SIZE.value
  if slots is None:
    check_memory_size(config, place.name, len(place.edges))
    slots = safe_memory_size(config, len(batch.inputs))
  logits, _ = evaluate(params, batch, slots)
  asked = np.asarray(batch.mask[:, 0]) > 0
  said = graphs.read_labels(np.asarray(logits)[asked, 0])
  sure = np.asarray(
    jax.nn.softmax(logits[asked, 0].reshape(len(edges), -1, graphs.BASE))
  ).max(axis=-1)

  stations = dict(zip(node_labels[0].tolist(), place.nodes, strict=True))
  lines = dict(zip(edge_names[0].tolist(), place.labels, strict=True))
  _say_map(place, slots)
  right = 0
  for number, (source, label, destination) in enumerate(edges):
    answer = said[number].tolist()
    words = (
      stations.get(answer[0], f"no station ({answer[0]:03d})"),
      lines.get(answer[1], f"no line ({answer[1]:03d})"),
      stations.get(answer[2], f"no station ({answer[2]:03d})"),
    )
    true = place.nodes[source], place.labels[label], place.nodes[destination]
    right += words == true
    line = f"{number + 1:3d}. {true[0]} - {true[1]} - {true[2]}"
    if words == true:
      line += f"   network: {words[2]}"
    else:
      line += "   WRONG, network: " + " - ".join(words)
    print(f"{line}  ({sure[number].prod():.1%} sure)")
  print(f"{right} of {len(edges)} steps right.")


def _ask_family() -> None:
  """Asks for a relative."""
  if WHO.value is None:
    raise ValueError('Give a question, --who="Freya\'s maternal great uncle".')
  family = family_files.load(FAMILY.value)
  config, params = find_network("inference")
  seed = relatives.trained_task(config).table_seed
  question, walks = relatives.find_walks(family, WHO.value, seed)
  answers, slots = relatives.ask(
    config,
    params,
    family,
    walks,
    seed=SEED.value,
    memory_size=MEMORY_SIZE.value,
  )
  print(
    f"{family.name}: {len(family.people)} people, {len(family.edges)} edges, "
    f"{slots} slots of memory"
  )
  print("\n".join(relatives.tell(family, question, answers)))


if __name__ == "__main__":
  shared.run_script(main, positional=True)
