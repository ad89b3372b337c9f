// Links of a step, where they lead, and the gradient of both. What begins with
// `of_` is the gradient of what is named after it.

#ifndef DNC_JAX_NATIVE_LINKS_H_
#define DNC_JAX_NATIVE_LINKS_H_

#include "memory.h"

namespace dnc_jax {

// One row of the links after a step's writes.
inline void NewLinks(float* __restrict out, const float* __restrict link,
                     int64_t slot, const float* __restrict weights,
                     const float* __restrict precedence, int64_t size) {
  const float weight = weights[slot];
  const float mine = 1.0f - weight;
  for (int64_t j = 0; j < size; ++j) {
    out[j] = (mine - weights[j]) * link[j] + weight * precedence[j];
  }
  out[slot] = 0.0f;
}

// Adds K multiples of a row to K others, and dots it with K more, in one go.
template <int K>
void AddAndDot(const float* __restrict row, const float* __restrict scales,
               float* __restrict to, const float* __restrict with,
               float* __restrict dots, int64_t size) {
  float totals[K] = {}, own[K];
  for (int k = 0; k < K; ++k) own[k] = scales[k * size];
#pragma GCC ivdep
  for (int64_t j = 0; j < size; ++j) {
    const float x = row[j];
    for (int k = 0; k < K; ++k) {
      totals[k] += x * with[k * size + j];
      to[k * size + j] += own[k] * x;
    }
  }
  for (int k = 0; k < K; ++k) dots[k] = totals[k];
}

// Links of one write head after a step, and where they lead every read head.
inline void FollowLinks(const Memory& m, float* link, const float* prev_link,
                        const float* weights, const float* precedence,
                        const float* heads, float* forward, float* backward) {
  const int64_t N = m.slots;
  Fill(backward, m.reads * N, 0.0f);
  for (int64_t i = 0; i < N; ++i) {
    float* row = link + i * N;
    NewLinks(row, prev_link + i * N, i, weights, precedence, N);
    ByFours(m.reads, [&](auto constant, int64_t first) {
      constexpr int K = decltype(constant)::value;
      const int64_t start = first * N;
      float dots[K];
      AddAndDot<K>(row, heads + start + i, backward + start, heads + start,
                   dots, N);
      for (int k = 0; k < K; ++k) forward[start + k * N + i] = dots[k];
    });
  }
}

// Adds the gradient of a row of links by where it led.
template <int K>
void OfRow(float* __restrict of_row, int64_t slot,
           const float* __restrict heads, const float* __restrict of_forward,
           const float* __restrict of_backward, int64_t size) {
  float here[K], ahead[K];
  for (int k = 0; k < K; ++k) {
    here[k] = heads[k * size + slot];
    ahead[k] = of_forward[k * size + slot];
  }
#pragma GCC ivdep
  for (int64_t j = 0; j < size; ++j) {
    float total = of_row[j];
    for (int k = 0; k < K; ++k) {
      total += ahead[k] * heads[k * size + j] +
               here[k] * of_backward[k * size + j];
    }
    of_row[j] = total;
  }
}

// Writes the gradient of a row of links before over it, and adds the others.
inline void LinkBackward(float* __restrict prev_row, float* __restrict of_row,
                         int64_t slot, const float* __restrict weights,
                         float* __restrict of_weights,
                         const float* __restrict precedence,
                         float* __restrict of_precedence, int64_t size) {
  of_row[slot] = 0.0f;
  const float weight = weights[slot], mine = 1.0f - weight;
  float total = 0.0f;
#pragma GCC ivdep
  for (int64_t j = 0; j < size; ++j) {
    const float gradient = of_row[j];
    const float change = gradient * prev_row[j];
    prev_row[j] = (mine - weights[j]) * gradient;
    total += gradient * precedence[j] - change;
    of_weights[j] -= change;
    of_precedence[j] += weight * gradient;
  }
  of_weights[slot] += total;
}

// `NewLinks`, `AddAndDot`, `OfRow` and `LinkBackward` in one go. The precedence
// weight of this slot, and its link to itself, must be 0.
template <int K>
void RowBackward(float* __restrict prev_row, const float* __restrict of_link,
                 int64_t slot, const float* __restrict weights,
                 float* __restrict of_weights,
                 const float* __restrict precedence,
                 float* __restrict of_precedence,
                 const float* __restrict heads,
                 const float* __restrict of_forward,
                 const float* __restrict of_backward,
                 float* __restrict of_heads, int64_t size) {
  const float weight = weights[slot], mine = 1.0f - weight;
  const float of_own = of_precedence[slot];
  float total = 0.0f, totals[K] = {}, here[K], ahead[K];
  for (int k = 0; k < K; ++k) {
    here[k] = heads[k * size + slot];
    ahead[k] = of_forward[k * size + slot];
  }
#pragma GCC ivdep
  for (int64_t j = 0; j < size; ++j) {
    const float stays = mine - weights[j];
    const float x = stays * prev_row[j] + weight * precedence[j];
    float gradient = of_link[j];
    for (int k = 0; k < K; ++k) {
      const float y = of_backward[k * size + j];
      totals[k] += x * y;
      of_heads[k * size + j] += ahead[k] * x;
      gradient += ahead[k] * heads[k * size + j] + here[k] * y;
    }
    const float change = gradient * prev_row[j];
    prev_row[j] = stays * gradient;
    total += gradient * precedence[j] - change;
    of_weights[j] -= change;
    of_precedence[j] += weight * gradient;
  }
  for (int k = 0; k < K; ++k) of_heads[k * size + slot] += totals[k];
  of_weights[slot] += total;
  of_precedence[slot] = of_own;
  prev_row[slot] = 0.0f;
}

// Gradients of `FollowLinks`: that of the links before over these, and adds the
// others; without `of_link` only that of the read weights.
inline void FollowLinksBackward(const Memory& m, float* prev_link,
                                const float* of_link, const float* weights,
                                float* of_weights, float* precedence,
                                float* of_precedence, const float* heads,
                                const float* of_forward,
                                const float* of_backward, float* of_heads,
                                float* row, float* of_row) {
  const int64_t N = m.slots;
  for (int64_t i = 0; i < N; ++i) {
    float* prev_row = prev_link + i * N;
    if (of_link != nullptr && m.reads <= 4 && prev_row[i] == 0.0f) {
      const float own = precedence[i];
      precedence[i] = 0.0f;
      ByFours(m.reads, [&](auto constant, int64_t) {
        RowBackward<decltype(constant)::value>(
            prev_row, of_link + i * N, i, weights, of_weights, precedence,
            of_precedence, heads, of_forward, of_backward, of_heads, N);
      });
      precedence[i] = own;
      continue;
    }
    NewLinks(row, prev_row, i, weights, precedence, N);
    if (of_link != nullptr) Copy(of_row, of_link + i * N, N);
    ByFours(m.reads, [&](auto constant, int64_t first) {
      constexpr int K = decltype(constant)::value;
      const int64_t start = first * N;
      float dots[K];
      AddAndDot<K>(row, of_forward + start + i, of_heads + start,
                   of_backward + start, dots, N);
      for (int k = 0; k < K; ++k) of_heads[start + k * N + i] += dots[k];
      if (of_link != nullptr) {
        OfRow<K>(of_row, i, heads + start, of_forward + start,
                 of_backward + start, N);
      }
    });
    if (of_link != nullptr) {
      LinkBackward(prev_row, of_row, i, weights, of_weights, precedence,
                   of_precedence, N);
    }
  }
}

}  // namespace dnc_jax

#endif  // DNC_JAX_NATIVE_LINKS_H_
