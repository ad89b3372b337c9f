"""Differentiable Neural Computers and their family, in JAX and Haiku."""

from dnc_jax.access import (
  AccessState,
  Freeness,
  MemoryAccess,
  TemporalLinkage,
  TemporalLinkageState,
)
from dnc_jax.backward import unroll_in_chunks
from dnc_jax.baselines import GRU, LSTM, Baseline, BaselineState
from dnc_jax.config import ModelConfig, make_core
from dnc_jax.controllers import DeepLSTM, DeepLSTMState, FeedForward
from dnc_jax.dnc import DNC, DNCState
from dnc_jax.interop import from_deepmind, reset_read_heads, widen_words
from dnc_jax.mann import MANN, MANNAccess, MANNAccessState
from dnc_jax.native import native_unroll
from dnc_jax.ntm import NTM, NTMAccess, NTMAccessState
from dnc_jax.recording import Recorded, Recording, record
from dnc_jax.sam import SAM, SAMAccess, SAMAccessState
from dnc_jax.sdnc import SDNC, SDNCAccess, SDNCAccessState
from dnc_jax.sparse_links import SparseLinkage, SparseLinkageState, SparseLinks

__version__ = "0.1.0"

__all__ = [
  "DNC",
  "GRU",
  "LSTM",
  "MANN",
  "NTM",
  "SAM",
  "SDNC",
  "AccessState",
  "Baseline",
  "BaselineState",
  "DNCState",
  "DeepLSTM",
  "DeepLSTMState",
  "FeedForward",
  "Freeness",
  "MANNAccess",
  "MANNAccessState",
  "MemoryAccess",
  "ModelConfig",
  "NTMAccess",
  "NTMAccessState",
  "Recorded",
  "Recording",
  "SAMAccess",
  "SAMAccessState",
  "SDNCAccess",
  "SDNCAccessState",
  "SparseLinkage",
  "SparseLinkageState",
  "SparseLinks",
  "TemporalLinkage",
  "TemporalLinkageState",
  "from_deepmind",
  "make_core",
  "native_unroll",
  "record",
  "reset_read_heads",
  "unroll_in_chunks",
  "widen_words",
]
