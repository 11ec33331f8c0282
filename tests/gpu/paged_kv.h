// Sequences with scattered KV pages on the GPU, and their attention in double precision.
#pragma once

#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cuda/ops.h"
#include "tests/gpu/device_data.h"

namespace fimd::testing {

struct Span {
  int n_rows = 0;
  int first = 0;  // positions before its rows
};

struct AttentionShape {
  int head_dim = 128;
  int n_kv_heads = 1;
  int group = 1;
  int page_tokens = 32;
  int window = 0;
  std::vector<Span> spans;  // one for each sequence
};

inline std::vector<__half> random_halves(size_t n, unsigned seed, float scale = 1.0F) {
  std::vector<__half> halves(n);
  const std::vector<float> floats = random_floats(n, seed, scale);
  std::transform(floats.begin(), floats.end(), halves.begin(),
                 [](float x) { return __float2half(x); });
  return halves;
}

/// Pages are handed out in random order; what no token was stored to holds NaN.
class PagedKv {
 public:
  PagedKv(const AttentionShape& shape, unsigned seed) : shape_(shape) {
    int used = 1;  // a page that nobody has
    for (const Span& span : shape.spans) {
      sequences.push_back({n_rows, span.n_rows, span.first, static_cast<int32_t>(pages.size())});
      n_rows += span.n_rows;
      max_rows = std::max(max_rows, span.n_rows);
      max_keys = std::max(max_keys, span.first + span.n_rows);
      const int n_pages = (span.first + span.n_rows + shape.page_tokens - 1) / shape.page_tokens;
      for (int i = 0; i < n_pages; ++i) pages.push_back(used++);
    }
    std::shuffle(pages.begin(), pages.end(), std::mt19937(seed));
    const auto elements = static_cast<size_t>(used) * static_cast<size_t>(shape.page_tokens) *
                          static_cast<size_t>(shape.n_kv_heads * shape.head_dim);
    k = random_halves(elements, seed + 1);
    v = random_halves(elements, seed + 2);
    poison_unused(used);
    device_k = to_device(k);
    device_v = to_device(v);
    device_pages = to_device(pages, 1);
    device_sequences = to_device(sequences);
  }

  cuda::KvPages device() const {
    return {device_k.as<__half>(), device_v.as<__half>(), shape_.page_tokens, shape_.n_kv_heads,
            shape_.head_dim};
  }

  /// Of a whole pass, but for q, outputs and workspace.
  cuda::AttentionParams attention_params() const {
    cuda::AttentionParams params;
    params.kv = device();
    params.sequences = device_sequences.as<cuda::Sequence>();
    params.n_sequences = static_cast<int>(sequences.size());
    params.pages = device_pages.as<int32_t>();
    params.n_rows = n_rows;
    params.n_heads = shape_.n_kv_heads * shape_.group;
    params.window = shape_.window;
    params.max_rows = max_rows;
    params.max_keys = max_keys;
    return params;
  }

  struct Contents {
    std::vector<__half> k, v;
  };
  /// The pages before the sequences' rows are appended: their places hold no numbers.
  Contents before_append() const {
    Contents stale = {k, v};
    for (size_t s = 0; s < sequences.size(); ++s) {
      for (int row = 0; row < sequences[s].n_rows; ++row) {
        for (int head = 0; head < shape_.n_kv_heads; ++head) {
          const auto begin = static_cast<ptrdiff_t>(at(s, sequences[s].first + row, head));
          std::fill_n(stale.k.begin() + begin, shape_.head_dim, __float2half(NAN));
          std::fill_n(stale.v.begin() + begin, shape_.head_dim, __float2half(NAN));
        }
      }
    }
    return stale;
  }
  void upload(const Contents& contents) const {
    REQUIRE(cudaMemcpy(device_k.data(), contents.k.data(), contents.k.size() * sizeof(__half),
                       cudaMemcpyHostToDevice) == cudaSuccess);
    REQUIRE(cudaMemcpy(device_v.data(), contents.v.data(), contents.v.size() * sizeof(__half),
                       cudaMemcpyHostToDevice) == cudaSuccess);
  }

