#include <cassert>
#include <cstring>
#include <new>

#include "kernels/cpu/matrix_impl.h"
#include "kernels/cpu/parallel.h"

namespace fimd::cpu {
namespace {

// Fewest floats quantised between two looks at the work counter, in whole tiles, as a tile's tokens
// lie together in cache lines; fewer are done by the caller alone.
constexpr int64_t kFloatsPerChunk = 16384;

}  // namespace

QuantizedActivations::QuantizedActivations() : impl_(std::make_unique<Impl>()) {}
QuantizedActivations::~QuantizedActivations() = default;

void QuantizedActivations::assign(ThreadPool& pool, const float* x, int64_t n_tokens,
                                  int64_t cols) {
  assert(n_tokens > 0 && cols > 0);
  Impl& a = *impl_;
  a.n_tokens = n_tokens;
  a.cols = cols;
  const int64_t blocks = a.blocks();
  const auto tokens = static_cast<size_t>(a.tiles() * kMaxTile);
  if (!a.codes.reserve(tokens * static_cast<size_t>(blocks) * kBlockCols) ||
      !a.aux.reserve(tokens * static_cast<size_t>(blocks) * kAuxWords * sizeof(float)) ||
      !a.floats.reserve(static_cast<size_t>(n_tokens * cols) * sizeof(float))) {
    throw std::bad_alloc();
  }
  auto* floats = reinterpret_cast<float*>(a.floats.data());
  const Kernels& kernel = kernels();
  const auto quantize = [&](int, int64_t begin, int64_t end) {
    std::memcpy(floats + begin * cols, x + begin * cols,
                static_cast<size_t>((end - begin) * cols) * sizeof(float));
    if (cols % kBlockCols != 0) return;  // fits float weights only
    for (int64_t token = begin; token < end; ++token) {
      const int64_t tile = token / kMaxTile;
      const int64_t t = token % kMaxTile;
      const int size = kTileSizes[tile_variant(a.tokens_in(tile))];
      kernel.quantize_token(x + token * cols, blocks, size, a.tile_codes(tile) + t * kBlockCols,
                            a.tile_aux(tile) + t);
    }
  };
  // The last tile's padding tokens are zero.
  const int64_t last = a.tiles() - 1;
  const int used = a.tokens_in(last);
  const int size = kTileSizes[tile_variant(used)];
  if (used < size && cols % kBlockCols == 0) {
    std::memset(a.tile_codes(last), 0, static_cast<size_t>(blocks * size * kBlockCols));
    std::memset(a.tile_aux(last), 0,
                static_cast<size_t>(blocks * size * kAuxWords) * sizeof(float));
  }
  const int64_t tiles = kFloatsPerChunk / (kMaxTile * cols) + 1;
  parallel_chunks(pool, n_tokens, tiles * kMaxTile, quantize);
}

}  // namespace fimd::cpu
