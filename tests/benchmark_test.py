"""What a core costs: what is counted, what is skipped, how it is told."""

import json

from absl.testing import absltest, parameterized

from dnc_jax import training
from scripts import benchmark, costs, limits, markdown
from tests import native_kernels
from tests.script_case import ScriptTestCase

SIZES = {"hidden_size": 8, "word_size": 4, "num_reads": 2, "sparsity": 2}
OPTIMISER = training.OptimiserConfig()


def cell_of(core, memory_size=16, num_steps=4, batch_size=1):
  (cell,) = benchmark.cells(
    [core], [memory_size], [num_steps], batch_size, **SIZES
  )
  return cell


def kept(core, memory_size, batch_size=1):
  return costs.kept_bytes(cell_of(core, memory_size).config, batch_size)


class KeptBytesTest(parameterized.TestCase):
  def test_an_lstm_keeps_what_its_gradient_needs(self):
    few, many = kept("lstm", 1), kept("lstm", 1, batch_size=3)
    # No parameters, which are 4 * 8 * 16 numbers in the LSTM alone.
    self.assertLess(few, 4 * 8 * 16 * 4)
    # What the layers hear, 16 and 8 numbers, and its four gates of 8.
    self.assertGreaterEqual(few, 4 * (16 + 8 + 4 * 8))
    self.assertEqual(many, 3 * few)

  @parameterized.parameters("sam", "sdnc")
  def test_sparse_cores_keep_the_same_whatever_the_slots(self, core):
    # Beyond 128 · K slots the look-up has other arrays; it keeps none.
    self.assertEqual(kept(core, 64), kept(core, 2**20))

  @parameterized.parameters(
    # What is computed again needs the memory before it, at least.
    ("dnc_no_links", 1, 4),
    ("dnc", 2, 1),
  )
  def test_dense_cores_keep_more_the_more_slots(self, core, power, least):
    few, many = 2**10, 2**12
    grown = kept(core, many) - kept(core, few)
    self.assertGreaterEqual(grown, 4 * least * (many**power - few**power))


class SkippingTest(parameterized.TestCase):
  def test_by_what_is_kept_of_all_steps(self):
    cell = cell_of("dnc", 2**16, num_steps=10)
    row = costs.measure(cell, OPTIMISER, repeats=1, most_bytes=2**33)
    # Links alone are 2**34 bytes.
    self.assertRegex(str(row.skipped), r"needs \d+ GB, more than 8\.59 GB")
    self.assertIsNone(row.forward)
    self.assertIsNone(row.update)
    self.assertGreater(row.state_bytes, 2**34)
    self.assertIn(f"| skipped: {row.skipped} |", benchmark.line([row], row))

  def test_by_what_the_compiler_plans(self):
    cell = cell_of("lstm")
    by_count = row = costs.measure(cell, OPTIMISER, repeats=1, most_bytes=1)
    self.assertIsNotNone(by_count.skipped)
    # Parameters are not in the count.
    enough = by_count.state_bytes + cell.num_steps * by_count.kept_bytes
    row = costs.measure(cell, OPTIMISER, repeats=1, most_bytes=enough)
    self.assertIsNotNone(row.skipped)
    self.assertNotEqual(row.skipped, by_count.skipped)

  def test_by_what_is_held_of_a_chunk(self):
    cell = cell_of("dnc", num_steps=400)
    half = 400 * kept("dnc", 16) // 2
    chunks = training.OptimiserConfig(chunk_length=20)
    whole, in_chunks = (
      costs.measure(cell, optimiser, repeats=1, most_bytes=half)
      for optimiser in (OPTIMISER, chunks)
    )
    self.assertIsNotNone(whole.skipped)
    self.assertIsNone(in_chunks.skipped)
    self.assertIsNotNone(in_chunks.update)


class KernelsTest(absltest.TestCase):
  @native_kernels.needed
  def test_native_ones_are_run_and_xlas_program_counted(self):
    xla, native = (
      costs.measure(
        cell_of("dnc"),
        training.OptimiserConfig(kernels=kernels),
        repeats=1,
        most_bytes=2**30,
      )
      for kernels in ("xla", "native")
    )
    for ours, known in (
      (native.forward, xla.forward),
      (native.update, xla.update),
    ):
      assert ours is not None
      assert known is not None
      self.assertEqual(ours.operations, known.operations)
      self.assertEqual(ours.named_bytes, known.named_bytes)
      self.assertNotEqual(ours.temporary_bytes, known.temporary_bytes)


def row_of(num_steps, forward_ms, update_ms):
  forward, update = (
    costs.Cost(2.0, ms + 1, ms, ms + 3, 2**20, 300, 7000)
    for ms in (forward_ms, update_ms)
  )
  return costs.Row(cell_of("sam", 4096, num_steps), 10, 20, 30, forward, update)


