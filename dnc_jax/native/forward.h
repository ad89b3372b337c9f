// A step of a memory, of one sequence.

#ifndef DNC_JAX_NATIVE_FORWARD_H_
#define DNC_JAX_NATIVE_FORWARD_H_

#include "allocation.h"
#include "content.h"
#include "links.h"
#include "memory.h"

namespace dnc_jax {

// Brings each quantity of the interface into its range.
inline void Activate(const Memory& m, const float* said, const Interface& own) {
  const float* start = own.write_vectors;
  Copy(own.write_vectors, said, own.end - start);
  for (float* x = own.erase_vectors; x < own.read_mode; ++x) {
    *x = Sigmoid(*x);
  }
  if (m.links != kOff) {
    for (int64_t r = 0; r < m.reads; ++r) {
      Softmax(own.read_mode + r * m.modes(), m.modes());
    }
  }
  const float add = m.oneplus ? 1.0f : 0.0f;
  for (int64_t h = 0; h < m.writes; ++h) {
    own.write_strengths[h] = Softplus(own.write_strengths[h]) + add;
  }
  for (int64_t r = 0; r < m.reads; ++r) {
    own.read_strengths[r] = Softplus(own.read_strengths[r]) + add;
  }
  for (float* x = own.write_masks; x < own.end; ++x) {
    *x = m.mask_floor + (1.0f - m.mask_floor) * Sigmoid(*x);
  }
}

// Writes usage after the last step's writes, what is kept of it, and usage.
inline void FollowUsage(const Memory& m, const State& x,
                        const float* free_gate, float* after_write,
                        float* retention, float* usage) {
  Fill(after_write, m.slots, 1.0f);
  for (int64_t h = 0; h < m.writes; ++h) {
    TakeOff(after_write, 1.0f, x.write_weights + h * m.slots, m.slots);
  }
  Retention(m, free_gate, x.read_weights, retention);
  for (int64_t i = 0; i < m.slots; ++i) {
    const float before = x.usage[i];
    after_write[i] = before + (1.0f - before) * (1.0f - after_write[i]);
    usage[i] = after_write[i] * retention[i];
  }
}

// Does a step: what is said becomes words that are read, a state the next.
// Writes also what was heard and what the gradient needs.
inline void Forward(const Memory& m, const float* said, const State& now,
                    float* words_read, float* heard, float* kept_rows) {
  const int64_t N = m.slots, W = m.word_size, R = m.reads, H = m.writes;
  Room room(3 * N + Keys::Size(m, H) + Keys::Size(m, R), 9);
  float* retention = room.Take(N);
  float* used = room.Take(N);
  float* offered = room.Take(N);

  const Interface own(heard, m);
  const Kept kept(kept_rows, m);
  Activate(m, said, own);
  Copy(kept.prev_read_weights, now.read_weights, R * N);
  Copy(kept.prev_write_weights, now.write_weights, H * N);
  Copy(kept.prev_usage, now.usage, N);
  FollowUsage(m, now, own.free_gate, kept.usage_after_write, retention,
              kept.usage);
  Copy(now.usage, kept.usage, N);
  Wiped(m, own.free_gate, now.read_weights, retention);

  // Where to write.
  const Keys write_keys(m, own.write_keys, own.write_masks, H, room);
  write_keys.Compare(m, now.memory, kept.write_dots, kept.write_squares);
  Copy(offered, kept.usage, N);
  for (int64_t h = 0; h < H; ++h) {
    float* content = kept.write_content + h * N;
    float* __restrict allocation = kept.allocation + h * N;
    float* __restrict weights = kept.write_weights + h * N;
    Content(content, kept.write_dots + h * N,
            kept.write_squares + (m.masked ? h * N : 0), write_keys.squares[h],
            own.write_strengths[h], N);
    Allocate(allocation, offered, used, kept.left + h * N, kept.order + h * N,
             N);
    const float gate = own.allocation_gate[h], write = own.write_gate[h];
    for (int64_t i = 0; i < N; ++i) {
      weights[i] =
          write * (gate * allocation[i] + (1.0f - gate) * content[i]);
      offered[i] += (1.0f - offered[i]) * (gate * write) * allocation[i];
    }
  }
  Copy(now.write_weights, kept.write_weights, H * N);

  // Writes, and what read heads find.
  Write(m, now.memory, now.memory, kept.write_weights, retention, own);
  const Keys read_keys(m, own.read_keys, own.read_masks, R, room);
  read_keys.Compare(m, now.memory, kept.read_dots, kept.read_squares);

  // Where to read.
  for (int64_t r = 0; r < R; ++r) {
    float* content = kept.read_content + r * N;
    Content(content, kept.read_dots + r * N,
            kept.read_squares + (m.masked ? r * N : 0), read_keys.squares[r],
            own.read_strengths[r], N);
    float* weights = kept.read_weights + r * N;
    const float mode =
        m.links == kOff ? 1.0f : own.read_mode[r * m.modes() + 2 * H];
    for (int64_t i = 0; i < N; ++i) weights[i] = mode * content[i];
  }
  for (int64_t h = 0; h < H && m.links != kOff; ++h) {
    const float* weights = kept.write_weights + h * N;
    float* precedence = now.precedence_weights + h * N;
    float* forward = kept.forward + h * R * N;
    float* backward = kept.backward + h * R * N;
    Copy(kept.prev_precedence + h * N, precedence, N);
    FollowLinks(m, now.link + h * N * N, weights, precedence,
                now.read_weights, forward, backward);
    for (int64_t r = 0; r < R; ++r) {
      const float* mode = own.read_mode + r * m.modes();
      Add(kept.read_weights + r * N, mode[h], backward + r * N, N);
      Add(kept.read_weights + r * N, mode[H + h], forward + r * N, N);
    }
    float free = 1.0f;
    for (int64_t i = 0; i < N; ++i) free -= weights[i];
    for (int64_t i = 0; i < N; ++i) {
      precedence[i] = free * precedence[i] + weights[i];
    }
  }
  Copy(now.read_weights, kept.read_weights, R * N);
  Fill(words_read, R * W, 0.0f);
  AddSums(words_read, kept.read_weights, R, now.memory, N, W);
}

}  // namespace dnc_jax

#endif  // DNC_JAX_NATIVE_FORWARD_H_
