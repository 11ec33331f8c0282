// The CPU's operations: what a forward pass is made of.
//
// Raw pointers and shapes, no engine types. Every operation has a portable form; x86 forms are
// chosen at run time (isa.h). Activations are float32, row-major (n_tokens, dim).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/formats/dtype.h"
#include "support/result.h"

namespace fimd::cpu {

/// A weight matrix (rows, cols) ready for matmul: either a view of the file's bytes, or a copy
/// repacked so that SIMD code reads it in order.
class Matrix {
 public:
  /// `data` must outlive the matrix (row() reads it). cols must be a multiple of the block.
  /// Repacking takes about 0.7 ns per weight; matrices may be made on several threads at once.
  static Result<Matrix> make(DType type, const void* data, int64_t rows, int64_t cols);

  Matrix();
  ~Matrix();
  Matrix(Matrix&&) noexcept;
  Matrix& operator=(Matrix&&) noexcept;

  int64_t rows() const;
  int64_t cols() const;
  DType type() const;
  size_t bytes() const;

  /// Decodes one row to float (the embedding look-up).
  void row(int64_t index, float* dst) const;

  struct Impl;
  const Impl* impl() const { return impl_.get(); }

 private:
  std::unique_ptr<Impl> impl_;
};

/// Activations of n tokens, quantised once and used by several matmuls (q, k, v; gate, up).
/// Reusable scratch: assign() keeps its memory.
class QuantizedActivations {
 public:
  QuantizedActivations();
  ~QuantizedActivations();
  /// x: (n_tokens, cols).
  void assign(ThreadPool& pool, const float* x, int64_t n_tokens, int64_t cols);

  struct Impl;
  const Impl* impl() const { return impl_.get(); }