class FormatTest(parameterized.TestCase):
  def test_a_row_of_the_table(self):
    rows = [row_of(10, 6, 9)]
    line = benchmark.line(rows, rows[0])
    self.assertEqual(line.count("|"), len(benchmark.COLUMNS) + 1)
    self.assertStartsWith(
      line, "| sam | 4,096 | 10 | 20 B | 30 B | 7 (6 to 9) | 10 (9 to 12) | - |"
    )
    self.assertEndsWith(line, "| 1.05 MB | 1.05 MB | 2.0 | 2.0 |")
    for text in markdown.head(benchmark.COLUMNS).splitlines():
      self.assertEqual(text.count("|"), len(benchmark.COLUMNS) + 1)

  def test_one_more_step_is_without_what_is_done_once(self):
    # 20 ms of each call, and 4 or 7 of each step.
    rows = [row_of(10, 6, 9), row_of(40, 4.5, 7.5)]
    self.assertIsNone(costs.more_ms(rows, rows[0]))
    self.assertEqual(costs.more_ms(rows, rows[1]), (4, 7))
    self.assertIn("| 4 | 7 |", benchmark.line(rows, rows[1]))
    other = rows[1]._replace(cell=cell_of("sdnc", 4096, 40))
    self.assertIsNone(costs.more_ms([*rows, other], other))

  @parameterized.parameters(
    (None, "-"), (1000, "1,000 B"), (9_999, "9,999 B"), (10_000, "10 kB"),
    (999_000, "999 kB"), (2**20, "1.05 MB"), (2**34, "17.2 GB"),
  )  # fmt: skip
  def test_bytes(self, number, text):
    self.assertEqual(costs.as_bytes(number), text)


class NamedSizesTest(parameterized.TestCase):
  def test_are_those_of_their_names(self):
    default, paper = benchmark.named_cells(
      ["dnc"], ["default", "paper"], sparsity=4, link_size=8
    )
    self.assertEqual(default.name, "dnc, default")
    self.assertEqual((default.batch_size, default.num_steps), (16, 9))
    self.assertEqual((paper.batch_size, paper.num_steps), (8, 100))
    model = paper.config
    self.assertEqual(
      (model.hidden_size, model.memory_size, model.word_size, model.num_reads),
      (256, 256, 64, 4),
    )
    self.assertEqual(model.output_size, costs.NUM_BITS)


class ScriptTest(ScriptTestCase):
  def test_measures_and_skips(self):
    told = self.run_script(
      "benchmark",
      "--cores=lstm,dnc",
      "--memory_sizes=65536",
      "--num_steps=2",
      "--hidden_size=4",
      "--repeats=2",
      "--json=found.json",
    )
    lines = told.splitlines()
    self.assertEqual("\n".join(lines[:2]), markdown.head(benchmark.COLUMNS))
    self.assertStartsWith(lines[2], "| lstm | - | 2 | ")
    self.assertStartsWith(lines[3], "| dnc | 65,536 | 2 | 17.2 GB | ")
    ceilings, table = lines[5], lines[7:]
    self.assertRegex(
      ceilings, r"product [\d.]+ GFLOP/s, a copy, .* GB/s \(262 kB\), .*\)\.$"
    )
    # What was skipped has no limit.
    self.assertEqual("\n".join(table[:2]), markdown.head(limits.COLUMNS))
    self.assertStartsWith(table[2], "| lstm | - | 2 | ")
    self.assertLen(table, 3)
    found = json.loads((self.folder / "found.json").read_text())
    self.assertEqual(found["sizes"]["hidden_size"], 4)
    self.assertContainsSubset({"jax", "platform", "device"}, found)
    lstm, dnc = found["rows"]
    self.assertIsNone(lstm["skipped"])
    for cost in (lstm["forward"], lstm["update"]):
      self.assertBetween(cost["median_ms"], cost["least_ms"], cost["most_ms"])
      self.assertGreater(cost["least_ms"], 0)
      self.assertGreater(cost["compile_seconds"], 0)
    self.assertGreater(
      lstm["update"]["temporary_bytes"], lstm["forward"]["temporary_bytes"]
    )
    self.assertIsNone(dnc["update"])
    self.assertIsNone(dnc["of_limit"])
    # Nothing is faster than the machine.
    for fraction in lstm["of_limit"]:
      self.assertBetween(fraction, 0, 1)
    # It holds JAX, at least.
    self.assertGreater(lstm["peak_bytes"], 5e7)
    self.assertIn("more than 4.29 GB", dnc["skipped"])

  @parameterized.parameters(
    (("--cores=dnc,hopfield",), "cores must be of dnc, .*got 'hopfield'"),
    (("--cores=",), "cores must be at least one of dnc, .*got none"),
    (("--memory_sizes=16,few",), "memory_sizes must be .* got 'few'"),
    (("--memory_sizes=0",), "memory_sizes must be .* at least 1, got '0'"),
    (("--num_steps=",), "num_steps must be at least one number, got none"),
    (("--batch_size=0",), "batch_size"),
    (("--most_bytes=0",), "most_bytes"),
    (
      ("--cores=sam", "--memory_sizes=2"),
      "sparsity must be at most memory_size, 2",
    ),
    (("--json=nowhere/found.json",), "json must be a file in a folder"),
    (("--sizes=default,huge",), "sizes must be of default, .* got 'huge'"),
    (("--sizes=",), "sizes must be at least one of default, .* got none"),
    (
      ("--sizes=default", "--word_size=16"),
      "sizes say what word_size is. Give one of --sizes and --word_size",
    ),
    (("--at_least=1",), "at_least needs a --peer"),
    (
      ("--peer=plain", "--cores=dnc,sam"),
      "peer plain is a DNC: cores must be dnc, got 'dnc,sam'",
    ),
  )
  def test_refusals(self, flags, pattern):
    self.check_refusal(pattern, "benchmark", *flags)


if __name__ == "__main__":
  absltest.main()
