"""A memory told step by step what to do, so that what happens is certain."""

import numpy as np
from absl.testing import absltest, parameterized

from tests import memories
from tests.float64 import Float64TestCase
from tests.memories import B, N, R, W

# Raw numbers that open and close a gate as far as makes no difference.
OPEN, CLOSED = 50.0, -50.0
BACKWARD, FORWARD, CONTENT = 200 * np.eye(3)


class StagedTest(Float64TestCase):
  """The inputs are the interface, so that each step does what it is told."""

  def setUp(self):
    super().setUp()
    self.words = np.array([[1.0, 0.0, 2.0], [-3.0, 1.0, 0.0], [0.0, 5.0, 1.0]])

  def _write(self, word, **more):
    return {
      "write_vectors": word,
      "erase_vectors": OPEN,
      "free_gate": CLOSED,
      "allocation_gate": OPEN,
      "write_gate": OPEN,
      **more,
    }

  def _read(self, mode, key=(0.0, 0.0, 0.0), free_gate=CLOSED):
    return {
      "free_gate": free_gate,
      "write_gate": CLOSED,
      "read_mode": np.tile(mode, R),
      "read_keys": np.tile(key, R),
      "read_strengths": 1e4,
    }

  def _run(self, steps, memory_size=N, **options):
    """Returns what head 0 reads, and the states, of the one sequence."""
    inputs = memories.direct_inputs(options, steps)
    words, states = memories.unroll(
      options,
      memories.direct_params(options),
      inputs,
      memory_size=memory_size,
    )
    return words[:, 0, 0], {name: v[:, 0] for name, v in states.items()}

  def test_words_are_found_by_content_and_followed_both_ways(self):
    steps = [self._write(word) for word in self.words]
    steps += [
      self._read(CONTENT, self.words[0]),
      self._read(FORWARD),
      self._read(FORWARD),
      self._read(BACKWARD),
    ]
    words, states = self._run(steps)
    np.testing.assert_allclose(words[3:], self.words[[0, 1, 2, 1]], atol=1e-4)
    weights = states["write_weights"][:3, 0]
    slots = weights.argmax(axis=-1)
    self.assertLen(set(slots.tolist()), 3)
    np.testing.assert_allclose(weights, np.eye(N)[slots], atol=1e-5)

  def test_what_is_freed_is_written_next(self):
    # As many words as slots, so that nothing else is free.
    steps = [self._write(word) for word in self.words]
    steps += [
      self._read(CONTENT, self.words[1]),
      self._write(self.words[0], free_gate=OPEN),
    ]
    _, states = self._run(steps, memory_size=3)
    weights = states["write_weights"][:, 0]
    np.testing.assert_allclose(weights[-1], weights[1], atol=1e-4)

  @parameterized.parameters(True, False)
  def test_deallocation_wipes_what_is_freed(self, deallocate):
    steps = [self._write(word) for word in self.words]
    steps += [
      self._read(CONTENT, self.words[1]),
      self._read(CONTENT, self.words[1], free_gate=OPEN),
    ]
    _, states = self._run(steps, deallocate=deallocate)
    slots = states["write_weights"][:3, 0].argmax(axis=-1)
    expected = np.zeros((N, W))
    expected[slots] = self.words
    expected[slots[1]] *= not deallocate
    np.testing.assert_allclose(states["memory"][-1], expected, atol=1e-4)
    np.testing.assert_allclose(states["usage"][-1, slots[1]], 0, atol=1e-5)

  def test_a_mask_finds_a_word_by_a_part_of_it(self):
    memory = np.array([[3.0, 1.0, 0.0], [-1.0, 3.0, 4.0]])
    steps = [self._write(word) for word in memory]
    query = self._read(CONTENT, [1.0, -9.0, -9.0])
    query["read_masks"] = np.tile([OPEN, CLOSED, CLOSED], R)
    options = {"content_mask": True, "mask_floor": 0.0}
    words, _ = self._run([*steps, query], **options)
    np.testing.assert_allclose(words[-1], memory[0], atol=1e-4)
    # Without the mask the key resembles nothing written and finds empty slots.
    query["read_masks"] = np.full(R * W, OPEN)
    words, _ = self._run([*steps, query], **options)
    np.testing.assert_allclose(words[-1], np.zeros(W), atol=1e-4)

  def test_read_modes_make_a_distribution(self):
    # Reading one slot of links that form a circle, each mode alone is one.
    rng = np.random.default_rng(0)
    fields = {
      "memory": rng.normal(size=(B, N, W)),
      "usage": np.zeros((B, N)),
      "read_weights": np.tile(np.eye(N)[2], (B, R, 1)),
      "write_weights": np.zeros((B, 3, N)),
      "link": np.tile(np.roll(np.eye(N), 1, axis=0), (B, 3, 1, 1)),
      "precedence_weights": np.zeros((B, 3, N)),
    }
    options = {"num_writes": 3}
    inputs = rng.normal(size=(1, B, sum(memories.layout(options).values()))) * 3
    params = memories.direct_params(options)
    params["memory_access/interface"]["w"] *= np.concatenate(
      [
        np.full(size, float(name != "write_gate"))
        for name, size in memories.layout(options).items()
      ]
    )
    params["memory_access/interface"]["b"] = memories.direct_inputs(
      options, [{"write_gate": -1e4}]
    )[0, 0]
    _, states = memories.unroll(options, params, inputs, fields)
    self.assertTrue((states["read_weights"] >= 0).all())
    np.testing.assert_allclose(
      states["read_weights"].sum(axis=-1), np.ones((1, B, R)), rtol=1e-12
    )


if __name__ == "__main__":
  absltest.main()
