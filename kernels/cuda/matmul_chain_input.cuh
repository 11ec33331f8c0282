// How a chain's step gets its x (see matmul_chain.cuh).
#pragma once

#include "kernels/cuda/grid_barrier.cuh"
#include "kernels/cuda/handed_words.cuh"
#include "kernels/cuda/matmul_chain_items.cuh"

namespace fimd::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// x of a step on its way to shared memory, in chunks of 16 bytes. All blocks wait for it at the
/// same time, so what can be asked for before is: the norm's weights, which no step writes, and, of
/// one row, the words that other blocks hand on, some of which are there early. Only those that
/// were missing are asked for again. The norm's factor belongs to the step's results: floats are
/// read once, and x times the norm's weight is quantised while squares are added.
template <class Weights, int T>
class StepInput {
 public:
  /// By all threads. `x`: where it goes, and `squares` sums of what rows have.
  __device__ __forceinline__ StepInput(const ChainStep& step, int warp, uint8_t* x,
                                       RowSquares* squares)
      : step_(step), warp_(warp), x_(x), squares_(squares), floats_(step.floats.x != nullptr) {
    if (kEveryBlock && floats_) load_weights(0);
  }

  /// By all threads, for one row: asks for x, if it is wanted. begin_handed() follows.
  __device__ __forceinline__ void ask(const ChainParams& p, bool wanted, const HandedSet& set) {
    static_assert(kHands<T> && kEveryBlock);
    wanted_ = wanted;
    const bool handed = step_.words_in != kNotHanded;
    const void* from = floats_ ? static_cast<const void*>(step_.floats.x) : step_.x;
    from_ = static_cast<const uint4*>(handed ? set.at(kHandedUnit * step_.words_in) : from);
    flip_ = !handed ? 0 : floats_ ? kFlipFloats : Weights::kFlip;
    end_ = floats_ ? step_.cols / 4 : step_.k_tiles * p.x_tile_bytes / 16;
    if (wanted_) load(0);
  }
  /// By all threads: when other blocks have handed x on, if they are to. A barrier of the block.
  __device__ __forceinline__ void begin_handed() {
    if (wanted_) {
      const auto arrived = [&](int first) {
        if (!has(first, 1, end_)) return await_one(first);
        while (missing(first)) load<true>(first);
      };
      if (written_end() <= kRound) {
        arrived(0);
        if (floats_) {
          write_few_floats();
        } else {
          write_few_words();
        }
      } else {
        write_chunks(0, squares_[0], arrived);
      }
    }
    __syncthreads();
  }

  /// Behind the barrier that ends the step in front.
  __device__ __forceinline__ void begin(const ChainParams& p, GridBarrier& grid) {
    const bool normed = step_.floats.norm != nullptr;
    const auto write_row = [&](int row) {
      from_ = reinterpret_cast<const uint4*>(step_.floats.x + int64_t{row} * step_.cols);
      end_ = step_.cols / 4;
      load(0);
      write_chunks(row, squares_[kEveryBlock ? row : 0], [](int) {});
    };
    if (kEveryBlock && floats_) {
#pragma unroll 1
      for (int row = 0; row < T && row < p.n_rows; ++row) write_row(row);
      __syncthreads();
      return;
    }
    if (!kEveryBlock && floats_) {
      uint8_t* resident = x_;
      x_ = const_cast<uint8_t*>(step_.x);
      for (int row = static_cast<int>(blockIdx.x); row < p.n_rows;
           row += static_cast<int>(gridDim.x)) {
        load_weights(0);
        write_row(row);
        __syncthreads();
        if (normed) {
          const float of_row = norm_factor(squares_[0]);
          if (thread() == 0) p.factors[row] = of_row;
          __syncthreads();
        }
      }
      x_ = resident;
      floats_ = false;
      if (step_.streamed) asm volatile("fence.proxy.async;" ::: "memory");
      grid.arrive();
      grid.wait();
      if (normed && lane() < p.n_rows) factor_ = __ldcg(p.factors + lane());
    }
    if (!kStreams<T> || !step_.streamed) {
      from_ = reinterpret_cast<const uint4*>(step_.x);
      end_ = step_.k_tiles * p.x_tile_bytes / 16;
      load(0);
      write_chunks(0, nullptr, [](int) {});
    }
    __syncthreads();
  }

