// Look-ups by content, and their gradient. What begins with `of_` is the
// gradient of what is named after it.

#ifndef DNC_JAX_NATIVE_CONTENT_H_
#define DNC_JAX_NATIVE_CONTENT_H_

#include "memory.h"
#include "products.h"

namespace dnc_jax {

// Keys as memories are compared with: k∘m∘m, m∘m, and |k∘m|². Without masks
// they are the keys, and one row of ones for all.
struct Keys {
  const float *keys, *masks;
  float *effective, *squared_masks, *squares;
  int64_t count;

  // Those of one kind of heads, with room taken for them.
  Keys(const Memory& m, const float* keys, const float* masks, int64_t count,
       Room& room)
      : keys(keys),
        masks(masks),
        effective(room.Take(count * m.word_size)),
        squared_masks(room.Take(count * m.word_size)),
        squares(room.Take(count)),
        count(count) {
    const int64_t W = m.word_size;
    Fill(squared_masks, W, 1.0f);
    Copy(effective, keys, count * W);
    for (int64_t i = 0; i < count * W && m.masked; ++i) {
      squared_masks[i] = masks[i] * masks[i];
      effective[i] = keys[i] * squared_masks[i];
    }
    for (int64_t h = 0; h < count; ++h) {
      squares[h] = Dot(keys + h * W, effective + h * W, W);
    }
  }

  static int64_t Size(const Memory& m, int64_t count) {
    return count * (2 * m.word_size + 1);
  }

  int64_t num_masks(const Memory& m) const { return m.masked ? count : 1; }

  // Writes k·M[i] of each head, and |M[i]|² of each mask.
  void Compare(const Memory& m, const float* words, float* dots,
               float* of_words) const {
    const int64_t N = m.slots, W = m.word_size;
    Fill(dots, count * N, 0.0f);
    AddDots(dots, effective, count, words, N, W);
    Fill(of_words, num_masks(m) * N, 0.0f);
    AddDots(of_words, squared_masks, num_masks(m), words, N, W, Square());
  }

  // Adds the gradient of the words, and writes those of keys and masks, given
  // those of the dots and of both kinds of squares.
  void CompareBackward(const Memory& m, const float* words,
                       const float* of_dots, const float* of_word_squares,
                       const float* of_squares, float* of_words, float* of_keys,
                       float* of_masks, Room room) const {
    const int64_t N = m.slots, W = m.word_size;
    float* of_effective = room.TakeZeros(count * W);
    AddOuter(of_words, N, W, of_dots, effective, count);
    AddSums(of_effective, of_dots, count, words, N, W);
    for (int64_t i = 0; i < N && !m.masked; ++i) {
      Add(of_words + i * W, 2.0f * of_word_squares[i], words + i * W, W);
    }
    for (int64_t h = 0; h < count && !m.masked; ++h) {
      Copy(of_keys + h * W, of_effective + h * W, W);
      Add(of_keys + h * W, 2.0f * of_squares[h], keys + h * W, W);
    }
    if (!m.masked) return;
    float* of_squared_masks = room.TakeZeros(count * W);
    AddSums(of_squared_masks, of_word_squares, count, words, N, W, Square());
    for (int64_t i = 0; i < N; ++i) {
      for (int64_t h = 0; h < count; ++h) {
        const float scale = 2.0f * of_word_squares[h * N + i];
        Across(W, [&](auto lanes, int64_t w) {
          using V = decltype(lanes);
          const V squared = Load<V>(squared_masks + h * W + w);
          const V word = Load<V>(words + i * W + w);
          float* to = of_words + i * W + w;
          Store(to, Load<V>(to) + scale * squared * word);
        });
      }
    }
    for (int64_t i = 0; i < count * W; ++i) {
      const float key = keys[i], of_square = of_squares[i / W];
      of_keys[i] =
          squared_masks[i] * (of_effective[i] + 2.0f * key * of_square);
      of_masks[i] = 2.0f * masks[i] *
                    (of_squared_masks[i] + key * of_effective[i] +
                     key * key * of_square);
    }
  }

  static int64_t BackwardSize(const Memory& m, int64_t count) {
    return 2 * count * m.word_size;
  }
};

// Content weights of one head, given k·M[i], |M[i]|² and |k|².
inline void Content(float* __restrict weights, const float* __restrict dots,
                    const float* __restrict squares, float key_square,
                    float strength, int64_t size) {
  const float key_norm = std::sqrt(key_square + kEpsilon);
#pragma GCC ivdep
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

}  // namespace dnc_jax

#endif  // DNC_JAX_NATIVE_CONTENT_H_
