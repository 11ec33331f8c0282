// The paged KV cache: storing into it, and splitting attention over threads.
#include <algorithm>
#include <cassert>
#include <memory>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/parallel.h"

namespace fimd::cpu {
namespace {

// Query rows (heads of a group x tokens) a tile aims for: enough that converting a block of keys to
// float costs little beside using it.
constexpr int kTileRows = 64;
// Fewer multiply-adds than this are not worth a second thread.
constexpr int64_t kForkMacs = 40000;

/// How the work on some queries is cut up. Results do not depend on it.
struct Plan {
  int group = 1;
  int tile_tokens = 1;
  int tiles = 1;
  int ranges = 1;  // of kKeyRange keys
  int splits = 1;
  int split_ranges = 1;
  int items = 1;  // n_kv_heads * tiles * splits
};

Plan make_plan(int threads, const PagedKv& kv, int first, int n_tokens, int n_heads) {
  Plan plan;
  plan.group = n_heads / kv.n_kv_heads;
  plan.tile_tokens = std::clamp(kTileRows / plan.group, 1, n_tokens);
  plan.tiles = (n_tokens + plan.tile_tokens - 1) / plan.tile_tokens;
  const int keys = first + n_tokens;
  plan.ranges = (keys + kKeyRange - 1) / kKeyRange;
  const int whole = kv.n_kv_heads * plan.tiles;
  const int64_t macs = int64_t{2} * n_tokens * n_heads * kv.head_dim * keys;
  if (whole < threads && macs > kForkMacs) {
    plan.splits = std::clamp((2 * threads + whole - 1) / whole, 1, plan.ranges);
  }
  plan.split_ranges = (plan.ranges + plan.splits - 1) / plan.splits;
  plan.splits = (plan.ranges + plan.split_ranges - 1) / plan.split_ranges;
  plan.items = whole * plan.splits;
  return plan;
}

}  // namespace

size_t attention_scratch_bytes(int rows, int head_dim) {
  const auto ld = static_cast<size_t>(padded_dim(head_dim));
  const auto n = static_cast<size_t>(rows);
  return sizeof(float) * (3 * n * ld + n * kKeyBlock + 2 * ld * kKeyBlock + 4 * n);
}

void kv_append(const PagedKv& kv, std::span<const int32_t> pages, int first, int n_tokens,
               const float* k, const float* v) {
  const Kernels& kernel = kernels();
  const int64_t token_floats = int64_t{kv.n_kv_heads} * kv.head_dim;
  const int64_t head_halves = int64_t{kv.page_tokens} * kv.head_dim;
  uint16_t halves[64];
  for (int t = 0; t < n_tokens; ++t) {
    const int position = first + t;
    const int slot = position % kv.page_tokens;
    const int64_t page = pages[static_cast<size_t>(position / kv.page_tokens)];
    for (int h = 0; h < kv.n_kv_heads; ++h) {
      const int64_t at = (page * kv.n_kv_heads + h) * head_halves;
      const int64_t from = t * token_floats + int64_t{h} * kv.head_dim;
      kernel.to_half(v + from, kv.v + at + int64_t{slot} * kv.head_dim, kv.head_dim);
      for (int d0 = 0; d0 < kv.head_dim; d0 += 64) {
        const int n = std::min(64, kv.head_dim - d0);
        kernel.to_half(k + from + d0, halves, n);
        uint16_t* dst = kv.k + at + int64_t{d0} * kv.page_tokens + slot;
        for (int d = 0; d < n; ++d) dst[int64_t{d} * kv.page_tokens] = halves[d];
      }
    }
  }
}

void attention(ThreadPool& pool, const float* q, const PagedKv& kv, std::span<const int32_t> pages,
               int first, int n_tokens, int n_heads, float scale, int window, float* out) {
  assert(n_heads % kv.n_kv_heads == 0 && n_tokens > 0);
  assert(static_cast<int64_t>(pages.size()) * kv.page_tokens >= int64_t{first} + n_tokens);
  const Plan plan = make_plan(pool.size(), kv, first, n_tokens, n_heads);
  const int keys = first + n_tokens;
  const int64_t token_stride = int64_t{n_heads} * kv.head_dim;
  const int64_t head_halves = int64_t{kv.page_tokens} * kv.head_dim;
  const int64_t row_floats = partial_floats(kv.head_dim);
  const int max_rows = plan.group * plan.tile_tokens;
  const size_t scratch_bytes = (attention_scratch_bytes(max_rows, kv.head_dim) + 63) / 64 * 64;
  const Kernels& kernel = kernels();

  // (heads and tiles, ranges of keys, rows, partial_floats()); a tile of fewer rows leaves the end
  // unused.
  const int64_t tile_floats = plan.ranges * max_rows * row_floats;
  std::unique_ptr<float[]> partials;
  if (plan.splits > 1) {
    partials = std::make_unique_for_overwrite<float[]>(
        static_cast<size_t>(plan.items / plan.splits * tile_floats));
  }
  const auto item_tile = [&](int64_t item) {
    // The last tiles have the most keys: they go first, for an even finish.
    return plan.tiles - 1 - static_cast<int>(item / (plan.splits * kv.n_kv_heads));
  };
  const auto work = [&](int thread, int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int split = static_cast<int>(item % plan.splits);
      const int h = static_cast<int>(item / plan.splits % kv.n_kv_heads);
      const int token = item_tile(item) * plan.tile_tokens;
      AttentionTile tile{};
      const int64_t at = token * token_stride + int64_t{h} * plan.group * kv.head_dim;
      tile.q = q + at;
      tile.out = out + at;
      tile.token_stride = token_stride;
      tile.group = plan.group;
      tile.head_dim = kv.head_dim;
      tile.n_tokens = std::min(plan.tile_tokens, n_tokens - token);
      tile.position = first + token;
      tile.window = window;
      tile.scale = scale;
      tile.k = kv.k + h * head_halves;
      tile.v = kv.v + h * head_halves;
      tile.page_stride = kv.page_elements();
      tile.page_tokens = kv.page_tokens;
      tile.pages = pages.data();
      tile.key_begin = split * plan.split_ranges * kKeyRange;
      tile.key_end = std::min(keys, tile.key_begin + plan.split_ranges * kKeyRange);
      tile.scratch = pool.scratch(thread, scratch_bytes);
      if (partials) {
        const int64_t rows = int64_t{plan.group} * tile.n_tokens;
        tile.partial = partials.get() + item / plan.splits * tile_floats +
                       split * plan.split_ranges * rows * row_floats;
      }
      kernel.attention(tile);
    }
  };
  const int64_t macs = int64_t{2} * n_tokens * token_stride * keys;
  parallel_chunks(pool, plan.items, macs > kForkMacs ? 1 : plan.items, work);

  if (!partials) return;
  for (int64_t item = 0; item < plan.items; item += plan.splits) {
    const int h = static_cast<int>(item / plan.splits % kv.n_kv_heads);
    const int token = item_tile(item) * plan.tile_tokens;
    const int rows = plan.group * std::min(plan.tile_tokens, n_tokens - token);
    const float* first_range = partials.get() + item / plan.splits * tile_floats;
    for (int r = 0; r < rows; ++r) {
      float* dst = out + (token + r / plan.group) * token_stride +
                   (int64_t{h} * plan.group + r % plan.group) * kv.head_dim;
      kernel.attention_join(first_range + r * row_floats, rows * row_floats, plan.ranges,
                            kv.head_dim, pool.scratch(0, scratch_bytes), dst);
    }
  }
}

}  // namespace fimd::cpu
