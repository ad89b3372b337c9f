// What a memory is, as kernels see it: sizes, options, and where things lie.
//
// Shapes: B sequences in the batch, N slots, W numbers in a slot, R read heads,
// H write heads, I numbers in the interface.

#ifndef DNC_JAX_NATIVE_MEMORY_H_
#define DNC_JAX_NATIVE_MEMORY_H_

#include <cstdint>
#include <vector>

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
  float *write_weights, *write_content, *allocation, *read_content,
      *read_weights, *forward, *backward, *write_dots, *read_dots,
      *write_squares, *read_squares, *usage_after_write, *usage, *end;

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

// Room to work in, one at a time in a thread, of any contents.
class Room {
 public:
  explicit Room(int64_t size) {
    static thread_local std::vector<float> numbers;
    if (static_cast<int64_t>(numbers.size()) < size) numbers.resize(size);
    next_ = numbers.data();
  }

  float* Take(int64_t size) {
    float* own = next_;
    next_ += size;
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

// Keys as memories are compared with: k∘m∘m, m∘m, and |k∘m|². Without masks
// they are the keys, and nothing.
struct Keys {
  const float *keys, *masks;
  float *effective, *squared_masks, *squares;
  int64_t count;

  void Prepare(const Memory& m) {
    for (int64_t h = 0; h < count; ++h) {
      float total = 0.0f;
      for (int64_t w = 0; w < m.word_size; ++w) {
        const int64_t i = h * m.word_size + w;
        if (m.masked) squared_masks[i] = masks[i] * masks[i];
        effective[i] = m.masked ? keys[i] * squared_masks[i] : keys[i];
        total += keys[i] * effective[i];
      }
      squares[h] = total;
    }
  }

  // Writes k·M[i] of each head, and |M[i]|².
  void Compare(const Memory& m, const float* word, int64_t slot, float* dots,
               float* of_word_squares) const {
    for (int64_t h = 0; h < count; ++h) dots[h * m.slots + slot] = 0.0f;
    AddDots(dots + slot, m.slots, effective, count, word, m.word_size);
    if (!m.masked) {
      of_word_squares[slot] = Dot(word, word, m.word_size);
      return;
    }
    for (int64_t h = 0; h < count; ++h) {
      const float* own = squared_masks + h * m.word_size;
      float total = 0.0f;
      for (int64_t w = 0; w < m.word_size; ++w) {
        total += own[w] * word[w] * word[w];
      }
      of_word_squares[h * m.slots + slot] = total;
    }
  }
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

// What a slot holds after a step's writes.
inline void EraseAndAdd(const Memory& m, float* __restrict out,
                        const float* __restrict word, const float* weights,
                        int64_t slot, const Interface& own, float retention) {
  const int64_t size = m.word_size;
  if (m.writes == 1) {
    const float weight = weights[slot];
    const float* __restrict erase = own.erase_vectors;
    const float* __restrict vector = own.write_vectors;
    for (int64_t w = 0; w < size; ++w) {
      out[w] = retention * word[w] * (1.0f - weight * erase[w]) +
               weight * vector[w];
    }
    return;
  }
  for (int64_t w = 0; w < size; ++w) out[w] = retention * word[w];
  for (int64_t h = 0; h < m.writes; ++h) {
    TakeOff(out, weights[h * m.slots + slot], own.erase_vectors + h * size,
            size);
  }
  AddRows(out, weights + slot, m.slots, own.write_vectors, m.writes, size);
}

}  // namespace dnc_jax

#endif  // DNC_JAX_NATIVE_MEMORY_H_
