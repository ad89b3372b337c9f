"""Settings that are known to work, by name, for ``--preset``.

Each is flags by name; flags given on the command line win over them.
"""

from typing import Any

# What learns to walk graphs on a CPU: docs/results.md has the runs.
_GRAPH_MODEL = {
  "task": "traversal",
  "small_pools": True,
  "num_queries": 4,
  "optimizer": "adam",
  "learning_rate": 1e-3,
  "max_grad_norm": 10,
  "advance_threshold": 0.7,
  "hidden_size": 128,
  "word_size": 32,
  "num_read_heads": 4,
  "strength": "oneplus",
  "links": "off",
  "content_mask": True,
  "deallocate": True,
}

# The same for relations, with the sizes of the weights that they start from.
_KIN_MODEL = {
  **{flag: x for flag, x in _GRAPH_MODEL.items() if flag != "small_pools"},
  "task": "inference",
  "planning_steps": 5,
  "word_size": 64,
  "mask_floor": 0.0,
  "initial_weights": "pretrained/traversal",
  "advance_threshold": 0.5,
  "advance_interval": 50,
  "warmup_steps": 100,
  "batch_size": 16,
  "length_multiple": 8,
}

# What plans routes; docs/routes.md says why.
_ROUTES = {
  **_GRAPH_MODEL,
  "task": "shortest_path",
  "lessons": "worked",
  "worked": True,
  "worked_rounds": 2,
  "num_queries": 6,
  "planning_steps": 7,
  "extra_steps": 0,
  "planner_fraction": 1.0,
  "skip_size": 256,
  "num_buckets": 24,
  "worked_buckets": 24,
  "word_size": 128,
  "mask_floor": 0.0,
  "learning_rate": 2e-3,
  "warmup_steps": 50,
  "batch_size": 32,
  "max_grad_norm": 1,
  "advance_threshold": 0.4,
  "advance_interval": 50,
}

# What Graves et al. (2014) have for several tasks, but for the optimiser.
_NTM_MODEL = {
  "core": "ntm",
  "hidden_size": 100,
  "memory_size": 128,
  "word_size": 20,
  "optimizer": "adam",
  "learning_rate": 1e-3,
  "max_grad_norm": 10,
}

