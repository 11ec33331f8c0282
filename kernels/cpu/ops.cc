// The public operations: splits work over the pool and calls the instruction set's kernels.
#include "kernels/cpu/ops.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/matrix_impl.h"
#include "kernels/cpu/parallel.h"

namespace fimd::cpu {
namespace {

// Elements of a cheap operation that pay for waking another thread.
constexpr int64_t kElementwiseChunk = 16384;

// A rough price of one panel, in nanoseconds of one thread: 30 bytes or 150 multiply-adds each.
double panel_ns(const Matrix::Impl& w, int64_t n_tokens) {
  const double bytes = static_cast<double>(w.layout.panel_bytes) / 30;
  const double macs = static_cast<double>(w.cols) * kPanelRows * static_cast<double>(n_tokens) /
                      (w.layout.is_float ? 60 : 150);
  return std::max(bytes, macs);
}

constexpr double kForkNs = 2000;   // work smaller than this is not worth a second thread
constexpr double kChunkNs = 1000;  // smallest piece handed out

/// Starts fetching the weights that a thread is about to read; quant_tile goes on from there.
void fetch_start(const uint8_t* begin, const uint8_t* end) {
  const auto n = std::min<int64_t>(end - begin, kFetchAhead);
  for (int64_t i = 0; i < n; i += 64) __builtin_prefetch(begin + i);
}

int quant_kind(DType type) {
  switch (type) {
    case DType::kQ4_0:
      return kKindQ4_0;
    case DType::kQ5_0:
      return kKindQ5_0;
    case DType::kQ8_0:
      return kKindQ8_0;
    case DType::kQ4_K:
      return kKindQ4K;
    case DType::kQ5_K:
      return kKindQ5K;
    default:
      return kKindQ6K;
  }
}

int float_kind(DType type) {
  return type == DType::kF32 ? kKindF32 : type == DType::kF16 ? kKindF16 : kKindBF16;
}

void quant_panel(const Kernels& kernel, const MatmulTask& task, const QuantizedActivations::Impl& x,
                 int64_t panel, const uint8_t* fetch_end) {
  const Matrix::Impl& w = *task.w->impl();
  QuantTile tile{};
  tile.codes = w.panel(panel);
  tile.scales = tile.codes + w.layout.code_bytes;
  tile.blocks = w.cols / kBlockCols;
  const int64_t row = panel * kPanelRows;
  tile.n_rows = static_cast<int>(std::min<int64_t>(kPanelRows, w.rows - row));
  tile.bias = task.bias ? task.bias + row : nullptr;
  tile.y_stride = w.rows;
  const auto* gemm = kernel.quant_gemm[quant_kind(w.type)];
  for (int64_t i = 0; i < x.tiles(); ++i) {
    tile.fetch_end = i == 0 ? fetch_end : nullptr;
    tile.n_tokens = x.tokens_in(i);
    tile.x = x.tile_codes(i);
    tile.aux = x.tile_aux(i);
    tile.y = task.y + i * kMaxTile * w.rows + row;
    gemm[tile_variant(tile.n_tokens)](tile);
  }
}

void float_panel(const Kernels& kernel, const MatmulTask& task, const QuantizedActivations::Impl& x,
                 int64_t panel) {
  const Matrix::Impl& w = *task.w->impl();
  FloatTile tile{};
  tile.weights = w.panel(panel);
  tile.cols = w.cols;
  tile.x_stride = w.cols;
  const int64_t row = panel * kPanelRows;
  tile.n_rows = static_cast<int>(std::min<int64_t>(kPanelRows, w.rows - row));
  tile.bias = task.bias ? task.bias + row : nullptr;
  tile.y_stride = w.rows;
  for (int64_t i = 0; i < x.tiles(); ++i) {
    tile.n_tokens = x.tokens_in(i);
    tile.x = x.row(i * kMaxTile);
    tile.y = task.y + i * kMaxTile * w.rows + row;
    kernel.float_gemm[float_kind(w.type)](tile);
  }
}

}  // namespace

const Kernels& kernels() {
  switch (current_isa()) {
#if defined(FIMD_X86_KERNELS)
    case Isa::kAvx2:
      return kernels_avx2();
    case Isa::kAvxVnni:
      return kernels_avxvnni();
    case Isa::kAvx512:
      return kernels_avx512();
    case Isa::kAvx512Vnni:
      return kernels_avx512vnni();
#endif
    default:
      return kernels_portable();
  }
}

void matmul(ThreadPool& pool, const Matrix& w, const QuantizedActivations& x, const float* bias,
            float* y) {
  const MatmulTask task{&w, bias, y};
  matmul(pool, std::span(&task, 1), x);
}

void matmul(ThreadPool& pool, std::span<const MatmulTask> tasks, const QuantizedActivations& x) {
  const QuantizedActivations::Impl& a = *x.impl();
  int64_t panels = 0;
  double ns = 0;
  for (const MatmulTask& task : tasks) {
    assert(task.w->impl() && task.w->cols() == a.cols);
    const Matrix::Impl& w = *task.w->impl();
    panels += w.panels;
    ns += static_cast<double>(w.panels) * panel_ns(w, a.n_tokens);
  }
  int64_t chunk = panels;
  if (ns > kForkNs) {
    const double smallest = kChunkNs * static_cast<double>(panels) / ns;
    chunk = std::max<int64_t>(1, static_cast<int64_t>(smallest));
  }
  const Kernels& kernel = kernels();
  parallel_chunks(pool, panels, chunk, [&](int, int64_t begin, int64_t end) {
    int64_t first = 0;  // panel of this task's row 0
    for (const MatmulTask& task : tasks) {
      const Matrix::Impl& w = *task.w->impl();
      const int64_t stop = std::min(end, first + w.panels);
      const int64_t start = std::max(begin, first);
      if (start < stop && !w.layout.is_float) {
        const uint8_t* fetch_end = w.panel(stop - first);
        fetch_start(w.panel(start - first), fetch_end);
        for (int64_t p = start; p < stop; ++p) quant_panel(kernel, task, a, p - first, fetch_end);
      } else {
        for (int64_t p = start; p < stop; ++p) float_panel(kernel, task, a, p - first);
      }
      first += w.panels;
    }
  });
}

void rms_norm(ThreadPool& pool, const float* x, const float* weight, float eps, int64_t n_rows,
              int64_t dim, float* y) {
  const Kernels& kernel = kernels();
  parallel_chunks(pool, n_rows, kElementwiseChunk / dim + 1, [&](int, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      kernel.rms_norm(x + r * dim, weight, eps, dim, y + r * dim);
    }
  });
}

