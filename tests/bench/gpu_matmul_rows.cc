// Rows of gpu_kernels_bench: products, what stands between them, and whole layers without
// attention.
#include <array>
#include <string>
#include <vector>

#include "kernels/cuda/ops.h"
#include "kernels/cuda/pack.h"
#include "tests/bench/gpu_bench.h"

namespace fimd::bench {
namespace {

using cuda::Activations;
using cuda::MatmulTask;
using cuda::Matrix;

struct Model {
  const char* name;
  int64_t hidden, ff, heads, kv_heads, head_dim, vocab;
};
constexpr Model kModels[] = {{"1.5B", 1536, 8960, 12, 2, 128, 151936},
                             {"7B", 3584, 18944, 28, 4, 128, 152064},
                             {"32B", 5120, 27648, 40, 8, 128, 152064}};

const char* type_name(DType type) { return find_format(static_cast<uint32_t>(type))->name; }

Activations make_activations(GpuBench& bench, int n_rows, int64_t cols) {
  Activations a;
  a.cols = cols;
  a.q8 = bench.random_bytes(cuda::q8_bytes(n_rows, cols));
  a.bf16 = bench.random_bytes(cuda::bf16_bytes(n_rows, cols));
  return a;
}

// A product of x (n_rows, cols) by matrices of `rows` rows each, in one launch.
void product(GpuBench& bench, const Model& model, const char* what, DType type,
             const std::vector<int64_t>& rows, int64_t cols, int n_rows) {
  const std::string op = std::string("matmul ") + type_name(type);
  const std::string shape =
      std::string(model.name) + " " + what + " rows=" + std::to_string(n_rows);
  if (!bench.wants(op, shape)) return;
  size_t one = 0;
  int64_t total_rows = 0;
  for (const int64_t r : rows) {
    one += cuda::packed_bytes(type, r, cols);
    total_rows += r;
  }
  const int copies = bench.copies(one);
  auto* weights = static_cast<uint8_t*>(bench.random_bytes(one * static_cast<size_t>(copies)));
  auto* y = static_cast<float*>(bench.random_bytes(static_cast<size_t>(n_rows * total_rows) * 4));
  if (weights == nullptr || y == nullptr) return bench.release();
  const Activations x = make_activations(bench, n_rows, cols);
  bench.time(op, shape, static_cast<double>(one), [&](int i, cudaStream_t stream) {
    std::vector<MatmulTask> tasks;
    const uint8_t* at = weights + static_cast<size_t>(i % copies) * one;
    int64_t column = 0;
    for (const int64_t r : rows) {
      tasks.push_back({.w = {type, at, r, cols}, .y = y + column, .y_stride = total_rows});
      at += cuda::packed_bytes(type, r, cols);
      column += r;
    }
    cuda::matmul(tasks, x, n_rows, stream);
  });
  bench.release();
}

void products(GpuBench& bench, const Model& m, DType type, int n_rows) {
  const int64_t q = m.heads * m.head_dim, kv = m.kv_heads * m.head_dim;
  product(bench, m, "qkv", type, {q, kv, kv}, m.hidden, n_rows);
  product(bench, m, "o", type, {m.hidden}, q, n_rows);
  product(bench, m, "gate+up", type, {m.ff, m.ff}, m.hidden, n_rows);
  product(bench, m, "down", type, {m.hidden}, m.ff, n_rows);
}

// A layer as a decode step has it, but for rope and attention. i counts operations: a new layer's
// weights each time.
void layer(GpuBench& bench, const Model& m, DType type, int n_rows, bool chain) {
  const std::string op = std::string(chain ? "layer chain " : "layer ") + type_name(type);
  const std::string shape = std::string(m.name) + " rows=" + std::to_string(n_rows);
  if (!bench.wants(op, shape)) return;
  const int64_t q = m.heads * m.head_dim, kv = m.kv_heads * m.head_dim;
  const struct {
    int64_t rows, cols;
  } shapes[] = {{q, m.hidden},    {kv, m.hidden},   {kv, m.hidden},  {m.hidden, q},
                {m.ff, m.hidden}, {m.ff, m.hidden}, {m.hidden, m.ff}};
  size_t one = 0;
  for (const auto& s : shapes) one += cuda::packed_bytes(type, s.rows, s.cols);
  const int copies = bench.copies(one);
  auto* weights = static_cast<uint8_t*>(bench.random_bytes(one * static_cast<size_t>(copies)));
  const int64_t wide = std::max(q + 2 * kv, 2 * m.ff);
  auto* x = static_cast<float*>(bench.random_bytes(static_cast<size_t>(n_rows * m.hidden) * 4));
  auto* y = static_cast<float*>(bench.random_bytes(static_cast<size_t>(n_rows * wide) * 4));
  auto* norm = static_cast<float*>(bench.random_bytes(static_cast<size_t>(m.hidden) * 4));
  const cuda::ChainWorkspace workspace = bench.chain_workspace(m.hidden, m.ff);
  if (weights == nullptr || y == nullptr || x == nullptr || norm == nullptr ||
      workspace.data == nullptr) {
    return bench.release();
  }
  const Activations a = make_activations(bench, n_rows, m.hidden);
  const Activations o = make_activations(bench, n_rows, q);
  const Activations b = make_activations(bench, n_rows, m.ff);
  bench.time(op, shape, static_cast<double>(one), [&](int i, cudaStream_t stream) {
    const auto of_layer = [&](int layer) {
      const uint8_t* at = weights + static_cast<size_t>(layer % copies) * one;
      std::array<Matrix, 7> w;
      for (size_t j = 0; j < w.size(); ++j) {
        w[j] = {type, at, shapes[j].rows, shapes[j].cols};
        at += cuda::packed_bytes(type, shapes[j].rows, shapes[j].cols);
      }
      return w;
    };
    const std::array<Matrix, 7> w = of_layer(i);
    const int64_t stride = q + 2 * kv;
    const MatmulTask qkv[3] = {{.w = w[0], .y = y, .y_stride = stride},
                               {.w = w[1], .y = y + q, .y_stride = stride},
                               {.w = w[2], .y = y + q + kv, .y_stride = stride}};
    const MatmulTask out = {.w = w[3], .y = x, .y_stride = m.hidden};  // x stays finite
    const MatmulTask down = {.w = w[6], .y = x, .y_stride = m.hidden, .accumulate = true};
    if (chain) {
      const cuda::FloatInput normed = {x, m.hidden, norm, 1e-6F};
      const cuda::MatmulStep steps[] = {
          {.tasks = {out}, .floats = {y, q}, .x = o},
          {.tasks = {{.w = w[4]}, {.w = w[5]}}, .floats = normed, .x = a, .swiglu = true, .out = b},
          {.tasks = {down}, .x = b},
          {.tasks = {qkv[0], qkv[1], qkv[2]}, .floats = normed, .x = a}};
      const std::array<Matrix, 7> v = of_layer(i + 1);
      const cuda::MatmulStep next[] = {{.tasks = {{.w = v[3]}}},
                                       {.tasks = {{.w = v[4]}, {.w = v[5]}}, .swiglu = true},
                                       {.tasks = {{.w = v[6]}}}};
      cuda::matmul_chain(steps, n_rows, workspace, stream, next);
      return;
    }
    cuda::rms_norm_quantize(x, norm, 1e-6F, n_rows, a, stream);
    cuda::matmul(qkv, a, n_rows, stream);
    cuda::quantize(y, n_rows, o, stream);  // in place of rope, attention and its quantisation
    cuda::matmul({&out, 1}, o, n_rows, stream);
    cuda::rms_norm_quantize(x, norm, 1e-6F, n_rows, a, stream);
    const MatmulTask up[2] = {{.w = w[4], .y = y, .y_stride = 2 * m.ff},
                              {.w = w[5], .y = y + m.ff, .y_stride = 2 * m.ff}};
    cuda::matmul(up, a, n_rows, stream);
    cuda::silu_mul_quantize(y, y + m.ff, 2 * m.ff, n_rows, b, stream);
    cuda::matmul({&down, 1}, b, n_rows, stream);
  });
  bench.release();
}

void row_ops(GpuBench& bench, const Model& m, int n_rows) {
  const std::string shape = std::string(m.name) + " rows=" + std::to_string(n_rows);
  auto* x = static_cast<float*>(bench.random_bytes(static_cast<size_t>(n_rows * m.ff) * 8));
  if (x == nullptr) return;
  Activations a = make_activations(bench, n_rows, m.ff);
  a.bf16 = nullptr;
  Activations h = a;
  h.cols = m.hidden;
  const auto n = static_cast<double>(n_rows);
  const auto ff = static_cast<double>(m.ff), hidden = static_cast<double>(m.hidden);
  if (bench.wants("rms_norm_quantize", shape)) {
    bench.time("rms_norm_quantize", shape, n * hidden * 5.25, [&](int, cudaStream_t stream) {
      cuda::rms_norm_quantize(x, x, 1e-6F, n_rows, h, stream);
    });
  }
  if (bench.wants("silu_mul_quantize", shape)) {
    bench.time("silu_mul_quantize", shape, n * ff * 9.25, [&](int, cudaStream_t stream) {
      cuda::silu_mul_quantize(x, x + m.ff, 2 * m.ff, n_rows, a, stream);
    });
  }
  bench.release();
}

void whole_matrices(GpuBench& bench, const Model& m, DType type) {
  const std::string shape = std::string(m.name) + " gate " + type_name(type);
  const size_t packed = cuda::packed_bytes(type, m.ff, m.hidden);
  const auto weights = static_cast<double>(m.ff * m.hidden);
  const int copies = bench.copies(packed);
  if (!bench.wants("dequantize", shape) && !bench.wants("pack", shape)) return;
  auto* from = static_cast<uint8_t*>(bench.random_bytes(packed * static_cast<size_t>(copies)));
  auto* to = static_cast<__nv_bfloat16*>(bench.random_bytes(static_cast<size_t>(weights) * 2));
  if (from == nullptr || to == nullptr) return bench.release();
  if (bench.wants("dequantize", shape)) {
    bench.time(
        "dequantize", shape, static_cast<double>(packed) + 2 * weights,
        [&](int i, cudaStream_t stream) {
          const Matrix w{type, from + static_cast<size_t>(i % copies) * packed, m.ff, m.hidden};
          cuda::dequantize(w, to, stream);
        });
  }
  if (bench.wants("pack", shape)) {
    bench.time("pack", shape, 2 * static_cast<double>(packed), [&](int i, cudaStream_t stream) {
      cuda::pack(type, from + static_cast<size_t>(i % copies) * packed, 0, m.ff, m.ff, m.hidden, to,
                 stream);
    });
  }
  bench.release();
}

}  // namespace

void matmul_rows(GpuBench& bench) {
  const Model& seven = kModels[1];
  for (const Model& m : kModels) {
    products(bench, m, DType::kQ4_K, 1);
    products(bench, m, DType::kBF16, 1);
    product(bench, m, "down", DType::kQ6_K, {m.hidden}, m.ff, 1);
    product(bench, m, "head", DType::kQ6_K, {m.vocab}, m.hidden, 1);
  }
  for (const DType type : {DType::kQ4_0, DType::kQ5_K, DType::kQ6_K, DType::kQ8_0}) {
    product(bench, seven, "gate+up", type, {seven.ff, seven.ff}, seven.hidden, 1);
  }
  for (const int n_rows : {2, 4, 8, 16, 32, 64}) {
    products(bench, seven, DType::kQ4_K, n_rows);
    product(bench, seven, "head", DType::kQ6_K, {seven.vocab}, seven.hidden, n_rows);
  }
  for (const int n_rows : {4, 8, 64}) products(bench, seven, DType::kBF16, n_rows);
  for (const Model& m : kModels) {
    for (const int n_rows : {1, 8}) {
      layer(bench, m, DType::kQ4_K, n_rows, false);
      layer(bench, m, DType::kBF16, n_rows, false);
    }
    for (const int n_rows : {1, 2}) {
      layer(bench, m, DType::kQ4_K, n_rows, true);
      layer(bench, m, DType::kBF16, n_rows, true);
    }
  }
  for (const int n_rows : {1, 8, 64}) row_ops(bench, seven, n_rows);
  for (const DType type : {DType::kQ4_K, DType::kQ6_K, DType::kQ8_0}) {
    whole_matrices(bench, seven, type);
  }
}

}  // namespace fimd::bench