PRESETS: dict[str, dict[str, Any]] = {
  # Graves et al. 2016, Extended Data Tables 2 and 3.
  "paper_traversal": {
    "task": "traversal",
    "lessons": "paper",
    "controller": "deep_lstm",
    "num_layers": 3,
    "hidden_size": 256,
    "memory_size": 256,
    "word_size": 50,
    "num_read_heads": 5,
    "strength": "oneplus",
    "usage_gradient": True,
    "learning_rate": 1e-5,
    "batch_size": 2,
  },
  # Extended Data Tables 2 and 4.
  "paper_inference": {
    "task": "inference",
    "lessons": "paper",
    "controller": "deep_lstm",
    "num_layers": 3,
    "hidden_size": 256,
    "memory_size": 128,
    "word_size": 50,
    "num_read_heads": 5,
    "strength": "oneplus",
    "usage_gradient": True,
    "learning_rate": 1e-5,
    "batch_size": 32,
  },
  # Relations: docs/families.md.
  "inference": {**_KIN_MODEL, "lessons": "family", "num_queries": 6},
  "inference_worked": {
    **_KIN_MODEL,
    "lessons": "worked",
    "worked": True,
    "num_queries": 4,
    "learning_rate": 3e-3,
  },
  # Graves et al., "Neural Turing Machines" (2014): the copy task's sizes.
  "copy": {
    "task": "copy",
    "num_bits": 8,
    "min_length": 1,
    "max_length": 20,
    "memory_size": 64,
    "word_size": 20,
    "num_read_heads": 1,
    "hidden_size": 100,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "max_grad_norm": 10,
  },
  # Graves et al. 2016, Extended Data Fig. 1: ten patterns said again in turn,
  # with ten slots and nothing but the memory to remember them by. One to ten of
  # them from the start: a network that had first learned a single pattern, for
  # which nothing has to be written again, did not learn a second.
  "allocation": {
    "task": "copy",
    "num_bits": 5,
    "min_length": 5,
    "max_length": 5,
    "max_instances": 10,
    "controller": "feed_forward",
    "num_layers": 2,
    "memory_size": 10,
    "word_size": 10,
    "num_read_heads": 1,
    "optimizer": "adam",
    "learning_rate": 3e-3,
    "max_grad_norm": 10,
  },
  # Extended Data Fig. 4: reading in the order of writing, by links alone.
  "links": {
    "task": "copy",
    "num_bits": 6,
    "max_length": 100,
    "controller": "feed_forward",
    "num_layers": 2,
    "memory_size": 128,
    "word_size": 20,
    "num_read_heads": 1,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "max_grad_norm": 10,
  },
  # Csordás & Schmidhuber (2019): repeat copy several times on end.
  "large_repeat_copy": {
    "task": "repeat_copy",
    "num_bits": 8,
    "min_length": 2,
    "max_length": 14,
    "max_instances": 8,
    "hidden_size": 32,
    "num_read_heads": 1,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "max_grad_norm": 10,
  },
  # The same paper's code: as many slots as pairs, so that each must be used.
  "key_value_recall": {
    "task": "key_value_recall",
    "num_bits": 6,
    "min_items": 2,
    "max_items": 16,
    "hidden_size": 32,
    "memory_size": 16,
    "word_size": 32,
    "num_read_heads": 1,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "max_grad_norm": 10,
  },
  # Graves et al., "Neural Turing Machines" (2014), Table 2: the networks with
  # LSTM controllers, one layer and one of each head, or two and five.
  "dynamic_n_grams": {
    **_NTM_MODEL,
    "task": "dynamic_n_grams",
    "num_read_heads": 1,
  },
  "priority_sort": {
    **_NTM_MODEL,
    "task": "priority_sort",
    "controller": "deep_lstm",
    "num_layers": 2,
    "num_read_heads": 5,
    "num_write_heads": 5,
  },
  # Runs, each from the weights of the one before, that make a network
  # which walks any map of a city: docs/results.md has the commands.
  "city": {
    **_GRAPH_MODEL,
    "lessons": "city",
    "warmup_steps": 200,
    "batch_size": 32,
  },
  "city_large": {
    **_GRAPH_MODEL,
    "lessons": "large",
    "learning_rate": 7e-4,
    "warmup_steps": 100,
    "batch_size": 16,
    "length_multiple": 32,
    "advance_interval": 50,
  },
  "city_final": {
    **_GRAPH_MODEL,
    "lessons": "final",
    "learning_rate": 5e-4,
    "warmup_steps": 50,
    "decay_steps": 1300,
    "batch_size": 16,
    "length_multiple": 32,
  },
  "city_polish": {
    **_GRAPH_MODEL,
    "lessons": "polish",
    "num_queries": 6,
    "learning_rate": 4e-4,
    "warmup_steps": 20,
    "decay_steps": 550,
    "batch_size": 16,
    "length_multiple": 32,
  },
  # Longer words, and labels that are close: for triples that differ in one
  # digit. Longer words can start from weights of shorter ones.
  "city_close": {
    **_GRAPH_MODEL,
    "lessons": "close_large",
    "close_labels": True,
    "num_queries": 6,
    "word_size": 64,
    "mask_floor": 0.0,
    "learning_rate": 5e-4,
    "warmup_steps": 30,
    "decay_steps": 1500,
    "batch_size": 16,
    "length_multiple": 32,
  },
  # Routes, from scratch: docs/routes.md.
  "routes": _ROUTES,
  # The same for a GPU, larger: docs/results.md has the commands.
  "routes_large": {
    **_ROUTES,
    "hidden_size": 256,
    "skip_size": 512,
    "skip_layers": 2,
    "num_buckets": 32,
    "worked_buckets": 32,
    "word_size": 256,
    "num_read_heads": 5,
    "learning_rate": 1e-3,
    "warmup_steps": 30,
    "batch_size": 256,
  },
  # From weights that look triples up, as those of city_close do.
  "routes_from_traversal": {
    **_GRAPH_MODEL,
    "task": "shortest_path",
    "lessons": "city",
    "advance_threshold": 0.5,
    "word_size": 64,
    "mask_floor": 0.0,
    "learning_rate": 5e-4,
    "warmup_steps": 100,
    "batch_size": 32,
    "max_grad_norm": 1,
    "length_multiple": 16,
    "advance_interval": 50,
  },
}
