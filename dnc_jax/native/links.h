// Links of a step, where they lead, and the gradient of both. What begins with
// `of_` is the gradient of what is named after it.

#ifndef DNC_JAX_NATIVE_LINKS_H_
#define DNC_JAX_NATIVE_LINKS_H_

#include "memory.h"

namespace dnc_jax {

// Updates rows of links from the first on, and follows them for K read heads:
// L[i, j] = (1 - w[i] - w[j]) L[i, j] + w[i] p[j]. Of more heads than four the
// others find the rows as they then are.
template <int K, int Rows>
DNC_JAX_FLATTEN
void FollowRows(float* link, bool is_new, int64_t first, const float* weights,
                const float* precedence, const float* heads, float* forward,
                float* backward, int64_t size) {
  float weight[Rows], mine[Rows], here[K][Rows];
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r) {
    weight[r] = weights[first + r];
    mine[r] = 1.0f - weight[r];
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) here[k][r] = heads[k * size + first + r];
  }
  float* rows = link + first * size;
  Total totals[Rows][K];
  AcrossDiagonal(size, first, [&](auto lanes, int64_t j, auto off) {
    using V = decltype(lanes);
    const V other = Load<V>(weights + j), last = Load<V>(precedence + j);
    V x[Rows];
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      x[r] = Load<V>(rows + r * size + j);
      if (is_new) {
        x[r] = off((mine[r] - other) * x[r] + weight[r] * last, r);
        Store(rows + r * size + j, x[r]);
      }
    }
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) {
      const V head = Load<V>(heads + k * size + j);
      V to = Load<V>(backward + k * size + j);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) {
        totals[r][k] += x[r] * head;
        to += here[k][r] * x[r];
      }
      Store(backward + k * size + j, to);
    }
  });
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r) {
    Sums<K>(totals[r], [&](int k, float sum) {
      forward[k * size + first + r] = sum;
    });
  }
}

// Calls `each` with 2 or 1 as a constant and the first of so many rows.
template <typename Each>
inline void InPairs(int64_t count, Each each) {
  int64_t i = 0;
  for (; i + 2 <= count; i += 2) each(std::integral_constant<int, 2>(), i);
  if (i < count) each(std::integral_constant<int, 1>(), i);
}

// Updates the links of one write head, and follows them for every read head.
inline void FollowLinks(const Memory& m, float* link, const float* weights,
                        const float* precedence, const float* heads,
                        float* forward, float* backward) {
  const int64_t N = m.slots;
  Fill(backward, m.reads * N, 0.0f);
  InPairs(N, [&](auto pair, int64_t row) {
    InTiles(m.reads, [&](auto constant, int64_t first) {
      FollowRows<decltype(constant)::value, decltype(pair)::value>(
          link, first == 0, row, weights, precedence, heads + first * N,
          forward + first * N, backward + first * N, N);
    });
  });
}

// What made the links, or the memory, of the steps since they were kept.
struct Past {
  const Memory& m;
  int64_t count;
  const float *memory, *link;
  float *heard, *kept;
  int64_t heard_stride, kept_stride;

  Interface HeardAt(int64_t step) const {
    return {heard + step * heard_stride, m};
  }
  Kept KeptAt(int64_t step) const {
    return {kept + step * kept_stride, m};
  }

  // Returns the memory, computed again in `room`, of N W numbers, if need be;
  // `retention` is room for N.
  const float* Words(float* room, float* retention) const {
    const float* words = memory;
    for (int64_t step = 0; step < count; ++step) {
      const Interface own = HeardAt(step);
      const Kept rows = KeptAt(step);
      Wiped(m, own.free_gate, rows.prev_read_weights, retention);
      Write(m, room, words, rows.write_weights, retention, own);
      words = room;
    }
    return words;
  }

  // Likewise rows of the links of a write head; `room` is for Rows N numbers.
  template <int Rows>
  const float* LinkRows(int64_t head, int64_t first, float* room) const {
    const int64_t N = m.slots;
    const float* rows = link + (head * N + first) * N;
    for (int64_t step = 0; step < count; ++step) {
      const Kept own = KeptAt(step);
      const float* weights = own.write_weights + head * N;
      const float* precedence = own.prev_precedence + head * N;
      AcrossDiagonal(N, first, [&](auto lanes, int64_t j, auto off) {
        using V = decltype(lanes);
        const V other = Load<V>(weights + j), last = Load<V>(precedence + j);
#pragma GCC unroll 4
        for (int r = 0; r < Rows; ++r) {
          const float weight = weights[first + r];
          const V x = Load<V>(rows + r * N + j);
          Store(room + r * N + j,
                off((1.0f - weight - other) * x + weight * last, r));
        }
      });
      rows = room;
    }
    return rows;
  }
};