 private:
  std::unique_ptr<Impl> impl_;
};

/// y (n_tokens, rows) = x (n_tokens, cols) . w^T (+ bias (rows), if not null).
void matmul(ThreadPool& pool, const Matrix& w, const QuantizedActivations& x, const float* bias,
            float* y);

/// One product of a group that shares its activations.
struct MatmulTask {
  const Matrix* w = nullptr;
  const float* bias = nullptr;
  float* y = nullptr;  // (n_tokens, rows)
};

/// The same for several matrices at once (q, k, v; gate, up): one fork and join for all of them,
/// which matters when they are small.
void matmul(ThreadPool& pool, std::span<const MatmulTask> tasks, const QuantizedActivations& x);

/// y = x * rsqrt(mean(x^2) + eps) * weight, per row of `dim`; x and y (n_rows, dim) may alias.
void rms_norm(ThreadPool& pool, const float* x, const float* weight, float eps, int64_t n_rows,
              int64_t dim, float* y);

enum class RopeStyle { kNeox, kAdjacent };  // pairs (i, i + d/2) or (2i, 2i + 1)

/// Rotates in place. x: (n_tokens, n_heads, head_dim); the first `rotary_dim` dims of each head
/// turn by positions[t] * inv_freq[i], i < rotary_dim / 2.
void rope(ThreadPool& pool, float* x, std::span<const int32_t> positions, int n_heads, int head_dim,
          int rotary_dim, const float* inv_freq, RopeStyle style);

/// One layer's paged KV cache in half precision: k is (n_pages, n_kv_heads, head_dim, page_tokens),
/// transposed so that SIMD lanes are keys, and v is (n_pages, n_kv_heads, page_tokens, head_dim).
/// Token p of a sequence lies in page pages[p / page_tokens]. To share a page's first tokens, copy
/// the whole page (page_elements() of k and of v) and overwrite the rest with kv_append.
/// page_tokens: any number; multiples of 16 are quick, 32 or 64 best.
struct PagedKv {
  uint16_t* k = nullptr;
  uint16_t* v = nullptr;
  int page_tokens = 0;
  int n_kv_heads = 0;
  int head_dim = 0;
  size_t page_elements() const { return size_t(page_tokens) * n_kv_heads * head_dim; }
};

/// Stores k, v (n_tokens, n_kv_heads, head_dim) of positions first.. into the pages.
void kv_append(const PagedKv& kv, std::span<const int32_t> pages, int first, int n_tokens,
               const float* k, const float* v);

/// Causal grouped-query attention of n_tokens queries at positions first.. of one sequence against
/// all its keys (already appended). q, out: (n_tokens, n_heads, head_dim). window 0: unlimited,
/// else key j is visible to query i iff i - window < j <= i.
void attention(ThreadPool& pool, const float* q, const PagedKv& kv, std::span<const int32_t> pages,
               int first, int n_tokens, int n_heads, float scale, int window, float* out);

/// Causal depthwise convolution with SiLU, of n_tokens rows of one sequence:
/// y[t][c] = silu(sum over j of w[j][c] * x[t - kernel + 1 + j][c]), where x[-1], x[-2] ... are the
/// last rows of `tail` (kernel - 1, channels). w: (kernel, channels); y may not alias.
void causal_conv1d(ThreadPool& pool, const float* x, const float* tail, const float* w, int kernel,
                   int n_tokens, int64_t channels, float* y);

/// The tail after these rows: the last kernel - 1 rows of (tail, x). `to` may be `tail`.
void advance_conv_tail(const float* x, const float* tail, int kernel, int n_tokens,
                       int64_t channels, float* to);

/// Sizes of the gated delta rule. Value head h reads key head h % n_k_heads, or if they are grouped
/// h / (n_v_heads / n_k_heads).
struct DeltaShape {
  int n_k_heads = 0;
  int n_v_heads = 0;
  int k_dim = 0;
  int v_dim = 0;
  bool grouped = false;
  int64_t key_head(int64_t h) const {
    return grouped ? h / (n_v_heads / n_k_heads) : h % n_k_heads;
  }
  int64_t keys() const { return int64_t{n_k_heads} * k_dim; }
  int64_t values() const { return int64_t{n_v_heads} * v_dim; }
  int64_t channels() const { return 2 * keys() + values(); }
};

/// In place, for rows of u (n_rows, channels), each q | k | v: every head of q and k is scaled to
/// length 1 (eps is added to its sum of squares), and q by k_dim^-1/2 as well.
void normalize_qk(ThreadPool& pool, const DeltaShape& shape, float eps, int64_t n_rows, float* u);

/// In place, for n_rows of n_v_heads: alpha = exp(decay * softplus(alpha + dt_bias)),
/// beta = sigmoid(beta).
void delta_gates(ThreadPool& pool, const float* decay, const float* dt_bias, int n_v_heads,
                 int64_t n_rows, float* alpha, float* beta);

/// The gated delta rule over n_tokens of one sequence, for each value head with q, k, v, gate
/// a = exp(g) and strength b:  S = a S; S += k (b (v - S^T k))^T; out = S^T q.
/// u: (n_tokens, channels) after normalize_qk; alpha, beta: (n_tokens, n_v_heads) after
/// delta_gates; state (n_v_heads, k_dim, v_dim), updated; out: (n_tokens, values).
///
/// Token after token: on a CPU the chunked form would do 1.5 times the arithmetic to save memory
/// traffic that the L1 cache does not mind.
void gated_delta(ThreadPool& pool, const DeltaShape& shape, const float* u, const float* alpha,
                 const float* beta, int n_tokens, float* state, float* out);

/// x *= sigmoid(gate), elementwise, n elements.
void sigmoid_mul(ThreadPool& pool, float* x, const float* gate, int64_t n);

/// gate = silu(gate) * up, elementwise, n elements.
void silu_mul(ThreadPool& pool, float* gate, const float* up, int64_t n);

/// The largest of n elements, and the sum of e^(x - top) where top is the largest. Elements that
/// are not numbers are passed over; the largest of none is minus infinity.
float max_of(const float* x, int64_t n);
double sum_exp(const float* x, int64_t n, float top);

/// x += y, n elements.
void add(ThreadPool& pool, float* x, const float* y, int64_t n);

}  // namespace fimd::cpu
