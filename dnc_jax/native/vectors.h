// Vectors as a processor has them, and functions of arrays made of these.

#ifndef DNC_JAX_NATIVE_VECTORS_H_
#define DNC_JAX_NATIVE_VECTORS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

// Of a function whose arrays are to be in registers: all that it calls is to be
// made part of it.
#define DNC_JAX_FLATTEN __attribute__((flatten))

namespace dnc_jax {

constexpr float kEpsilon = 1e-6f;  // DeepMind's.

// So many numbers at a time. A processor with shorter vectors takes several.
constexpr int64_t kLanes = 16;
typedef float Vector __attribute__((vector_size(4 * kLanes)));
typedef float Half __attribute__((vector_size(2 * kLanes)));
typedef float Quarter __attribute__((vector_size(kLanes)));
typedef int32_t Whole __attribute__((vector_size(4 * kLanes)));
constexpr Whole kPlaces = {0, 1, 2,  3,  4,  5,  6,  7,
                           8, 9, 10, 11, 12, 13, 14, 15};

template <typename V>
inline V Load(const float* x) {
  V own;
  std::memcpy(&own, x, sizeof(own));
  return own;
}

template <typename V>
inline void Store(float* x, V own) {
  std::memcpy(x, &own, sizeof(own));
}

// Calls `each` with a number of the kind to be used, a `Vector` or for the rest
// a float, and the place of the first of so many.
template <typename Each>
inline void Across(int64_t size, Each each) {
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) each(Vector(), i);
  for (; i < size; ++i) each(0.0f, i);
}

// Likewise with a third argument, `off(x, k)`: x with 0 in place `first + k`.
// All such places for which it is called are of one vector.
template <typename Each>
inline void AcrossDiagonal(int64_t size, int64_t first, Each each) {
  const auto all = [](auto x, int) { return x; };
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    const int64_t place = first - i;
    if (place < 0 || place >= kLanes) {
      each(Vector(), i, all);
      continue;
    }
    each(Vector(), i, [&](Vector x, int k) {
      return kPlaces == static_cast<int32_t>(place + k) ? Vector() : x;
    });
  }
  for (; i < size; ++i) {
    each(0.0f, i, [&](float x, int k) { return i == first + k ? 0.0f : x; });
  }
}

// Calls `each` with 4, 2 or 1 as a constant and the first of so many, until all
// have been: what several need is then read once.
template <typename Each>
inline void InTiles(int64_t count, Each each) {
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) each(std::integral_constant<int, 4>(), i);
  if (i + 2 <= count) {
    each(std::integral_constant<int, 2>(), i);
    i += 2;
  }
  if (i < count) each(std::integral_constant<int, 1>(), i);
}

#if defined(__clang__)
#define DNC_JAX_SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
#define DNC_JAX_SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (Whole){__VA_ARGS__})
#endif

// Adds up neighbours but one: x in even pairs of places, y in odd ones.
inline Vector AddPairs(Vector x, Vector y) {
  return DNC_JAX_SHUFFLE(x, y, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28,
                         13, 29) +
         DNC_JAX_SHUFFLE(x, y, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14,
                         30, 15, 31);
}

// A sum, as it grows.
struct Total {
  Vector wide = {};
  float rest = 0.0f;

  void operator+=(Vector x) { wide += x; }
  void operator+=(float x) { rest += x; }

  float Sum() const {
    Half halves[2];
    std::memcpy(halves, &wide, sizeof(wide));
    const Half half = halves[0] + halves[1];
    Quarter quarters[2];
    std::memcpy(quarters, &half, sizeof(half));
    const Quarter quarter = quarters[0] + quarters[1];
    return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]) + rest;
  }
};

// Calls `give(k, sum)` for each of K totals.
template <int K, typename Give>
inline void Sums(const Total* totals, Give give) {
  if constexpr (K == 4) {
    const Vector x = AddPairs(totals[0].wide, totals[1].wide);
    const Vector y = AddPairs(totals[2].wide, totals[3].wide);
    const Vector both =
        DNC_JAX_SHUFFLE(x, y, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13,
                        28, 29) +
        DNC_JAX_SHUFFLE(x, y, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14,
                        15, 30, 31);
    Quarter quarters[4];
    std::memcpy(quarters, &both, sizeof(both));
    const Quarter sum =
        (quarters[0] + quarters[1]) + (quarters[2] + quarters[3]);
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) give(k, sum[k] + totals[k].rest);
  } else {
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) give(k, totals[k].Sum());
  }
}

