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
  bool coded = false;       // pages of 8-bit codes
};

/// A row of a head as codes and scales (kernels/cuda/kv_codes.cuh), and back.
inline void encode_row(const __half* row, int dim, uint8_t* codes, __half* scales) {
  const int block = cuda::kv_code_block(dim);
  for (int begin = 0; begin < dim; begin += block) {
    float most = 0;
    for (int i = begin; i < begin + block; ++i) {
      most = std::max(most, std::abs(__half2float(row[i])));
    }
    const __half scale = __float2half_ru(std::min(most / 127.0F, 515.5F));
    const float inverse = __half2float(scale) > 0 ? 1.0F / __half2float(scale) : 0.0F;
    scales[begin / block] = scale;
    for (int i = begin; i < begin + block; ++i) {
      const float code = std::clamp(std::rint(__half2float(row[i]) * inverse), -127.0F, 127.0F);
      codes[i] = static_cast<uint8_t>(static_cast<int>(code) + 128);
    }
  }
}
inline void decode_row(const uint8_t* codes, const __half* scales, int dim, __half* row) {
  for (int i = 0; i < dim; ++i) {
    const float scale = __half2float(scales[i / cuda::kv_code_block(dim)]);
    row[i] = __float2half(static_cast<float>(codes[i] - 128) * scale);
  }
}

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
    if (shape.coded) {
      k_codes = encode(k);
      v_codes = encode(v);
      k = decode(k_codes);
      v = decode(v_codes);
      device_k_codes = to_device(k_codes);
      device_v_codes = to_device(v_codes);
      device_k = poisoned<__half>(k.size());
      device_v = poisoned<__half>(v.size());
    } else {
      device_k = to_device(k);
      device_v = to_device(v);
    }
    device_pages = to_device(pages, 1);
    device_sequences = to_device(sequences);
  }

  cuda::KvPages device() const {
    return {device_k.as<__half>(),
            device_v.as<__half>(),
            shape_.page_tokens,
            shape_.n_kv_heads,
            shape_.head_dim,
            shape_.coded ? device_k_codes.as<uint8_t>() : nullptr,
            shape_.coded ? device_v_codes.as<uint8_t>() : nullptr};
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
    if (shape_.coded) {
      const std::vector<uint8_t> stale_k = encode(contents.k);
      const std::vector<uint8_t> stale_v = encode(contents.v);
      REQUIRE(cudaMemcpy(device_k_codes.data(), stale_k.data(), stale_k.size(),
                         cudaMemcpyHostToDevice) == cudaSuccess);
      REQUIRE(cudaMemcpy(device_v_codes.data(), stale_v.data(), stale_v.size(),
                         cudaMemcpyHostToDevice) == cudaSuccess);
      REQUIRE(cudaMemset(device_k.data(), 0xFF, device_k.bytes()) == cudaSuccess);
      REQUIRE(cudaMemset(device_v.data(), 0xFF, device_v.bytes()) == cudaSuccess);
      return;
    }
    REQUIRE(cudaMemcpy(device_k.data(), contents.k.data(), contents.k.size() * sizeof(__half),
                       cudaMemcpyHostToDevice) == cudaSuccess);
    REQUIRE(cudaMemcpy(device_v.data(), contents.v.data(), contents.v.size() * sizeof(__half),
                       cudaMemcpyHostToDevice) == cudaSuccess);
  }

  /// What the pages hold on the GPU, keys before values.
  std::vector<uint8_t> stored() const {
    const DeviceBuffer& keys = shape_.coded ? device_k_codes : device_k;
    const DeviceBuffer& values = shape_.coded ? device_v_codes : device_v;
    std::vector<uint8_t> all = to_host<uint8_t>(keys, keys.bytes());
    const std::vector<uint8_t> rest = to_host<uint8_t>(values, values.bytes());
    all.insert(all.end(), rest.begin(), rest.end());
    return all;
  }

  /// Pages of halves as pages of codes; rows that are not numbers get scales that are none.
  std::vector<uint8_t> encode(const std::vector<__half>& halves) const {
    std::vector<uint8_t> codes(halves.size() / static_cast<size_t>(shape_.head_dim) *
                               static_cast<size_t>(cuda::kv_row_bytes(shape_.head_dim)));
    for_rows(halves.size(), [&](size_t half, size_t code, size_t scale) {
      auto* scales = reinterpret_cast<__half*>(codes.data() + scale);
      if (std::isnan(__half2float(halves[half]))) {
        const int dim = shape_.head_dim;
        std::fill_n(codes.data() + code, dim, uint8_t{0xFF});
        std::fill_n(scales, dim / cuda::kv_code_block(dim), __float2half(NAN));
      } else {
        encode_row(halves.data() + half, shape_.head_dim, codes.data() + code, scales);
      }
    });
    return codes;
  }
  std::vector<__half> decode(const std::vector<uint8_t>& codes) const {
    std::vector<__half> halves(codes.size() /
                               static_cast<size_t>(cuda::kv_row_bytes(shape_.head_dim)) *
                               static_cast<size_t>(shape_.head_dim));
    for_rows(halves.size(), [&](size_t half, size_t code, size_t scale) {
      decode_row(codes.data() + code, reinterpret_cast<const __half*>(codes.data() + scale),
                 shape_.head_dim, halves.data() + half);
    });
    return halves;
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
  std::vector<uint8_t> k_codes, v_codes;
  int n_rows = 0;
  int max_rows = 0;
  int max_keys = 0;
  cuda::DeviceBuffer device_k, device_v, device_pages, device_sequences;
  cuda::DeviceBuffer device_k_codes, device_v_codes;

 private:
  using DeviceBuffer = cuda::DeviceBuffer;

  /// row(half, code, scale): where each row begins in pages of halves and of codes.
  template <class Row>
  void for_rows(size_t n_halves, const Row& row) const {
    const auto dim = static_cast<size_t>(shape_.head_dim);
    const auto tokens = static_cast<size_t>(shape_.page_tokens);
    const auto bytes = static_cast<size_t>(cuda::kv_row_bytes(shape_.head_dim));
    for (size_t i = 0; i < n_halves / dim; ++i) {
      const size_t part = i / tokens * tokens * bytes;
      const size_t slot = i % tokens;
      row(i * dim, part + slot * dim, part + tokens * dim + slot * (bytes - dim));
    }
  }

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