  /// What the results of row `lane` are to be multiplied with, of one row in all lanes. By all
  /// lanes of a warp that has items of the step.
  __device__ __forceinline__ float factor(const ChainParams& p) {
    if (kEveryBlock && step_.floats.norm != nullptr && step_.floats.x != nullptr) {
      if constexpr (T == 1) {
        factor_ = norm_factor(squares_[0]);
      } else if (!has_factor_) {
        has_factor_ = true;
#pragma unroll 1
        for (int row = 0; row < T && row < p.n_rows; ++row) {
          const float of_row = norm_factor(squares_[row]);
          if (lane() == row) factor_ = of_row;
        }
      }
    }
    return factor_;
  }

 private:
  /// One or two rows of floats are written by every block for itself, more by as many blocks for
  /// all.
  static constexpr bool kEveryBlock = T <= kMaxFloatRows;
  static constexpr int kAtOnce = 4;  // chunks of 16 bytes that a thread has in registers
  static constexpr int kRound = kAtOnce * kChainThreads;

  static __device__ __forceinline__ int thread() { return static_cast<int>(threadIdx.x); }
  static __device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
  /// The thread's i-th chunk of the round that begins with chunk `first`.
  static __device__ __forceinline__ int chunk(int first, int i) {
    return first + i * kChainThreads + thread();
  }
  /// Whether the warp has an i-th chunk in that round, of so many in all.
  __device__ __forceinline__ bool has(int first, int i, int end) const {
    return first + i * kChainThreads + 32 * warp_ < end;
  }

