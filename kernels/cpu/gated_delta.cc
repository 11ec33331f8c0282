// The gated delta rule: what Gated DeltaNet layers have instead of attention.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/parallel.h"

namespace fimd::cpu {

namespace {
// Elements that pay for waking another thread.
constexpr int64_t kForkElements = 16384;
constexpr int64_t kForkGates = 256;
}  // namespace

void normalize_qk(ThreadPool& pool, const DeltaShape& shape, float eps, int64_t n_rows, float* u) {
  const Kernels& kernel = kernels();
  const int64_t smallest = kForkElements / (2 * shape.keys()) + 1;
  const float q_scale = 1.0F / std::sqrt(static_cast<float>(shape.k_dim));
  parallel_chunks(pool, n_rows, smallest, [&](int, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* q = u + row * shape.channels();
      float* k = q + shape.keys();
      for (int64_t at = 0; at < shape.keys(); at += shape.k_dim) {
        kernel.unit_length(q + at, eps, q_scale, shape.k_dim);
        kernel.unit_length(k + at, eps, 1.0F, shape.k_dim);
      }
    }
  });
}

void delta_gates(ThreadPool& pool, const float* decay, const float* dt_bias, int n_v_heads,
                 int64_t n_rows, float* alpha, float* beta) {
  parallel_chunks(pool, n_rows, kForkGates / n_v_heads + 1, [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin * n_v_heads; i < end * n_v_heads; ++i) {
      const int64_t head = i % n_v_heads;
      const float x = alpha[i] + dt_bias[head];
      const float softplus = std::max(x, 0.0F) + std::log1p(std::exp(-std::abs(x)));
      alpha[i] = std::exp(decay[head] * softplus);
      beta[i] = 1.0F / (1.0F + std::exp(-beta[i]));
    }
  });
}

void gated_delta(ThreadPool& pool, const DeltaShape& shape, const float* u, const float* alpha,
                 const float* beta, int n_tokens, float* state, float* out) {
  if (n_tokens <= 0) return;
  const Kernels& kernel = kernels();
  const int64_t tiles = (shape.v_dim + kDeltaColumns - 1) / kDeltaColumns;
  const int64_t tile_elements =
      int64_t{shape.k_dim} * std::min(shape.v_dim, kDeltaColumns) * n_tokens;
  const int64_t smallest = kForkElements / tile_elements + 1;
  parallel_chunks(pool, shape.n_v_heads * tiles, smallest, [&](int, int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t head = item / tiles;
      const int64_t column = item % tiles * kDeltaColumns;
      DeltaTile tile{};
      tile.q = u + shape.key_head(head) * shape.k_dim;
      tile.k = tile.q + shape.keys();
      tile.v = u + 2 * shape.keys() + head * shape.v_dim + column;
      tile.stride = shape.channels();
      tile.decay = alpha + head;
      tile.beta = beta + head;
      tile.gate_stride = shape.n_v_heads;
      tile.n_tokens = n_tokens;
      tile.k_dim = shape.k_dim;
      tile.columns = std::min<int64_t>(kDeltaColumns, shape.v_dim - column);
      tile.state = state + head * shape.k_dim * shape.v_dim + column;
      tile.state_stride = shape.v_dim;
      tile.out = out + head * shape.v_dim + column;
      tile.out_stride = shape.values();
      kernel.delta_rule(tile);
    }
  });
}

}  // namespace fimd::cpu
