// Allocation: which slots are free to be written to, and its gradient.

#ifndef DNC_JAX_NATIVE_ALLOCATION_H_
#define DNC_JAX_NATIVE_ALLOCATION_H_

#include "vectors.h"

namespace dnc_jax {

// Writes the slots in order of their values, the first of equals first, by
// comparing each with each, which has no branches.
inline void Rank(const float* values, int32_t* order, int64_t size) {
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    // What is true is -1.
    const Vector mine = Load<Vector>(values + i);
    Whole place = {};
    for (int64_t j = 0; j < i; ++j) place -= values[j] <= mine;
    for (int64_t j = 0; j < kLanes; ++j) {
      const float other = values[i + j];
      place -= (other < mine) |
               ((other == mine) & (static_cast<int32_t>(j) < kPlaces));
    }
    for (int64_t j = i + kLanes; j < size; ++j) place -= values[j] < mine;
    for (int64_t j = 0; j < kLanes; ++j) {
      order[place[j]] = static_cast<int32_t>(i + j);
    }
  }
  for (; i < size; ++i) {
    const float mine = values[i];
    int32_t place = 0;
    for (int64_t j = 0; j < i; ++j) place += values[j] <= mine;
    for (int64_t j = i + 1; j < size; ++j) place += values[j] < mine;
    order[place] = static_cast<int32_t>(i);
  }
}

// ε + (1 - ε) usage.
inline float Used(float usage) {
  return kEpsilon + (1.0f - kEpsilon) * usage;
}

// Writes the slots in order of their usage, the first of equals first, how much
// is left of 1 once all before are used, and allocation weights, a[φ[j]] =
// (1 - u[φ[j]]) ∏ u[φ[i]].
inline void Allocate(float* __restrict weights, const float* __restrict usage,
                     float* __restrict used, float* __restrict left,
                     int32_t* __restrict order, int64_t size) {
  // Up to so many, `addressing.allocation_weights` compares logarithms, of
  // which more are equal; beyond, as here, usage.
  constexpr int64_t kMostLogarithms = 192;
  constexpr int64_t kMostCompared = 512;
  for (int64_t i = 0; i < size; ++i) {
    used[i] = Used(usage[i]);
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
                             const float* __restrict usage,
                             const float* __restrict left,
                             const int32_t* __restrict order, int64_t size) {
  float later = 0.0f;
  for (int64_t j = size - 1; j >= 0; --j) {
    const int32_t i = order[j];
    const float of_used = later / Used(usage[i]) - of_weights[i] * left[i];
    of_usage[i] += (1.0f - kEpsilon) * of_used;
    later += of_weights[i] * weights[i];
  }
}

}  // namespace dnc_jax

#endif  // DNC_JAX_NATIVE_ALLOCATION_H_