  __device__ __forceinline__ void load_weights(int first) {
    const auto* norm = reinterpret_cast<const float4*>(step_.floats.norm);
    if (norm == nullptr) return;
    const int end = step_.cols / 4;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (!has(first, i, end)) break;
      weights_[i] = __ldg(norm + min(chunk(first, i), end - 1));
    }
  }
  /// Chunks past the L1 cache, all or those with words that were missing; behind the end the last
  /// one again.
  template <bool kAgain = false>
  __device__ __forceinline__ void load(int first) {
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (!has(first, i, end_)) break;
      if (kAgain && !any_zero(bits_[i])) continue;
      load_words(bits_[i], from_ + min(chunk(first, i), end_ - 1));
    }
  }
  __device__ __forceinline__ void move_up() {
#pragma unroll
    for (int i = 1; i < kAtOnce; ++i) {
      bits_[i - 1] = bits_[i];
      weights_[i - 1] = weights_[i];
    }
  }
  /// Whether words of the warp's chunks are missing. By all lanes, which leave the loop of waiting
  /// together: the compiler knows them to be together behind it.
  __device__ __forceinline__ bool missing(int first) const {
    bool mine = false;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (!has(first, i, end_)) break;
      mine = mine || any_zero(bits_[i]);
    }
    return __any_sync(~0U, flip_ != 0 && mine) != 0;
  }

  /// Waits for the first chunk of a warp that has no other: all have one of a small model's x, and
  /// there are fewer instructions between two looks at it.
  __device__ __forceinline__ void await_one(int first) {
    if (flip_ == 0 || !has(first, 0, end_)) return;
    const uint4* at = from_ + min(chunk(first, 0), end_ - 1);
    while (__any_sync(~0U, any_zero(bits_[0]))) {
      if (any_zero(bits_[0])) load_words(bits_[0], at);
    }
  }

  /// Chunks that are written: floats up to the end of the last k tile.
  __device__ __forceinline__ int written_end() const {
    return floats_ ? static_cast<int>(divide_up(step_.cols, kTileCols)) * (kTileCols / 4) : end_;
  }
  __device__ __forceinline__ RowWriter writer() const {
    RowWriter to = {{.cols = step_.cols}, {T, 1}};
    Weights::place(to.out, x_);
    return to;
  }
  __device__ __forceinline__ uint4 unflipped(const uint4& words) const {
    return make_uint4(words.x ^ flip_, words.y ^ flip_, words.z ^ flip_, words.w ^ flip_);
  }
  /// Chunk `at` of the floats of row `row`, quantised; its squares are added to `sum` if a norm
  /// wants them. By all lanes of a warp.
  __device__ __forceinline__ void write_floats(const RowWriter& to, int row, int at,
                                               const uint4& words, const float4& w,
                                               float& sum) const {
    const uint4 bits = unflipped(words);
    float4 v = make_float4(__uint_as_float(bits.x), __uint_as_float(bits.y),
                           __uint_as_float(bits.z), __uint_as_float(bits.w));
    if (step_.floats.norm != nullptr) {
      const float squares = v.x * v.x + v.y * v.y + (v.z * v.z + v.w * v.w);
      if (at < end_) sum += squares;
      v = make_float4(v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w);
    }
    to.write(row, 4 * at, v);
  }
  /// A warp's sums of squares. By all its lanes.
  __device__ __forceinline__ void leave_squares(float sum, float* squares) const {
#pragma unroll
    for (int step = 16; step >= kSquares; step /= 2) sum += __shfl_xor_sync(~0U, sum, step);
    if (lane() < kSquares) squares[kSquares * warp_ + lane()] = sum;
  }

  // A row of no more than one round, as that of most models is: what all blocks wait for, and so
  // straight on, without loops and without moving registers.

  __device__ __forceinline__ void write_few_floats() {
    const RowWriter to = writer();
    const int end = written_end();
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (!has(0, i, end)) break;
      write_floats(to, 0, chunk(0, i), bits_[i], weights_[i], sum);
    }
    if (step_.floats.norm != nullptr) leave_squares(sum, squares_[0]);
  }
  __device__ __forceinline__ void write_few_words() {
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (!has(0, i, end_)) break;
      const int at = chunk(0, i);
      if (at < end_) reinterpret_cast<uint4*>(x_)[at] = unflipped(bits_[i]);
    }
  }

  /// Row `row`, whose first chunks have been asked for: floats quantised, or as it is. `arrived`
  /// (chunk of the round) waits for it. To `squares` a sum from each warp.
  template <class F>
  __device__ __forceinline__ void write_chunks(int row, float* squares, const F& arrived) {
    const RowWriter to = writer();
    const bool normed = floats_ && step_.floats.norm != nullptr;
    const int end = written_end();
    float sum = 0;
#pragma unroll 1
    for (int first = 0;;) {
      arrived(first);
      // Whole blocks of 32 columns and more are written: a warp's lanes keep together. A loop,
      // although chunks are in registers: they move up one by one.
#pragma unroll 1
      for (int i = 0; i < kAtOnce && has(first, i, end); ++i) {
        if (i > 0) move_up();
        const int at = chunk(first, i);
        if (floats_) {
          write_floats(to, row, at, bits_[0], weights_[0], sum);
        } else if (at < end) {
          reinterpret_cast<uint4*>(x_)[at] = unflipped(bits_[0]);
        }
      }
      first += kRound;
      const bool last = first >= end;
      // The first chunks' weights again, for another row.
      if (normed && (T > 1 || !last)) load_weights(last ? 0 : first);
      if (last) break;
      load(first);
    }
    if (normed) leave_squares(sum, squares);
  }

  /// The factor of a row whose squares are there, by all lanes of a warp.
  __device__ __forceinline__ float norm_factor(const float* squares) const {
    constexpr int kSums = kSquares * kChainWarps, kLanes = 16;
    static_assert(kSums % kLanes == 0);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kSums; i += kLanes) sum += squares[i + lane() % kLanes];
#pragma unroll
    for (int step = kLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(~0U, sum, step);
    const auto cols = static_cast<float>(step_.cols);
    return rsqrtf(quotient(sum, cols, reciprocal(cols)) + step_.floats.eps);
  }

  const ChainStep& step_;
  int warp_;
  uint8_t* x_;
  RowSquares* squares_;
  bool floats_;  // that are quantised here
  bool wanted_ = false;
  const uint4* from_ = nullptr;
  uint32_t flip_ = 0;
  int end_ = 0;  // of chunks
  uint4 bits_[kAtOnce];
  float4 weights_[kAtOnce];
  float factor_ = 1;
  bool has_factor_ = false;  // of several rows: made once
};

#endif

}  // namespace fimd::cuda
