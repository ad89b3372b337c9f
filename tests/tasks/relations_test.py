"""Tests of the table of relations."""

import numpy as np
from absl.testing import absltest

from tasks import families, relations


def sequences(seed=0):
  return [tuple(x for x in row if x >= 0) for row in relations.table(seed)]


class RelationsTest(absltest.TestCase):
  def test_single_edges_come_first_then_100_of_each_length(self):
    table = relations.table(0)
    self.assertEqual(table.shape, (410, 5))
    found = sequences()
    self.assertEqual(found[:10], [(x,) for x in range(10)])
    for length, first in ((2, 10), (3, 110), (4, 210), (5, 310)):
      self.assertEqual(relations.first_label(length), first)
      block = found[first : first + 100]
      self.assertEqual({len(x) for x in block}, {length})
      self.assertTrue(all(0 <= x < 10 for row in block for x in row))
    self.assertLen(set(found), 410)

  def test_what_is_left_of_a_row_is_blank(self):
    for row, sequence in zip(relations.table(0), sequences()):
      self.assertEqual(
        row[len(sequence) :].tolist(), [-1] * (5 - len(sequence))
      )

  def test_holds_the_trees_relations(self):
    labels = relations.labels_by_sequence(0)
    for length, missing in ((1, 0), (2, 0), (3, 0), (4, 0), (5, 35)):
      ways = {walk.labels for walk in families.TREE.walks(length)}
      self.assertLen([way for way in ways if way not in labels], missing)

  def test_other_seeds_give_other_tables_that_hold_them_too(self):
    table, other = relations.table(0), relations.table(1)
    np.testing.assert_array_equal(table[:10], other[:10])
    self.assertLess((table == other)[10:, :2].all(axis=1).mean(), 0.2)
    labels = relations.labels_by_sequence(1)
    for walk in families.TREE.walks(4):
      self.assertEqual(sequences(1)[labels[walk.labels]], walk.labels)

  def test_is_the_same_in_every_process(self):
    # Networks know this table by heart: weights are worth nothing with another.
    self.assertEqual(sequences()[10], (1, 9))
    self.assertEqual(sequences()[409], (2, 1, 4, 2, 2))

  def test_cannot_be_written_to(self):
    with self.assertRaises(ValueError):
      relations.table(0)[0] = 1


if __name__ == "__main__":
  absltest.main()
