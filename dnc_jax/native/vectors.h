// Functions of vectors that a step of a memory is made of, written so that
// compilers use a processor's vectors for them.

#ifndef DNC_JAX_NATIVE_VECTORS_H_
#define DNC_JAX_NATIVE_VECTORS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace dnc_jax {

constexpr float kEpsilon = 1e-6f;  // DeepMind's.

// exp(x) = 2^k exp(r), k = round(x / log 2), with the polynomial of Cephes'
// expf. What is not a number stays so, past the bounds as well.
inline float Exp(float x) {
  const float bounded = std::min(std::max(x, -87.0f), 88.0f);
  const float k = std::floor(bounded * 1.44269504088896341f + 0.5f);
  const float r = bounded - k * 0.693359375f + k * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t bits = (static_cast<int32_t>(k) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof(power));
  return p * power;
}

inline float Sigmoid(float x) { return 1.0f / (1.0f + Exp(-x)); }

inline float Softplus(float x) {
  return std::max(x, 0.0f) + std::log1p(std::exp(-std::abs(x)));
}

inline void Fill(float* out, int64_t size, float value) {
  for (int64_t i = 0; i < size; ++i) out[i] = value;
}

inline void Copy(float* out, const float* x, int64_t size) {
  std::memcpy(out, x, size * sizeof(float));
}

inline float Dot(const float* __restrict x, const float* __restrict y,
                 int64_t size) {
  float total = 0.0f;
  for (int64_t i = 0; i < size; ++i) total += x[i] * y[i];
  return total;
}

// Adds scale x.
inline void Add(float* __restrict to, float scale, const float* __restrict x,
                int64_t size) {
  for (int64_t i = 0; i < size; ++i) to[i] += scale * x[i];
}

// Multiplies by 1 - scale x.
inline void TakeOff(float* __restrict from, float scale,
                    const float* __restrict x, int64_t size) {
  for (int64_t i = 0; i < size; ++i) from[i] *= 1.0f - scale * x[i];
}

// Of K rows side by side, each `size` long: calls `each` with K as a constant,
// four rows at a time, so that what all of them need is read once.
template <typename Each>
inline void ByFours(int64_t count, Each each) {
  int64_t k = 0;
  for (; k + 4 <= count; k += 4) each(std::integral_constant<int, 4>(), k);
  switch (count - k) {
    case 3:
      return each(std::integral_constant<int, 3>(), k);
    case 2:
      return each(std::integral_constant<int, 2>(), k);
    case 1:
      return each(std::integral_constant<int, 1>(), k);
  }
}

template <int K>
void AddKDots(float* __restrict out, int64_t stride,
              const float* __restrict rows, const float* __restrict x,
              int64_t size) {
  float totals[K] = {};
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) {
    for (int k = 0; k < K; ++k) totals[k] += rows[k * size + i] * x[i];
  }
  for (int k = 0; k < K; ++k) out[k * stride] += totals[k];
}

// out[k] += rows[k] · x, each `stride` after the one before.
inline void AddDots(float* out, int64_t stride, const float* rows,
                    int64_t count, const float* x, int64_t size) {
  ByFours(count, [&](auto constant, int64_t first) {
    constexpr int K = decltype(constant)::value;
    AddKDots<K>(out + first * stride, stride, rows + first * size, x, size);
  });
}

template <int K>
void AddKRows(float* __restrict to, const float* __restrict weights,
              int64_t stride, const float* __restrict rows, int64_t size) {
  float scales[K];
  for (int k = 0; k < K; ++k) scales[k] = weights[k * stride];
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) {
    float total = to[i];
    for (int k = 0; k < K; ++k) total += scales[k] * rows[k * size + i];
    to[i] = total;
  }
}

// to += Σₖ weights[k] rows[k], weights each `stride` after the one before.
inline void AddRows(float* to, const float* weights, int64_t stride,
                    const float* rows, int64_t count, int64_t size) {
  ByFours(count, [&](auto constant, int64_t first) {
    constexpr int K = decltype(constant)::value;
    AddKRows<K>(to, weights + first * stride, stride, rows + first * size,
                size);
  });
}

template <int K>
void AddToKRows(float* __restrict rows, const float* __restrict weights,
                int64_t stride, const float* __restrict x, int64_t size) {
  float scales[K];
  for (int k = 0; k < K; ++k) scales[k] = weights[k * stride];
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) {
    for (int k = 0; k < K; ++k) rows[k * size + i] += scales[k] * x[i];
  }
}

// rows[k] += weights[k] x, weights each `stride` after the one before.
inline void AddToRows(float* rows, int64_t count, const float* weights,
                      int64_t stride, const float* x, int64_t size) {
  ByFours(count, [&](auto constant, int64_t first) {
    constexpr int K = decltype(constant)::value;
    AddToKRows<K>(rows + first * size, weights + first * stride, stride, x,
                  size);
  });
}

