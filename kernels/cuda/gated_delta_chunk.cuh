// A chunk of tokens of the gated delta rule as its two teams of warps see it: which tokens it has,
// and where its parts lie in shared memory. gated_delta_chunked.cu has the formulas.
#pragma once

#include "kernels/cuda/gated_delta.cuh"
#include "kernels/cuda/tensor_core.cuh"

namespace fimd::cuda::delta_detail {

inline constexpr int kChunk = 64;  // tokens
inline constexpr int kTeam = 128;  // threads that prepare chunks, and as many that go through them
inline constexpr int kThreads = 2 * kTeam;
inline constexpr int kCtaColumns = 64;
inline constexpr int kStages = 2;
inline constexpr int kTokenTiles = kChunk / 8;
inline constexpr int kBlocks = kChunk / 16;

// Named barriers: a stage is full, is empty (one for each), and the preparing team's own.
inline constexpr int kFull = 1;
inline constexpr int kEmpty = kFull + kStages;
inline constexpr int kPreparing = kEmpty + kStages;

/// 64 rows of halves; 16-byte pieces are swizzled so that 8 rows lie in different banks.
template <int kColumns>
struct Tile {
  static constexpr uint32_t kRowBytes = kColumns * 2;
  static constexpr uint32_t kBytes = kChunk * kRowBytes;
  __device__ static uint32_t offset(int row, int piece) {
    return static_cast<uint32_t>(row) * kRowBytes + static_cast<uint32_t>(piece ^ (row & 7)) * 16;
  }
  /// From the address of piece 0 or 1 of a row to that of the piece 2 step further: stages begin at
  /// multiples of 1024 bytes, so that the swizzle is an exclusive or. Rows 8 apart differ by a
  /// constant.
  __device__ static uint32_t step(uint32_t address, int step) {
    return address ^ static_cast<uint32_t>(step) * 32;
  }
};
using Square = Tile<kChunk>;

/// One prepared chunk, bytes from the stage's beginning.
template <int K_DIM>
struct Stage {
  static constexpr uint32_t kKeys = 0;
  static constexpr uint32_t kQueries = kKeys + Tile<K_DIM>::kBytes;
  static constexpr uint32_t kA = kQueries + Tile<K_DIM>::kBytes;  // -A; (I + A)^-1 - I in blocks
  static constexpr uint32_t kP = kA + Square::kBytes;
  // Floats of each token: G in powers of 2, exp(G), exp(G_end - G), beta.
  static constexpr uint32_t kSum = kP + Square::kBytes;
  static constexpr uint32_t kThrough = kSum + kChunk * 4;
  static constexpr uint32_t kRest = kThrough + kChunk * 4;
  static constexpr uint32_t kStrength = kRest + kChunk * 4;
  static constexpr uint32_t kBytes = kStrength + kChunk * 4;
  static_assert(kBytes % 1024 == 0);
};

/// The chunks of a sequence, which end at its saves.
class Chunks {
 public:
  __device__ Chunks(const Arguments& args, const Sequence& sequence, const SequenceState& own)
      : saves_(args.saves),
        n_rows_(sequence.n_rows),
        save_(own.save_begin),
        save_end_(own.save_begin + own.n_saves) {
    find_stop();
  }
  __device__ bool done() const { return begin_ >= n_rows_; }
  __device__ int begin() const { return begin_; }
  __device__ int count() const { return min(kChunk, stop_ - begin_); }
  /// The first save that is not at an earlier row than this chunk's last.
  __device__ int save() const { return save_; }
  __device__ void advance() {
    begin_ += count();
    if (begin_ < stop_) return;
    while (save_ < save_end_ && saves_[save_].after <= begin_) ++save_;
    find_stop();
  }

 private:
  __device__ void find_stop() {
    stop_ = save_ < save_end_ ? max(begin_ + 1, min(n_rows_, saves_[save_].after)) : n_rows_;
  }
  const StateSaveAt* saves_;
  int n_rows_;
  int save_;
  int save_end_;
  int begin_ = 0;
  int stop_ = 0;  // the next save, or the end
};

__device__ __forceinline__ float2 pair_at(const char* stage, uint32_t array, int token) {
  return *reinterpret_cast<const float2*>(stage + array + token * 4);
}

}  // namespace fimd::cuda::delta_detail