// Gradients of links' rows and of what made them. Those of the links are
// written over; only the last read heads know all of it.
struct OfLinks {
  float *link, *weights, *precedence, *heads;
};

// The gradient of `FollowRows`, given the rows before. Without `through`, that
// of the read weights alone.
template <int K, int Rows, bool through>
DNC_JAX_FLATTEN
void FollowRowsBackward(const float* prev_rows, bool is_last, int64_t first,
                        const float* weights, const float* precedence,
                        const float* heads, const float* of_forward,
                        const float* of_backward, const OfLinks& of,
                        int64_t size) {
  float weight[Rows], mine[Rows], here[K][Rows], ahead[K][Rows];
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r) {
    weight[r] = weights[first + r];
    mine[r] = 1.0f - weight[r];
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) {
      here[k][r] = heads[k * size + first + r];
      ahead[k][r] = of_forward[k * size + first + r];
    }
  }
  float* of_rows = of.link + first * size;
  Total totals[Rows][K], of_own[Rows];
  AcrossDiagonal(size, first, [&](auto lanes, int64_t j, auto off) {
    using V = decltype(lanes);
    const V other = Load<V>(weights + j), last = Load<V>(precedence + j);
    V prev[Rows], x[Rows], gradient[Rows];
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      prev[r] = Load<V>(prev_rows + r * size + j);
      x[r] = off((mine[r] - other) * prev[r] + weight[r] * last, r);
      if (through) gradient[r] = Load<V>(of_rows + r * size + j);
    }
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) {
      const V of_back = Load<V>(of_backward + k * size + j);
      const V head = Load<V>(heads + k * size + j);
      V of_head = Load<V>(of.heads + k * size + j);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) {
        totals[r][k] += x[r] * of_back;
        of_head += ahead[k][r] * x[r];
        if (through) gradient[r] += ahead[k][r] * head + here[k][r] * of_back;
      }
      Store(of.heads + k * size + j, of_head);
    }
    if (!through) return;
    if (!is_last) {
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) Store(of_rows + r * size + j, gradient[r]);
      return;
    }
    V of_other = Load<V>(of.weights + j), of_last = Load<V>(of.precedence + j);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      const V own = off(gradient[r], r);
      const V change = own * prev[r];
      Store(of_rows + r * size + j, (mine[r] - other) * own);
      of_own[r] += own * last - change;
      of_other -= change;
      of_last += weight[r] * own;
    }
    Store(of.weights + j, of_other);
    Store(of.precedence + j, of_last);
  });
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r) {
    Sums<K>(totals[r], [&](int k, float sum) {
      of.heads[k * size + first + r] += sum;
    });
    if (through && is_last) of.weights[first + r] += of_own[r].Sum();
  }
}

// The gradient of `FollowLinks`: that of the links over that of those after it,
// and adds the others. `room` is for 2 N numbers.
template <bool through>
void FollowLinksBackward(const Memory& m, const Past& past, int64_t head,
                         const float* weights, const float* precedence,
                         const float* heads, const float* of_forward,
                         const float* of_backward, const OfLinks& of,
                         float* room) {
  const int64_t N = m.slots;
  InPairs(N, [&](auto pair, int64_t row) {
    constexpr int kRows = decltype(pair)::value;
    const float* prev_rows = past.LinkRows<kRows>(head, row, room);
    InTiles(m.reads, [&](auto constant, int64_t first) {
      constexpr int K = decltype(constant)::value;
      const OfLinks own = {of.link, of.weights, of.precedence,
                           of.heads + first * N};
      FollowRowsBackward<K, kRows, through>(
          prev_rows, first + K == m.reads, row, weights, precedence,
          heads + first * N, of_forward + first * N, of_backward + first * N,
          own, N);
    });
  });
}

}  // namespace dnc_jax

#endif  // DNC_JAX_NATIVE_LINKS_H_