inline void Softmax(float* scores, int64_t size) {
  float most = scores[0];
  for (int64_t i = 1; i < size; ++i) most = std::max(most, scores[i]);
  float total = 0.0f;
  for (int64_t i = 0; i < size; ++i) {
    scores[i] = Exp(scores[i] - most);
    total += scores[i];
  }
  const float scale = 1.0f / total;
  for (int64_t i = 0; i < size; ++i) scores[i] *= scale;
}

// Content weights of one head, given k·M[i], |M[i]|² and |k|².
inline void Content(float* __restrict weights, const float* __restrict dots,
                    const float* __restrict squares, float key_square,
                    float strength, int64_t size) {
  const float key_norm = std::sqrt(key_square + kEpsilon);
  for (int64_t i = 0; i < size; ++i) {
    const float norm = std::sqrt(squares[i] + kEpsilon);
    weights[i] = strength * (dots[i] / (key_norm * norm + kEpsilon));
  }
  Softmax(weights, size);
}

// Writes the gradient of the dots, adds that of the squares, and writes those
// of the key's square and of the strength.
inline void ContentBackward(const float* __restrict weights,
                            const float* __restrict of_weights,
                            const float* __restrict dots,
                            const float* __restrict squares, float key_square,
                            float strength, int64_t size,
                            float* __restrict of_dots,
                            float* __restrict of_squares, float* of_key_square,
                            float* of_strength) {
  const float key_norm = std::sqrt(key_square + kEpsilon);
  const float mean = Dot(weights, of_weights, size);
  float of_key_norm = 0.0f, total = 0.0f;
  for (int64_t i = 0; i < size; ++i) {
    const float norm = std::sqrt(squares[i] + kEpsilon);
    const float scale = 1.0f / (key_norm * norm + kEpsilon);
    const float of_score = weights[i] * (of_weights[i] - mean);
    const float similarity = dots[i] * scale;
    total += of_score * similarity;
    const float of_dot = of_score * strength * scale;
    of_dots[i] = of_dot;
    const float of_product = -of_dot * similarity;
    of_key_norm += of_product * norm;
    of_squares[i] += 0.5f * of_product * key_norm / norm;
  }
  *of_key_square = 0.5f * of_key_norm / key_norm;
  *of_strength = total;
}

// Writes the slots in order of their values, the first of equals first, by
// comparing each with each, which has no branches.
inline void Rank(const float* __restrict values, int32_t* __restrict order,
                 int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    const float mine = values[i];
    int32_t place = 0;
    for (int64_t j = 0; j < i; ++j) place += values[j] <= mine;
    for (int64_t j = i + 1; j < size; ++j) place += values[j] < mine;
    order[place] = static_cast<int32_t>(i);
  }
}

// Writes ε + (1 - ε) usage, the slots in order of it, the first of equals
// first, how much is left of 1 once all before are used, and allocation
// weights, a[φ[j]] = (1 - u[φ[j]]) ∏ u[φ[i]].
inline void Allocate(float* __restrict weights, const float* __restrict usage,
                     float* __restrict used, float* __restrict left,
                     int32_t* __restrict order, int64_t size) {
  // Up to so many, `addressing.allocation_weights` compares logarithms, of
  // which more are equal; beyond, as here, usage.
  constexpr int64_t kMostLogarithms = 192;
  constexpr int64_t kMostCompared = 512;
  for (int64_t i = 0; i < size; ++i) {
    used[i] = kEpsilon + (1.0f - kEpsilon) * usage[i];
    // What is not a number has no place in the order, and must not be lost.
    order[i] = static_cast<int32_t>(i);
    weights[i] = used[i] - used[i];
  }
  if (size <= kMostLogarithms) {
    for (int64_t i = 0; i < size; ++i) left[i] = std::log(used[i]);
    Rank(left, order, size);
  } else if (size <= kMostCompared) {
    Rank(used, order, size);
  } else {
    std::stable_sort(order, order + size, [&](int32_t i, int32_t j) {
      if (std::isnan(used[j])) return !std::isnan(used[i]);
      return used[i] < used[j];
    });
  }
  float product = 1.0f;
  for (int64_t j = 0; j < size; ++j) {
    const int32_t i = order[j];
    left[i] = product;
    weights[i] = (1.0f - used[i]) * product;
    product *= used[i];
  }
}

// Adds the gradient of the usage, given what `Allocate` wrote.
inline void AllocateBackward(float* __restrict of_usage,
                             const float* __restrict of_weights,
                             const float* __restrict weights,
                             const float* __restrict used,
                             const float* __restrict left,
                             const int32_t* __restrict order, int64_t size) {
  float later = 0.0f;
  for (int64_t j = size - 1; j >= 0; --j) {
    const int32_t i = order[j];
    const float of_used = later / used[i] - of_weights[i] * left[i];
    of_usage[i] += (1.0f - kEpsilon) * of_used;
    later += of_weights[i] * weights[i];
  }
}

}  // namespace dnc_jax

#endif  // DNC_JAX_NATIVE_VECTORS_H_
