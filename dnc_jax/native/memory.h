// What a memory is, as kernels see it: sizes, options, and where things lie.
//
// Shapes: B sequences in the batch, N slots, W numbers in a slot, R read heads,
// H write heads, I numbers in the interface.

#ifndef DNC_JAX_NATIVE_MEMORY_H_
#define DNC_JAX_NATIVE_MEMORY_H_

#include <cstdint>
#include <vector>

#include "products.h"
#include "vectors.h"

namespace dnc_jax {

enum Links { kOff = 0, kDense = 1, kStopGradient = 2 };

struct Memory {
  int64_t slots, word_size, reads, writes;
  int64_t links;
  bool oneplus, usage_gradient, masked, deallocate;
  float mask_floor;

  int64_t modes() const { return links == kOff ? 0 : 1 + 2 * writes; }
  int64_t heads() const { return reads + writes; }
};

// A memory's state, of one sequence.
struct State {
  float *memory, *link, *read_weights, *write_weights, *usage,
      *precedence_weights;
};

// The quantities of the interface of one sequence, in the order of
// `_interface.layout`: each in its range, or its gradient.
struct Interface {
  float *write_vectors, *erase_vectors, *free_gate, *allocation_gate,
      *write_gate, *read_mode, *write_keys, *write_strengths, *read_keys,
      *read_strengths, *write_masks, *read_masks, *end;

  Interface(float* x, const Memory& m) {
    auto take = [&x](int64_t size) {
      float* own = x;
      x += size;
      return own;
    };
    const int64_t written = m.writes * m.word_size;
    const int64_t read = m.reads * m.word_size;
    write_vectors = take(written);
    erase_vectors = take(written);
    free_gate = take(m.reads);
    allocation_gate = take(m.writes);
    write_gate = take(m.writes);
    read_mode = take(m.reads * m.modes());
    write_keys = take(written);
    write_strengths = take(m.writes);
    read_keys = take(read);
    read_strengths = take(m.reads);
    write_masks = take(m.masked ? written : 0);
    read_masks = take(m.masked ? read : 0);
    end = x;
  }

  static int64_t Size(const Memory& m) {
    return Interface(nullptr, m).end - static_cast<float*>(nullptr);
  }
};

// What the backward pass needs of one sequence's step: rows of N.
struct Kept {
  // Of the step before.
  float *prev_read_weights, *prev_write_weights, *prev_precedence, *prev_usage;
  // Of this one. |M|² is of each head where masks differ, else of all.
  float *write_weights, *write_content, *allocation, *left, *read_content,
      *read_weights, *forward, *backward, *write_dots, *read_dots,
      *write_squares, *read_squares, *usage_after_write, *usage, *end;
  int32_t* order;  // Of slots, by usage, for each write head.

  Kept(float* x, const Memory& m) {
    auto take = [&x, &m](int64_t rows) {
      float* own = x;
      x += rows * m.slots;
      return own;
    };
    const int64_t linked = m.links == kOff ? 0 : m.writes;
    prev_read_weights = take(m.reads);
    prev_write_weights = take(m.writes);
    prev_precedence = take(linked);
    prev_usage = take(1);
    write_weights = take(m.writes);
    write_content = take(m.writes);
    allocation = take(m.writes);
    left = take(m.writes);
    order = reinterpret_cast<int32_t*>(take(m.writes));
    read_content = take(m.reads);
    read_weights = take(m.reads);
    forward = take(linked * m.reads);
    backward = take(linked * m.reads);
    write_dots = take(m.writes);
    read_dots = take(m.reads);
    write_squares = take(m.masked ? m.writes : 1);
    read_squares = take(m.masked ? m.reads : 1);
    usage_after_write = take(1);
    usage = take(1);
    end = x;
  }

  static int64_t Size(const Memory& m) {
    return Kept(nullptr, m).end - static_cast<float*>(nullptr);
  }
};

// Room to work in, one at a time in a thread, of any contents. What is taken
// begins where a vector may, so that none lies across two lines of a cache.
class Room {
 public:
  // For so many numbers in so many pieces.
  Room(int64_t size, int64_t pieces) {
    static thread_local std::vector<Vector> vectors;
    const size_t needed = size / kLanes + pieces;
    if (vectors.size() < needed) vectors.resize(needed);
    next_ = reinterpret_cast<float*>(vectors.data());
  }

  float* Take(int64_t size) {
    float* own = next_;
    next_ += (size + kLanes - 1) / kLanes * kLanes;
    return own;
  }

  float* TakeZeros(int64_t size) {
    float* own = Take(size);
    Fill(own, size, 0.0f);
    return own;
  }

 private:
  float* next_;
};

// Writes how much of each slot the free gates leave in use.
inline void Retention(const Memory& m, const float* free_gate,
                      const float* read_weights, float* retention) {
  Fill(retention, m.slots, 1.0f);
  for (int64_t r = 0; r < m.reads; ++r) {
    TakeOff(retention, free_gate[r], read_weights + r * m.slots, m.slots);
  }
}

// Likewise of its contents: all, unless freed slots are wiped.
inline void Wiped(const Memory& m, const float* free_gate,
                  const float* read_weights, float* retention) {
  Fill(retention, m.slots, 1.0f);
  if (m.deallocate) Retention(m, free_gate, read_weights, retention);
}

// What slots hold after a step's writes, which may be where they were before.
DNC_JAX_FLATTEN
inline void Write(const Memory& m, float* out, const float* words,
                  const float* weights, const float* retention,
                  const Interface& own) {
  const int64_t N = m.slots, W = m.word_size;
  InTiles(N, [&](auto tile, int64_t slot) {
    constexpr int S = decltype(tile)::value;
    Across(W, [&](auto lanes, int64_t w) {
      using V = decltype(lanes);
      V word[S], added[S] = {};
#pragma GCC unroll 4
      for (int s = 0; s < S; ++s) {
        word[s] = retention[slot + s] * Load<V>(words + (slot + s) * W + w);
      }
      for (int64_t h = 0; h < m.writes; ++h) {
        const V erase = Load<V>(own.erase_vectors + h * W + w);
        const V vector = Load<V>(own.write_vectors + h * W + w);
#pragma GCC unroll 4
        for (int s = 0; s < S; ++s) {
          const float weight = weights[h * N + slot + s];
          word[s] *= 1.0f - weight * erase;
          added[s] += weight * vector;
        }
      }
#pragma GCC unroll 4
      for (int s = 0; s < S; ++s) {
        Store(out + (slot + s) * W + w, word[s] + added[s]);
      }
    });
  });
}

}  // namespace dnc_jax

#endif  // DNC_JAX_NATIVE_MEMORY_H_
