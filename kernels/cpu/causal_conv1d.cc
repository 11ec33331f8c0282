// The short convolution in front of recurrent layers.
#include <algorithm>
#include <array>
#include <cassert>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/parallel.h"

namespace fimd::cpu {

namespace {
constexpr int kMaxKernel = 16;
// Channel-tokens that pay for waking another thread.
constexpr int64_t kForkElements = 8192;
}  // namespace

void causal_conv1d(ThreadPool& pool, const float* x, const float* tail, const float* w, int kernel,
                   int n_tokens, int64_t channels, float* y) {
  assert(kernel >= 2 && kernel <= kMaxKernel);
  const Kernels& table = kernels();
  // Threads take ranges of channels, so that each finds its weights and rows in its own cache.
  constexpr int64_t kUnit = 64;
  const int64_t units = (channels + kUnit - 1) / kUnit;
  const int64_t smallest = kForkElements / (kUnit * n_tokens) + 1;
  parallel_chunks(pool, units, smallest, [&](int, int64_t begin, int64_t end) {
    const int64_t first = begin * kUnit;
    std::array<const float*, kMaxKernel> taps{};
    ConvTile tile{};
    tile.taps = taps.data();
    tile.weights = w + first;
    tile.weight_stride = channels;
    tile.kernel = kernel;
    tile.n = std::min(end * kUnit, channels) - first;
    for (int t = 0; t < n_tokens; ++t) {
      for (int j = 0; j < kernel; ++j) {
        const int row = t - kernel + 1 + j;
        const float* from = row >= 0 ? x + row * channels : tail + (row + kernel - 1) * channels;
        taps[static_cast<size_t>(j)] = from + first;
      }
      tile.y = y + t * channels + first;
      table.conv_token(tile);
    }
  });
}

void advance_conv_tail(const float* x, const float* tail, int kernel, int n_tokens,
                       int64_t channels, float* to) {
  const int rows = kernel - 1;
  for (int i = 0; i < rows; ++i) {  // ascending, so that `to` may be `tail`
    const int row = n_tokens - rows + i;
    const float* from = row >= 0 ? x + row * channels : tail + (row + rows) * channels;
    float* row_to = to + i * channels;
    if (from != row_to) std::copy_n(from, channels, row_to);
  }
}

}  // namespace fimd::cpu