inline Whole ToWhole(Vector x) { return __builtin_convertvector(x, Whole); }
inline int32_t ToWhole(float x) { return static_cast<int32_t>(x); }
inline Vector ToReal(Whole x) { return __builtin_convertvector(x, Vector); }
inline float ToReal(int32_t x) { return static_cast<float>(x); }

// exp(x) = 2^k exp(r), k = round(x / log 2), with the polynomial of Cephes'
// expf. What is not a number stays so, past the bounds as well.
template <typename V>
inline V Exp(V x) {
  const V least = V() - 87.0f, most = V() + 88.0f;
  V bounded = x < least ? least : x;
  bounded = bounded > most ? most : bounded;
  // Above 0, to round is to cut off.
  const auto whole = ToWhole(bounded * 1.44269504088896341f + 128.5f) - 128;
  const V k = ToReal(whole);
  const V r = bounded - k * 0.693359375f + k * 2.12194440e-4f;
  V p = V() + 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const auto bits = (whole + 127) << 23;
  V power;
  std::memcpy(&power, &bits, sizeof(power));
  return p * power;
}

inline float Sigmoid(float x) { return 1.0f / (1.0f + Exp(-x)); }

// max(x, 0) + log(1 + e), e = exp(-|x|), by the series of the logarithm, 2
// artanh(e / (2 + e)).
inline float Softplus(float x) {
  const float e = Exp(-std::abs(x)), z = e / (2.0f + e), square = z * z;
  float p = 1.0f / 15;
  for (int n = 13; n > 0; n -= 2) p = p * square + 1.0f / n;
  return std::max(x, 0.0f) + 2.0f * z * p;
}

// The gradient of softplus, given what it is: 1 - exp(-y).
inline float OfSoftplus(float y) {
  if (y > 0.5f) return 1.0f - Exp(-y);
  float p = 1.0f;
  for (int n = 8; n > 1; --n) p = 1.0f - p * y / n;
  return p * y;
}

inline void Fill(float* out, int64_t size, float value) {
  Across(size, [&](auto lanes, int64_t i) { Store(out + i, lanes + value); });
}

inline void Copy(float* out, const float* x, int64_t size) {
  // Of a few numbers a call would take longer than it does.
  constexpr int64_t kFew = 8 * kLanes;
  if (size > kFew) {
    std::memcpy(out, x, size * sizeof(float));
    return;
  }
  Across(size, [&](auto lanes, int64_t i) {
    Store(out + i, Load<decltype(lanes)>(x + i));
  });
}

inline float Dot(const float* x, const float* y, int64_t size) {
  Total total;
  Across(size, [&](auto lanes, int64_t i) {
    using V = decltype(lanes);
    total += Load<V>(x + i) * Load<V>(y + i);
  });
  return total.Sum();
}

// Adds scale x.
inline void Add(float* to, float scale, const float* x, int64_t size) {
  Across(size, [&](auto lanes, int64_t i) {
    using V = decltype(lanes);
    Store(to + i, Load<V>(to + i) + scale * Load<V>(x + i));
  });
}

// Multiplies by 1 - scale x.
inline void TakeOff(float* from, float scale, const float* x, int64_t size) {
  Across(size, [&](auto lanes, int64_t i) {
    using V = decltype(lanes);
    Store(from + i, Load<V>(from + i) * (1.0f - scale * Load<V>(x + i)));
  });
}

inline void Softmax(float* scores, int64_t size) {
  float most = scores[0];
  for (int64_t i = 1; i < size; ++i) most = std::max(most, scores[i]);
  Total total;
  Across(size, [&](auto lanes, int64_t i) {
    const auto x = Exp(Load<decltype(lanes)>(scores + i) - most);
    Store(scores + i, x);
    total += x;
  });
  const float scale = 1.0f / total.Sum();
  Across(size, [&](auto lanes, int64_t i) {
    Store(scores + i, scale * Load<decltype(lanes)>(scores + i));
  });
}

}  // namespace dnc_jax

#endif  // DNC_JAX_NATIVE_VECTORS_H_