void rope(ThreadPool& pool, float* x, std::span<const int32_t> positions, int n_heads, int head_dim,
          int rotary_dim, const float* inv_freq, RopeStyle style) {
  assert(rotary_dim % 2 == 0 && rotary_dim <= head_dim);
  const int half = rotary_dim / 2;
  const int64_t token_floats = int64_t{n_heads} * head_dim;
  const Kernels& kernel = kernels();
  parallel_chunks(
      pool, static_cast<int64_t>(positions.size()), kElementwiseChunk / token_floats + 1,
      [&](int thread, int64_t begin, int64_t end) {
        auto* cos = reinterpret_cast<float*>(
            pool.scratch(thread, static_cast<size_t>(rotary_dim) * sizeof(float)));
        float* sin = cos + half;
        for (int64_t t = begin; t < end; ++t) {
          kernel.rope_angles(positions[static_cast<size_t>(t)], inv_freq, half, cos, sin);
          for (int h = 0; h < n_heads; ++h) {
            float* head = x + t * token_floats + int64_t{h} * head_dim;
            if (style == RopeStyle::kNeox) {
              kernel.rope_neox(head, cos, sin, half);
              continue;
            }
            for (int i = 0; i < half; ++i) {
              const float a = head[2 * i], b = head[2 * i + 1];
              head[2 * i] = a * cos[i] - b * sin[i];
              head[2 * i + 1] = b * cos[i] + a * sin[i];
            }
          }
        }
      });
}

void silu_mul(ThreadPool& pool, float* gate, const float* up, int64_t n) {
  const Kernels& kernel = kernels();
  parallel_chunks(pool, n, kElementwiseChunk, [&](int, int64_t begin, int64_t end) {
    kernel.silu_mul(gate + begin, up + begin, end - begin);
  });
}

void sigmoid_mul(ThreadPool& pool, float* x, const float* gate, int64_t n) {
  const Kernels& kernel = kernels();
  parallel_chunks(pool, n, kElementwiseChunk, [&](int, int64_t begin, int64_t end) {
    kernel.sigmoid_mul(x + begin, gate + begin, end - begin);
  });
}

float max_of(const float* x, int64_t n) { return kernels().max_of(x, n); }

double sum_exp(const float* x, int64_t n, float top) { return kernels().sum_exp(x, n, top); }

void add(ThreadPool& pool, float* x, const float* y, int64_t n) {
  const Kernels& kernel = kernels();
  parallel_chunks(pool, n, kElementwiseChunk, [&](int, int64_t begin, int64_t end) {
    kernel.add(x + begin, y + begin, end - begin);
  });
}

}  // namespace fimd::cpu
