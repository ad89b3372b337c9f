// The gradient of a step of a memory, of one sequence. What begins with `of_`
// is the gradient of what is named after it.

#ifndef DNC_JAX_NATIVE_BACKWARD_H_
#define DNC_JAX_NATIVE_BACKWARD_H_

#include "allocation.h"
#include "content.h"
#include "links.h"
#include "memory.h"

namespace dnc_jax {

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
  const float added = m.oneplus ? 1.0f : 0.0f;
  for (int64_t h = 0; h < m.writes; ++h) {
    const int64_t i = own.write_strengths - start + h;
    of_said[i] = of_start[i] * OfSoftplus(start[i] - added);
  }
  for (int64_t r = 0; r < m.reads; ++r) {
    const int64_t i = own.read_strengths - start + r;
    of_said[i] = of_start[i] * OfSoftplus(start[i] - added);
  }
  const float range = 1.0f - m.mask_floor;
  for (int64_t i = own.write_masks - start; i < own.end - start; ++i) {
    const float above = start[i] - m.mask_floor;  // range × sigmoid.
    of_said[i] =
        range > 0.0f ? of_start[i] * above * (1.0f - above / range) : 0.0f;
  }
}

// The gradient of `Write`: that of the words over that of the words after it,
// and adds the others, of one head after another.
DNC_JAX_FLATTEN
inline void WriteBackward(const Memory& m, const Interface& own,
                          const Interface& of, const float* weights,
                          float* of_weights, const float* retention,
                          float* of_retention, const float* words,
                          float* of_words) {
  const int64_t N = m.slots, W = m.word_size, H = m.writes;
  for (int64_t h = 0; h < H; ++h) {
    const bool is_last = h == H - 1;
    const float* own_weights = weights + h * N;
    InTiles(N, [&](auto tile, int64_t slot) {
      constexpr int S = decltype(tile)::value;
      Total of_weight[S], of_stay[S];
      Across(W, [&](auto lanes, int64_t w) {
        using V = decltype(lanes);
        const V erase = Load<V>(own.erase_vectors + h * W + w);
        const V vector = Load<V>(own.write_vectors + h * W + w);
        V of_erase = Load<V>(of.erase_vectors + h * W + w);
        V of_vector = Load<V>(of.write_vectors + h * W + w);
#pragma GCC unroll 4
        for (int s = 0; s < S; ++s) {
          float* to = of_words + (slot + s) * W + w;
          const float weight = own_weights[slot + s];
          const V gradient = Load<V>(to);
          // What all that others erase leaves, and so of the gradient.
          V left = V() + 1.0f;
          for (int64_t k = 0; k < H; ++k) {
            if (k == h) continue;
            left *= 1.0f - weights[k * N + slot + s] *
                               Load<V>(own.erase_vectors + k * W + w);
          }
          const V word = Load<V>(words + (slot + s) * W + w);
          const V of_left = gradient * left;
          const V stays = 1.0f - weight * erase;
          const V erased = retention[slot + s] * of_left * word;
          of_vector += weight * gradient;
          of_erase -= weight * erased;
          of_weight[s] += gradient * vector - erased * erase;
          if (!is_last) continue;
          Store(to, retention[slot + s] * of_left * stays);
          if (m.deallocate) of_stay[s] += of_left * stays * word;
        }
        Store(of.erase_vectors + h * W + w, of_erase);
        Store(of.write_vectors + h * W + w, of_vector);
      });
      Sums<S>(of_weight, [&](int s, float sum) {
        of_weights[h * N + slot + s] += sum;
      });
      if (!is_last) return;
      Sums<S>(of_stay, [&](int s, float sum) { of_retention[slot + s] = sum; });
    });
  }
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

// The gradient of `Forward`, given what it wrote: that of the state before over
// that of the state after, and that of what is said.
inline void Backward(const Memory& m, const Past& past, float* heard,
                     float* kept_rows, const float* of_words_read,
                     const State& of_now, float* of_said) {
  const int64_t N = m.slots, W = m.word_size, R = m.reads, H = m.writes;
  const int64_t heads = m.heads(), modes = m.modes();
  const int64_t numbers = Interface::Size(m);
  Room room((9 + 2 * H + 2 * heads + 3 * R + 2 * W) * N + heads + numbers +
                Keys::Size(m, R) + Keys::Size(m, H) +
                std::max(Keys::BackwardSize(m, R), Keys::BackwardSize(m, H)),
            26);
  float* retention = room.Take(N);
  float* of_retention = room.Take(N);
  float* of_offered = room.TakeZeros(N);
  float* of_content = room.Take(N);
  float* rows = room.Take(2 * N);
  float* offered = room.Take((H + 1) * N);
  float* of_written = room.Take(H * N);
  float* of_usage = room.Take(N);
  float* of_allocation = room.Take(N);
  float* of_dots = room.Take(heads * N);
  float* of_squares = room.TakeZeros(heads * N);
  float* of_weights = room.Take(R * N);
  float* of_forward = room.Take(R * N);
  float* of_backward = room.Take(R * N);
  float* before = room.Take(N * W);
  float* words = room.Take(N * W);
  float* of_key_squares = room.Take(heads);
  float* of_heard = room.TakeZeros(numbers);

  const Interface own(heard, m), of(of_heard, m);
  const Kept kept(kept_rows, m);
  const float* prev_words = past.Words(before, retention);
  Wiped(m, own.free_gate, kept.prev_read_weights, retention);
  Write(m, words, prev_words, kept.write_weights, retention, own);
  Copy(of_weights, of_now.read_weights, R * N);
  Fill(of_now.read_weights, R * N, 0.0f);
  Copy(of_written, of_now.write_weights, H * N);
  Copy(of_usage, of_now.usage, N);

  // What was read.
  AddDots(of_weights, of_words_read, R, words, N, W);
  AddOuter(of_now.memory, N, W, kept.read_weights, of_words_read, R);

  // Where read heads found it.
  const Keys read_keys(m, own.read_keys, own.read_masks, R, room);
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
                    kept.read_squares + norm, read_keys.squares[r],
                    own.read_strengths[r], N, of_dots + (H + r) * N,
                    of_squares + H * N + norm, of_key_squares + H + r,
                    of.read_strengths + r);
  }
  read_keys.CompareBackward(m, words, of_dots + H * N, of_squares + H * N,
                            of_key_squares + H, of_now.memory, of.read_keys,
                            of.read_masks, room);

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
    float* of_last = of_now.precedence_weights + h * N;
    const float total = Dot(of_last, last, N);
    float free = 1.0f;
    for (int64_t i = 0; i < N; ++i) free -= weights[i];
    for (int64_t i = 0; i < N && m.links == kDense; ++i) {
      of_written[h * N + i] += of_last[i] - total;
    }
    for (int64_t i = 0; i < N; ++i) of_last[i] *= free;
    const OfLinks of_links = {of_now.link + h * N * N, of_written + h * N,
                              of_last, of_now.read_weights};
    if (m.links == kDense) {
      FollowLinksBackward<true>(m, past, h, weights, last,
                                kept.prev_read_weights, of_forward,
                                of_backward, of_links, rows);
    } else {
      FollowLinksBackward<false>(m, past, h, weights, last,
                                 kept.prev_read_weights, of_forward,
                                 of_backward, of_links, rows);
    }
  }

  // What was written.
  WriteBackward(m, own, of, kept.write_weights, of_written, retention,
                of_retention, prev_words, of_now.memory);

  // Where it was written.
  const Keys write_keys(m, own.write_keys, own.write_masks, H, room);
  Copy(offered, kept.usage, N);
  for (int64_t h = 0; h < H; ++h) {
    const float* allocation = kept.allocation + h * N;
    float* taken = offered + h * N;
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
    Total of_gate, of_write, of_both;
    Across(N, [&](auto lanes, int64_t i) {
      using V = decltype(lanes);
      const V offer = Load<V>(allocation + i), found = Load<V>(content + i);
      const V of_where = Load<V>(of_written + h * N + i);
      const V of_next = Load<V>(of_offered + i);
      const V of_free = of_next * (1.0f - Load<V>(taken + i));
      of_write += of_where * (gate * offer + (1.0f - gate) * found);
      of_gate += of_where * (offer - found);
      of_both += of_free * offer;
      Store(of_content + i, of_where * (write * (1.0f - gate)));
      Store(of_allocation + i, (of_where + of_free) * (gate * write));
      Store(of_offered + i, of_next * (1.0f - gate * write * offer));
    });
    of.allocation_gate[h] = write * (of_gate.Sum() + of_both.Sum());
    of.write_gate[h] = of_write.Sum() + gate * of_both.Sum();
    AllocateBackward(of_offered, of_allocation, allocation, taken,
                     kept.left + h * N, kept.order + h * N, N);
    const int64_t norm = m.masked ? h * N : 0;
    ContentBackward(content, of_content, kept.write_dots + h * N,
                    kept.write_squares + norm, write_keys.squares[h],
                    own.write_strengths[h], N, of_dots + h * N,
                    of_squares + norm, of_key_squares + h,
                    of.write_strengths + h);
  }
  write_keys.CompareBackward(m, prev_words, of_dots, of_squares,
                             of_key_squares, of_now.memory, of.write_keys,
                             of.write_masks, room);

  // What was free.
  Add(of_offered, 1.0f, of_usage, N);
  UsageBackward(m, kept, own.free_gate, of_offered, of_retention, rows,
                of_now.usage, of_now.write_weights, of.free_gate,
                of_now.read_weights);
  ActivateBackward(m, of_said, own, of);
}

}  // namespace dnc_jax

#endif  // DNC_JAX_NATIVE_BACKWARD_H_