  /// Where position `position` of sequence `s` begins, for one KV head.
  size_t at(size_t s, int position, int kv_head) const {
    const auto index = static_cast<size_t>(sequences[s].page_begin + position / shape_.page_tokens);
    const int64_t token =
        (int64_t{pages[index]} * shape_.n_kv_heads + kv_head) * shape_.page_tokens +
        position % shape_.page_tokens;
    return static_cast<size_t>(token * shape_.head_dim);
  }

  /// The attention of one row and head, from q as rope_append leaves it.
  std::vector<double> reference(const std::vector<__half>& q, size_t s, int row, int head) const {
    const cuda::Sequence& sequence = sequences[s];
    const int n_heads = shape_.n_kv_heads * shape_.group;
    const int dim = shape_.head_dim;
    const int kv_head = head / shape_.group;
    const int position = sequence.first + row;
    const int from = shape_.window > 0 ? std::max(0, position - shape_.window + 1) : 0;
    std::vector<double> query(static_cast<size_t>(dim));
    for (int d = 0; d < dim; ++d) {
      query[static_cast<size_t>(d)] = __half2float(
          q[static_cast<size_t>(((sequence.row_begin + row) * n_heads + head) * dim + d)]);
    }
    std::vector<double> scores;
    double top = -INFINITY;
    for (int p = from; p <= position; ++p) {
      const __half* key = k.data() + at(s, p, kv_head);
      double score = 0;
      for (int d = 0; d < dim; ++d)
        score += query[static_cast<size_t>(d)] * double{__half2float(key[d])};
      scores.push_back(score);
      top = std::max(top, score);
    }
    std::vector<double> out(static_cast<size_t>(dim));
    double sum = 0;
    for (int p = from; p <= position; ++p) {
      const double weight = std::exp2(scores[static_cast<size_t>(p - from)] - top);
      const __half* value = v.data() + at(s, p, kv_head);
      sum += weight;
      for (int d = 0; d < dim; ++d)
        out[static_cast<size_t>(d)] += weight * double{__half2float(value[d])};
    }
    for (double& x : out) x /= sum;
    return out;
  }

  std::vector<cuda::Sequence> sequences;
  std::vector<int32_t> pages;
  std::vector<__half> k;  // (n_pages, n_kv_heads, page_tokens, head_dim)
  std::vector<__half> v;
  int n_rows = 0;
  int max_rows = 0;
  int max_keys = 0;
  cuda::DeviceBuffer device_k, device_v, device_pages, device_sequences;

 private:
  void poison_unused(int n_pages) {
    std::vector<char> stored(static_cast<size_t>(n_pages * shape_.page_tokens));
    for (size_t s = 0; s < sequences.size(); ++s) {
      for (int p = 0; p < shape_.spans[s].first + shape_.spans[s].n_rows; ++p) {
        const auto index = static_cast<size_t>(sequences[s].page_begin + p / shape_.page_tokens);
        stored[static_cast<size_t>(pages[index] * shape_.page_tokens + p % shape_.page_tokens)] = 1;
      }
    }
    const __half nan = __float2half(NAN);
    const auto dim = static_cast<size_t>(shape_.head_dim);
    for (size_t i = 0; i < stored.size(); ++i) {
      if (stored[i]) continue;
      const size_t tokens = static_cast<size_t>(shape_.page_tokens);
      for (size_t h = 0; h < static_cast<size_t>(shape_.n_kv_heads); ++h) {
        const size_t token =
            (i / tokens * static_cast<size_t>(shape_.n_kv_heads) + h) * tokens + i % tokens;
        std::fill_n(k.begin() + static_cast<ptrdiff_t>(token * dim), dim, nan);
        std::fill_n(v.begin() + static_cast<ptrdiff_t>(token * dim), dim, nan);
      }
    }
  }

  AttentionShape shape_;
};

}  // namespace fimd::testing
