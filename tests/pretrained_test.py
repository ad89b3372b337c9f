"""Weights that ship do what their results.json claims.

Claims of many sequences, which take minutes, also tell of the first few. Those
are checked by default, and all by ``pytest -m slow``.
"""

import json
import pathlib
from typing import Any
from unittest import mock

import numpy as np
import pytest
from absl.testing import parameterized

from dnc_jax import training
from scripts import measure, relatives, saved
from tasks import family_files, graphs, routes, underground
from tasks.shortest_path import ShortestPath
from tests.compiling import compile_fully

ROOT = pathlib.Path(__file__).parent.parent / "pretrained"
NAMES = sorted(path.parent.name for path in ROOT.glob("*/weights.npz"))

# A sequence is right or wrong by the largest of logits that another processor
# rounds otherwise: so many of 1,000 may tip over.
TOLERANCE = 0.003
# Of a few routes, each of several moves that it is less sure of, so many.
ROUTES = 3


Cases = list[tuple[str, str, dict]]


def claims() -> Cases:
  """Returns a case for each claim: its name, the weights' name, the claim."""
  return [
    (_case(name, claim), name, claim)
    for name in NAMES
    for claim in json.loads((ROOT / name / "results.json").read_text())
    if claim["checked"]
  ]


def few() -> Cases:
  """Returns each claim, of the first sequences where it tells of them."""
  return [
    (case, name, claim | claim.get("first", {}))
    for case, name, claim in claims()
  ]


def many() -> Cases:
  """Returns the claims that `few` shortens, whole."""
  return [case for case in claims() if "first" in case[-1]]


def _case(name: str, claim: dict) -> str:
  if "family" in claim:
    return f"{name}_{claim['family']}_{claim['relation_length']}"
  case = f"{name}_{claim['map']}_{claim['path_length']}"
  readings = claim.get("readings", 1)
  return case if readings == 1 else f"{case}_read_{readings}_times"


_make_evaluate: Any = training.make_evaluate


def make_evaluate(config, goal):
  """Returns what `training.make_evaluate` does for users, as there is much."""
  evaluate = _make_evaluate(config, goal)
  return compile_fully(evaluate.__wrapped__, static_argnums=2)


@mock.patch.object(training, "make_evaluate", make_evaluate)
class PretrainedTest(parameterized.TestCase):
  @parameterized.named_parameters(*few())
  def test_does_what_it_claims(self, name: str, claim: dict):
    self.check(name, claim)

  @parameterized.named_parameters(*many())
  @pytest.mark.slow
  def test_does_all_that_it_claims(self, name: str, claim: dict):
    self.check(name, claim)

  def check(self, name: str, claim: dict):
    config, params, _ = saved.restore_params(saved.pretrained_folder(name))
    delta = TOLERANCE
    how = {
      "episodes": claim["episodes"],
      "batch_size": 50,
      "seed": claim["seed"],
      "memory_size": None,
    }
    readings = claim.get("readings", 1)
    if "family" in claim:
      measured = relatives.measure_family(
        config,
        params,
        family_files.load(claim["family"]),
        length=claim["relation_length"],
        **how,
      )[-1]
    else:
      edges = underground.load(claim["map"]).edges
      task, length = config.make_task(), claim["path_length"]
      if isinstance(task, ShortestPath):
        one = graphs.labelled_copies(np.random.default_rng(0), edges, 1)
        between = routes.distances(one)[0]
        pairs = measure.route_pairs(between, length, claim["seed"])
        self.assertGreaterEqual(len(pairs), claim["episodes"])
        sampler = measure.route_sampler(task, edges, pairs, readings)
        delta = ROUTES / claim["episodes"]
        how["readings"] = readings
      else:
        sampler = measure.map_sampler(edges, length)
      measured = measure.measure(config, params, task, sampler, **how)
    self.assertAlmostEqual(measured.accuracy, claim["accuracy"], delta=delta)

  def test_every_map_of_london_has_a_claim(self):
    results = json.loads((ROOT / "traversal" / "results.json").read_text())
    self.assertContainsSubset(
      {("interchanges", 7), ("zone1", 7), ("full", 7), ("zone1", 20)},
      {(x["map"], x["path_length"]) for x in results if x["checked"]},
    )

  def test_no_weights_lack_claims(self):
    self.assertIn("traversal", NAMES)
    for name in NAMES:
      self.assertTrue((ROOT / name / "README.md").is_file(), name)
      self.assertTrue((ROOT / name / "results.json").is_file(), name)
