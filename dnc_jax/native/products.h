// Products of matrices that a memory's step is made of.
//
// Shapes: K rows of W numbers, as many rows of N weights, N words of W numbers.
// `each` is a function of the numbers of words: themselves, or their squares.

#ifndef DNC_JAX_NATIVE_PRODUCTS_H_
#define DNC_JAX_NATIVE_PRODUCTS_H_

#include "vectors.h"

namespace dnc_jax {

struct Same {
  template <typename V>
  V operator()(V x) const {
    return x;
  }
};

struct Square {
  template <typename V>
  V operator()(V x) const {
    return x * x;
  }
};

// weights[k, i] += Σ_w rows[k, w] each(words[i, w]).
template <typename Each = Same>
DNC_JAX_FLATTEN
inline void AddDots(float* weights, const float* rows, int64_t count,
                    const float* words, int64_t slots, int64_t size,
                    Each each = Each()) {
  InTiles(slots, [&](auto tile, int64_t slot) {
    constexpr int S = decltype(tile)::value;
    const float* own_words = words + slot * size;
    InTiles(count, [&](auto constant, int64_t first) {
      constexpr int K = decltype(constant)::value;
      const float* own_rows = rows + first * size;
      Total totals[K][S];
      Across(size, [&](auto lanes, int64_t w) {
        using V = decltype(lanes);
        V x[S];
#pragma GCC unroll 4
        for (int s = 0; s < S; ++s) {
          x[s] = each(Load<V>(own_words + s * size + w));
        }
#pragma GCC unroll 4
        for (int k = 0; k < K; ++k) {
          const V row = Load<V>(own_rows + k * size + w);
#pragma GCC unroll 4
          for (int s = 0; s < S; ++s) totals[k][s] += row * x[s];
        }
      });
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) {
        float* out = weights + (first + k) * slots + slot;
        Sums<S>(totals[k], [&](int s, float sum) { out[s] += sum; });
      }
    });
  });
}

// words[i, w] += Σ_k weights[k, i] rows[k, w].
DNC_JAX_FLATTEN
inline void AddOuter(float* words, int64_t slots, int64_t size,
                     const float* weights, const float* rows, int64_t count) {
  InTiles(slots, [&](auto tile, int64_t slot) {
    constexpr int S = decltype(tile)::value;
    float* to = words + slot * size;
    InTiles(count, [&](auto constant, int64_t first) {
      constexpr int K = decltype(constant)::value;
      const float* own_rows = rows + first * size;
      float scales[K][S];
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) {
#pragma GCC unroll 4
        for (int s = 0; s < S; ++s) {
          scales[k][s] = weights[(first + k) * slots + slot + s];
        }
      }
      Across(size, [&](auto lanes, int64_t w) {
        using V = decltype(lanes);
        V x[S];
#pragma GCC unroll 4
        for (int s = 0; s < S; ++s) x[s] = Load<V>(to + s * size + w);
#pragma GCC unroll 4
        for (int k = 0; k < K; ++k) {
          const V row = Load<V>(own_rows + k * size + w);
#pragma GCC unroll 4
          for (int s = 0; s < S; ++s) x[s] += scales[k][s] * row;
        }
#pragma GCC unroll 4
        for (int s = 0; s < S; ++s) Store(to + s * size + w, x[s]);
      });
    });
  });
}

// Columns of `AddSums`, C numbers of kind V from the first on.
template <int K, int C, typename V, typename Each>
inline void AddColumnSums(float* rows, const float* weights, const float* words,
                          int64_t slots, int64_t size, Each each) {
  constexpr int64_t kWidth = sizeof(V) / sizeof(float);
  V sums[K][C];
#pragma GCC unroll 4
  for (int k = 0; k < K; ++k) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      sums[k][c] = Load<V>(rows + k * size + c * kWidth);
    }
  }
  for (int64_t i = 0; i < slots; ++i) {
    V x[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      x[c] = each(Load<V>(words + i * size + c * kWidth));
    }
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) {
      const float weight = weights[k * slots + i];
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) sums[k][c] += weight * x[c];
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < K; ++k) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      Store(rows + k * size + c * kWidth, sums[k][c]);
    }
  }
}

// rows[k, w] += Σ_i weights[k, i] each(words[i, w]).
template <typename Each = Same>
DNC_JAX_FLATTEN
inline void AddSums(float* rows, const float* weights, int64_t count,
                    const float* words, int64_t slots, int64_t size,
                    Each each = Each()) {
  InTiles(count, [&](auto constant, int64_t first) {
    constexpr int K = decltype(constant)::value;
    float* own = rows + first * size;
    const float* scales = weights + first * slots;
    int64_t w = 0;
    for (; w + 2 * kLanes <= size; w += 2 * kLanes) {
      AddColumnSums<K, 2, Vector>(own + w, scales, words + w, slots, size,
                                  each);
    }
    for (; w + kLanes <= size; w += kLanes) {
      AddColumnSums<K, 1, Vector>(own + w, scales, words + w, slots, size,
                                  each);
    }
    for (; w < size; ++w) {
      AddColumnSums<K, 1, float>(own + w, scales, words + w, slots, size, each);
    }
  });
}

}  // namespace dnc_jax

#endif  // DNC_JAX_NATIVE_PRODUCTS_H_
