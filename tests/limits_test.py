"""What machines can do at most, and how near to it a program comes."""

from absl.testing import absltest, parameterized

from scripts import benchmark, costs, limits

# 1,000 operations a second; 100 bytes of small arrays, 10 of larger.
CEILINGS = limits.Ceilings(1000.0, {64: 100.0, 256: 10.0})


def row_of(core="dnc", batch_size=2, num_steps=5, median_ms=4000.0):
  (cell,) = benchmark.cells([core], [16], [num_steps], batch_size)
  forward, update = (
    costs.Cost(1.0, median_ms, 1.0, 9000.0, None, operations, 70_000)
    for operations in (400, 2000)
  )
  return costs.Row(cell, 1, 10, 25, forward, update, peak_bytes=2 * 10**8)


class CeilingsTest(parameterized.TestCase):
  @parameterized.parameters((1, 100), (64, 100), (65, 10), (10**9, 10))
  def test_speed_is_that_of_the_array_it_fits_into(self, size, speed):
    self.assertEqual(CEILINGS.bandwidth(size), speed)

  def test_of_this_machine(self):
    found = limits.measure()
    # Any machine does a million and fewer than 10**17 in a second.
    for speed in (found.operations, *found.bandwidths.values()):
      self.assertBetween(speed, 1e6, 1e17)
    self.assertEqual(tuple(found.bandwidths), limits.ARRAY_BYTES)
    self.assertIn("GFLOP/s", limits.describe(found))


class LeastTest(parameterized.TestCase):
  def test_time_is_for_what_takes_longer(self):
    moved = ((100, 64), (20, 300))  # 1 second, and 2.
    self.assertEqual(limits.Least(10, moved).seconds(CEILINGS), 3)
    self.assertEqual(limits.Least(9000, moved).seconds(CEILINGS), 9)
    self.assertEqual(limits.Least(0, moved).moved_bytes, 120)

  def test_bytes_and_operations_of_a_row(self):
    least = limits.of_row(row_of())
    assert least is not None
    forward, update = least
    # A batch's state of 20 bytes, read and written by each of 5 steps.
    self.assertEqual(forward, limits.Least(400, ((200, 20),)))
    # 1,200 of the 2,000 operations would do; 125 bytes are kept.
    self.assertEqual(update, limits.Least(1200, ((300, 20), (250, 125))))

  def test_fractions_are_of_the_medians(self):
    found = limits.fractions(row_of(), CEILINGS)
    assert found is not None
    # Of 20 s each: 2 s for 200 bytes; 3 s and 25 s for 300 and 250.
    self.assertSequenceAlmostEqual(found, (2 / 20, 28 / 20))
    line = limits.line(row_of(), CEILINGS)
    self.assertEqual(
      line,
      "| dnc | 16 | 5 | 80 | 400 | 40 B | 110 B | 14 kB | 14 kB | 400 | "
      "5.6e+03 | 10.0% | 140.0% | 200 MB |",
    )
    self.assertEqual(line.count("|"), len(limits.COLUMNS) + 1)

  @parameterized.parameters("sam", "sdnc")
  def test_cores_that_touch_a_few_slots_have_none(self, core):
    row = row_of(core)
    self.assertIsNone(limits.fractions(row, CEILINGS))
    line = limits.line(row, CEILINGS)
    self.assertEqual(line.count("|"), len(limits.COLUMNS) + 1)
    self.assertEqual(line.count("| - "), 6)

  @parameterized.parameters((950, "950"), (12_300, "12.3 k"), (2e9, "2 G"))
  def test_numbers(self, number, text):
    self.assertEqual(limits.as_number(number), text)


if __name__ == "__main__":
  absltest.main()
