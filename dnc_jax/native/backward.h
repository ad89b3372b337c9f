// The gradient of a step of a memory, of one sequence. What begins with `of_`
// is the gradient of what is named after it.

#ifndef DNC_JAX_NATIVE_BACKWARD_H_
#define DNC_JAX_NATIVE_BACKWARD_H_

#include "links.h"
#include "memory.h"

namespace dnc_jax {

// What `Forward` kept, and the gradients of what it wrote.
struct Known {
  float *heard, *kept;
  const float *of_words_read, *of_memory, *of_read_weights, *of_write_weights,
      *of_usage, *of_link, *of_precedence_weights;
};

// The gradients of what `Forward` was given, to be written; those of memory and
// links over these.
struct Gradients {
  float *said, *memory, *read_weights, *write_weights, *usage, *link,
      *precedence_weights;
};

inline void ActivateBackward(const Memory& m, float* __restrict of_said,
                             const Interface& own, const Interface& of) {
  const float* start = own.write_vectors;
  const float* of_start = of.write_vectors;
  Copy(of_said, of_start, own.end - start);
  for (int64_t i = own.erase_vectors - start; i < own.read_mode - start; ++i) {
    of_said[i] = of_start[i] * start[i] * (1.0f - start[i]);
  }
  const int64_t modes = m.modes();
  for (int64_t r = 0; r < m.reads && modes; ++r) {
    const int64_t first = own.read_mode - start + r * modes;
    const float mean = Dot(start + first, of_start + first, modes);
    for (int64_t i = first; i < first + modes; ++i) {
      of_said[i] = start[i] * (of_start[i] - mean);
    }
  }
  // The gradient of softplus is the sigmoid: 1 - exp(-softplus).
  const float added = m.oneplus ? 1.0f : 0.0f;
  for (int64_t h = 0; h < m.writes; ++h) {
    const int64_t i = own.write_strengths - start + h;
    of_said[i] = of_start[i] * -std::expm1(added - start[i]);
  }
  for (int64_t r = 0; r < m.reads; ++r) {
    const int64_t i = own.read_strengths - start + r;
    of_said[i] = of_start[i] * -std::expm1(added - start[i]);
  }
  const float range = 1.0f - m.mask_floor;
  for (int64_t i = own.write_masks - start; i < own.end - start; ++i) {
    const float above = start[i] - m.mask_floor;  // range × sigmoid.
    of_said[i] =
        range > 0.0f ? of_start[i] * above * (1.0f - above / range) : 0.0f;
  }
}

// Gradients of keys and masks, given those of what `Keys::Prepare` wrote.
inline void KeysBackward(const Memory& m, const Keys& keys,
                         const float* of_effective,
                         const float* of_squared_masks, const float* of_squares,
                         float* of_keys, float* of_masks) {
  for (int64_t h = 0; h < keys.count; ++h) {
    for (int64_t w = 0; w < m.word_size; ++w) {
      const int64_t i = h * m.word_size + w;
      const float key = keys.keys[i];
      if (m.masked) {
        of_keys[i] = keys.squared_masks[i] *
                     (of_effective[i] + 2.0f * key * of_squares[h]);
        of_masks[i] = 2.0f * keys.masks[i] *
                      (of_squared_masks[i] + key * of_effective[i] +
                       key * key * of_squares[h]);
      } else {
        of_keys[i] = of_effective[i] + 2.0f * key * of_squares[h];
      }
    }
  }
}

// Adds the gradients of a word, of keys and of squared masks.
inline void CompareBackward(const Memory& m, const Keys& keys,
                            const float* __restrict word, int64_t slot,
                            const float* of_dots, const float* of_squares,
                            float* __restrict of_word, float* of_effective,
                            float* of_squared_masks) {
  const int64_t W = m.word_size;
  AddRows(of_word, of_dots + slot, m.slots, keys.effective, keys.count, W);
  AddToRows(of_effective, keys.count, of_dots + slot, m.slots, word, W);
  if (!m.masked) {
    Add(of_word, 2.0f * of_squares[slot], word, W);
    return;
  }
  for (int64_t h = 0; h < keys.count; ++h) {
    const float scale = of_squares[h * m.slots + slot];
    const float* __restrict squared = keys.squared_masks + h * W;
    float* __restrict of_squared = of_squared_masks + h * W;
    for (int64_t w = 0; w < W; ++w) {
      of_word[w] += 2.0f * scale * squared[w] * word[w];
      of_squared[w] += scale * word[w] * word[w];
    }
  }
}

// Writes the gradient of a slot before writes, adds the others, and returns
// that of the retention. `others` is room for W numbers.
inline float WriteBackward(const Memory& m, const Interface& own,
                           const Interface& of, int64_t slot,
                           const float* weights, float* of_weights,
                           float retention, const float* __restrict word,
                           const float* __restrict of_word,
                           float* __restrict others,
                           float* __restrict of_before) {
  const int64_t W = m.word_size, H = m.writes;
  for (int64_t h = 0; h < H; ++h) {
    const float weight = weights[h * m.slots + slot];
    const float* __restrict erase = own.erase_vectors + h * W;
    const float* __restrict vector = own.write_vectors + h * W;
    float* __restrict of_erase = of.erase_vectors + h * W;
    float* __restrict of_vector = of.write_vectors + h * W;
    Fill(others, W, retention);
    for (int64_t k = 0; k < H; ++k) {
      if (k == h) continue;
      TakeOff(others, weights[k * m.slots + slot], own.erase_vectors + k * W,
              W);
    }
    float of_weight = 0.0f;
    for (int64_t w = 0; w < W; ++w) {
      const float gradient = of_word[w];
      const float erased = gradient * word[w] * others[w];
      of_before[w] = gradient * (1.0f - weight * erase[w]) * others[w];
      of_vector[w] += weight * gradient;
      of_erase[w] -= weight * erased;
      of_weight += gradient * vector[w] - erased * erase[w];
    }
    of_weights[h * m.slots + slot] += of_weight;
  }
  if (!m.deallocate) return 0.0f;
  Copy(others, word, W);
  for (int64_t h = 0; h < H; ++h) {
    TakeOff(others, weights[h * m.slots + slot], own.erase_vectors + h * W, W);
  }
  return Dot(of_word, others, W);
}

// Writes the gradient of the usage before and of last step's write weights, and
// adds those of the free gates and of last step's read weights. `others` is
// room for N numbers, `of_retention` is used up.
inline void UsageBackward(const Memory& m, const Kept& kept,
                          const float* free_gate,
                          const float* __restrict of_usage,
                          float* __restrict of_retention,
                          float* __restrict others,
                          float* __restrict of_prev_usage,
                          float* __restrict of_write_weights,
                          float* of_free_gate,
                          float* __restrict of_read_weights) {
  const int64_t N = m.slots;
  const float* __restrict usage = kept.prev_usage;
  const float* __restrict after_write = kept.usage_after_write;
  for (int64_t i = 0; i < N; ++i) {
    of_retention[i] += of_usage[i] * after_write[i];
    others[i] = of_usage[i];
  }
  for (int64_t r = 0; r < m.reads; ++r) {
    TakeOff(others, free_gate[r], kept.prev_read_weights + r * N, N);
  }
  // Now the gradient of the usage after the write.
  for (int64_t h = 0; h < m.writes; ++h) {
    float* __restrict of_weights = of_write_weights + h * N;
    for (int64_t i = 0; i < N; ++i) {
      of_weights[i] = m.usage_gradient ? others[i] * (1.0f - usage[i]) : 0.0f;
    }
    for (int64_t k = 0; k < m.writes; ++k) {
      if (k == h) continue;
      TakeOff(of_weights, 1.0f, kept.prev_write_weights + k * N, N);
    }
  }
  Copy(of_prev_usage, others, N);
  for (int64_t h = 0; h < m.writes; ++h) {
    TakeOff(of_prev_usage, 1.0f, kept.prev_write_weights + h * N, N);
  }
  for (int64_t r = 0; r < m.reads; ++r) {
    Copy(others, of_retention, N);
    for (int64_t k = 0; k < m.reads; ++k) {
      if (k == r) continue;
      TakeOff(others, free_gate[k], kept.prev_read_weights + k * N, N);
    }
    of_free_gate[r] -= Dot(others, kept.prev_read_weights + r * N, N);
    Add(of_read_weights + r * N, -free_gate[r], others, N);
  }
}

inline void Backward(const Memory& m, const Known& x, const Gradients& y) {
  const int64_t N = m.slots, W = m.word_size, R = m.reads, H = m.writes;
  const int64_t heads = m.heads(), modes = m.modes();
  const int64_t numbers = Interface::Size(m);
  Room room((7 + 6 * H + 2 * heads + 3 * R) * N + (4 * heads + 2 * N + 2) * W +
            2 * heads + numbers);
  float* retention = room.Take(N);
  float* of_retention = room.Take(N);
  float* of_offered = room.TakeZeros(N);
  float* of_content = room.Take(N);
  float* row = room.Take(N);
  float* of_row = room.Take(N);
  float* used = room.Take(H * N);
  float* left = room.Take(H * N);
  float* offered = room.Take((H + 1) * N);
  int32_t* order = reinterpret_cast<int32_t*>(room.Take(H * N));
  float* of_now = room.Take(H * N);
  float* of_allocation = room.Take(N);
  float* of_dots = room.Take(heads * N);
  float* of_squares = room.TakeZeros(heads * N);
  float* of_weights = room.Take(R * N);
  float* of_forward = room.Take(R * N);
  float* of_backward = room.Take(R * N);
  float* effective = room.Take(heads * W);
  float* squared_masks = room.Take(heads * W);
  float* of_effective = room.TakeZeros(heads * W);
  float* of_squared_masks = room.TakeZeros(heads * W);
  float* words = room.Take(N * W);
  float* of_words = room.Take(N * W);
  float* of_word = room.Take(W);
  float* others = room.Take(W);
  float* key_squares = room.Take(heads);
  float* of_key_squares = room.Take(heads);
  float* of_heard = room.TakeZeros(numbers);

  const Interface own(x.heard, m), of(of_heard, m);
  const Kept kept(x.kept, m);
  Wiped(m, own.free_gate, kept.prev_read_weights, retention);
  Copy(of_now, x.of_write_weights, H * N);
  Fill(y.read_weights, R * N, 0.0f);

  // What was read.
  Copy(of_weights, x.of_read_weights, R * N);
  for (int64_t i = 0; i < N; ++i) {
    float* word = words + i * W;
    EraseAndAdd(m, word, y.memory + i * W, kept.write_weights, i, own,
                retention[i]);
    AddDots(of_weights + i, N, x.of_words_read, R, word, W);
  }

  // Where read heads found it.
  Keys keys = {own.read_keys,
               own.read_masks,
               effective + H * W,
               squared_masks + H * W,
               key_squares + H,
               R};
  keys.Prepare(m);
  for (int64_t r = 0; r < R; ++r) {
    const float* content = kept.read_content + r * N;
    float mode = 1.0f;
    if (modes) {
      mode = own.read_mode[r * modes + 2 * H];
      of.read_mode[r * modes + 2 * H] = Dot(content, of_weights + r * N, N);
    }
    for (int64_t i = 0; i < N; ++i) {
      of_content[i] = mode * of_weights[r * N + i];
    }
    const int64_t norm = m.masked ? r * N : 0;
    ContentBackward(content, of_content, kept.read_dots + r * N,
                    kept.read_squares + norm, key_squares[H + r],
                    own.read_strengths[r], N, of_dots + (H + r) * N,
                    of_squares + H * N + norm, of_key_squares + H + r,
                    of.read_strengths + r);
  }

  // Where links led.
  for (int64_t h = 0; h < H && modes; ++h) {
    const float* weights = kept.write_weights + h * N;
    const float* last = kept.prev_precedence + h * N;
    for (int64_t r = 0; r < R; ++r) {
      const float* mode = own.read_mode + r * modes;
      float* of_mode = of.read_mode + r * modes;
      const float* gradient = of_weights + r * N;
      of_mode[h] = Dot(kept.backward + (h * R + r) * N, gradient, N);
      of_mode[H + h] = Dot(kept.forward + (h * R + r) * N, gradient, N);
      for (int64_t i = 0; i < N; ++i) {
        of_backward[r * N + i] = mode[h] * gradient[i];
        of_forward[r * N + i] = mode[H + h] * gradient[i];
      }
    }
    const float* of_new = x.of_precedence_weights + h * N;
    float* of_last = y.precedence_weights + h * N;
    const float total = Dot(of_new, last, N);
    float free = 1.0f;
    for (int64_t i = 0; i < N; ++i) free -= weights[i];
    for (int64_t i = 0; i < N; ++i) of_last[i] = free * of_new[i];
    const bool through = m.links == kDense;
    for (int64_t i = 0; i < N && through; ++i) {
      of_now[h * N + i] += of_new[i] - total;
    }
    FollowLinksBackward(m, y.link + h * N * N,
                        through ? x.of_link + h * N * N : nullptr, weights,
                        of_now + h * N, kept.prev_precedence + h * N, of_last,
                        kept.prev_read_weights, of_forward, of_backward,
                        y.read_weights, row, of_row);
  }

  // What was written.
  for (int64_t i = 0; i < N; ++i) {
    Copy(of_word, x.of_memory + i * W, W);
    AddRows(of_word, kept.read_weights + i, N, x.of_words_read, R, W);
    CompareBackward(m, keys, words + i * W, i, of_dots + H * N,
                    of_squares + H * N, of_word, of_effective + H * W,
                    of_squared_masks + H * W);
    of_retention[i] = WriteBackward(
        m, own, of, i, kept.write_weights, of_now, retention[i],
        y.memory + i * W, of_word, others, of_words + i * W);
  }
  KeysBackward(m, keys, of_effective + H * W, of_squared_masks + H * W,
               of_key_squares + H, of.read_keys, of.read_masks);

  // Where it was written.
  keys = {own.write_keys, own.write_masks, effective,
          squared_masks,  key_squares,     H};
  keys.Prepare(m);
  Copy(offered, kept.usage, N);
  for (int64_t h = 0; h < H; ++h) {
    const float* allocation = kept.allocation + h * N;
    float* taken = offered + h * N;
    Allocate(of_allocation, taken, used + h * N, left + h * N, order + h * N,
             N);
    const float both = own.allocation_gate[h] * own.write_gate[h];
    for (int64_t i = 0; i < N; ++i) {
      taken[N + i] = taken[i] + (1.0f - taken[i]) * both * allocation[i];
    }
  }
  for (int64_t h = H - 1; h >= 0; --h) {
    const float* content = kept.write_content + h * N;
    const float* allocation = kept.allocation + h * N;
    const float* taken = offered + h * N;
    const float gate = own.allocation_gate[h], write = own.write_gate[h];
    float of_gate = 0.0f, of_write = 0.0f, of_both = 0.0f;
    for (int64_t i = 0; i < N; ++i) {
      const float offer = allocation[i], of_where = of_now[h * N + i];
      const float of_next = of_offered[i], free = 1.0f - taken[i];
      of_write += of_where * (gate * offer + (1.0f - gate) * content[i]);
      of_gate += of_where * write * (offer - content[i]);
      of_content[i] = of_where * write * (1.0f - gate);
      of_both += of_next * free * offer;
      of_allocation[i] = (of_where + of_next * free) * gate * write;
      of_offered[i] = of_next * (1.0f - gate * write * offer);
    }
    of.allocation_gate[h] = of_gate + of_both * write;
    of.write_gate[h] = of_write + of_both * gate;
    AllocateBackward(of_offered, of_allocation, allocation, used + h * N,
                     left + h * N, order + h * N, N);
    const int64_t norm = m.masked ? h * N : 0;
    ContentBackward(content, of_content, kept.write_dots + h * N,
                    kept.write_squares + norm, key_squares[h],
                    own.write_strengths[h], N, of_dots + h * N,
                    of_squares + norm, of_key_squares + h,
                    of.write_strengths + h);
  }
  for (int64_t i = 0; i < N; ++i) {
    CompareBackward(m, keys, y.memory + i * W, i, of_dots, of_squares,
                    of_words + i * W, of_effective, of_squared_masks);
  }
  Copy(y.memory, of_words, N * W);
  KeysBackward(m, keys, of_effective, of_squared_masks, of_key_squares,
               of.write_keys, of.write_masks);

  // What was free.
  Add(of_offered, 1.0f, x.of_usage, N);
  UsageBackward(m, kept, own.free_gate, of_offered, of_retention, row, y.usage,
                y.write_weights, of.free_gate, y.read_weights);
  ActivateBackward(m, y.said, own, of);
}

}  // namespace dnc_jax

#endif  // DNC_JAX_NATIVE_BACKWARD_H_
