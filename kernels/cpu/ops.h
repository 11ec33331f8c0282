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

/// gate = silu(gate) * up, elementwise, n elements.
void silu_mul(ThreadPool& pool, float* gate, const float* up, int64_t n);

/// x += y, n elements.
void add(ThreadPool& pool, float* x, const float* y, int64_t n);

}  // namespace fimd::cpu
