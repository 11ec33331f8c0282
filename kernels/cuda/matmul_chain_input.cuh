// How a chain's step gets its x (see matmul_chain.cuh).
#pragma once

#include "kernels/cuda/grid_barrier.cuh"
#include "kernels/cuda/handed_words.cuh"
#include "kernels/cuda/matmul_chain_items.cuh"

namespace fimd::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// x of a step on its way to shared memory. All blocks wait for it at the same time, so the norm's
/// weights, which the steps in front have no part in, are in registers before these have ended. The
/// norm's factor belongs to the step's results: floats are read once, x times the norm's weight is
/// quantised while squares are added.
template <class Weights, int T>
class StepInput {
 public:
  /// By all threads, in front of the barrier. `x`: where it goes.
  __device__ __forceinline__ StepInput(const ChainStep& step, int warp, uint8_t* x)
      : step_(step), warp_(warp), x_(x) {
    if (kEveryBlock && step.floats.x != nullptr) load_weights(0);
  }

  /// By all threads, for one row: when other blocks have handed x on, if they are to. A barrier of
  /// the block.
  __device__ __forceinline__ void begin_handed(const ChainParams& p, ChainHeader& header, int s,
                                               const HandedSet& set) {
    static_assert(kHands<T> && kEveryBlock);
    const uint8_t* words =
        step_.words_in != kNotHanded ? set.at(kHandedUnit * step_.words_in) : nullptr;
    // A block that has nothing to do need not wait for x.
    if (header.shares[s].begins[kChainWarps] > 0) {
      if (step_.floats.x != nullptr) {
        write_row(0, words, x_, header.squares[0]);
      } else {
        copy(words, step_.k_tiles * p.x_tile_bytes);
      }
    }
    __syncthreads();
  }

  /// Behind the barrier that ends the step in front.
  __device__ __forceinline__ void begin(const ChainParams& p, ChainHeader& header,
                                        GridBarrier& grid) {
    const bool normed = step_.floats.norm != nullptr;
    if (kEveryBlock && step_.floats.x != nullptr) {
#pragma unroll 1
      for (int row = 0; row < T && row < p.n_rows; ++row) {
        write_row(row, nullptr, x_, header.squares[row]);
      }
      __syncthreads();
      return;
    }
    if (!kEveryBlock && step_.floats.x != nullptr) {
      for (int row = static_cast<int>(blockIdx.x); row < p.n_rows;
           row += static_cast<int>(gridDim.x)) {
        load_weights(0);
        write_row(row, nullptr, const_cast<uint8_t*>(step_.x), header.squares[0]);
        __syncthreads();
        if (normed) {
          const float of_row = norm_factor(header.squares[0]);
          if (thread() == 0) p.factors[row] = of_row;
          __syncthreads();
        }
      }
      if (step_.streamed) asm volatile("fence.proxy.async;" ::: "memory");
      grid.arrive();
      grid.wait();
      if (normed && lane() < p.n_rows) factor_ = __ldcg(p.factors + lane());
    }
    if (!kStreams<T> || !step_.streamed) copy(nullptr, step_.k_tiles * p.x_tile_bytes);
    __syncthreads();
  }

  /// What the results of row `lane` are to be multiplied with. By all lanes of a warp that has
  /// items of the step.
  __device__ __forceinline__ float factor(const ChainParams& p, const ChainHeader& header) {
    if (kEveryBlock && step_.floats.norm != nullptr && step_.floats.x != nullptr) {
#pragma unroll 1
      for (int row = 0; row < T && row < p.n_rows; ++row) {
        const float of_row = norm_factor(header.squares[row]);
        if (lane() == row) factor_ = of_row;
      }
    }
    return factor_;
  }

 private:
  /// One or two rows of floats are written by every block for itself, more by as many blocks for
  /// all.
  static constexpr bool kEveryBlock = T <= kMaxFloatRows;
  static constexpr int kAtOnce = 2;                  // blocks of 32 columns of four lanes
  static constexpr int kBlocks = kChainThreads / 4;  // that all threads take at once
  static constexpr int kCopies = 4;

  static __device__ __forceinline__ int thread() { return static_cast<int>(threadIdx.x); }
  static __device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
  /// The first four columns of part i of the thread's: parts 2 j and 2 j + 1 are of one block.
  static __device__ __forceinline__ int column(int first, int i) {
    return 32 * (first + thread() / 4 + i / 2 * kBlocks) + 4 * (thread() % 4) + 16 * (i % 2);
  }

  template <int kN, class From>
  static __device__ __forceinline__ void get_words(uint4 (&v)[kN], uint32_t flip,
                                                   const From& from) {
    if constexpr (kHands<T>) {
      await_words(v, flip, from);
    } else {
      load_words(v, from);
    }
  }

  __device__ __forceinline__ void load_weights(int first) {
    const float* norm = step_.floats.norm;
#pragma unroll
    for (int i = 0; i < 2 * kAtOnce; ++i) {
      const int col = column(first, i);
      weights_[i] = norm != nullptr && col < step_.cols
                        ? __ldg(reinterpret_cast<const float4*>(norm + col))
                        : make_float4(1, 1, 1, 1);
    }
  }

  /// A row of floats, handed as `words` unless these are null, to `to`; to `squares` a sum from
  /// each warp.
  __device__ __forceinline__ void write_row(int row, const uint8_t* words, uint8_t* to,
                                            float* squares) {
    RowWriter writer = {{.cols = step_.cols}, {T, 1}};
    Weights::place(writer.out, to);
    const uint32_t flip = kHands<T> && words != nullptr ? kFlipFloats : 0;
    const auto* from = flip != 0 ? reinterpret_cast<const float*>(words)
                                 : step_.floats.x + int64_t{row} * step_.cols;
    const int end = writer.padded_cols() / 32;
    float sum = 0;
#pragma unroll 1
    for (int first = 0; first < end;) {
      uint4 bits[2 * kAtOnce];
      get_words(bits, flip, [&](int i) {
        const int col = column(first, i);
        return col < step_.cols ? from + col : nullptr;
      });
      if (kHands<T> && first == 0) __syncthreads();  // nobody reads what the step in front did
      float4 v[2 * kAtOnce];
#pragma unroll
      for (int i = 0; i < 2 * kAtOnce; ++i) {
        v[i] = make_float4(__uint_as_float(bits[i].x), __uint_as_float(bits[i].y),
                           __uint_as_float(bits[i].z), __uint_as_float(bits[i].w));
      }
#pragma unroll
      for (int i = 0; i < 2 * kAtOnce; i += 2) {
        // Warps begin at multiples of 8 blocks, and so many are written: their lanes keep together.
        const int first_of_warp = first + 8 * warp_ + i / 2 * kBlocks;
        if (first_of_warp >= end) break;
        const int block = first_of_warp + lane() / 4;
#pragma unroll
        for (int j = i; j < i + 2; ++j) {
          const float4 u = v[j], w = weights_[j];
          sum += u.x * u.x + u.y * u.y + (u.z * u.z + u.w * u.w);
          v[j] = make_float4(u.x * w.x, u.y * w.y, u.z * w.z, u.w * w.w);
        }
        writer.write_block(row, 32 * block, thread() % 4, v[i], v[i + 1]);
      }
      first += kAtOnce * kBlocks;
      if (end > kAtOnce * kBlocks) load_weights(first < end ? first : 0);
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0U, sum, step);
    if (lane() == 0) squares[warp_] = sum;
  }

  /// The factor of a row whose squares are there, by all lanes of a warp.
  __device__ __forceinline__ float norm_factor(const float* squares) const {
    static_assert(kChainWarps <= 16);
    float sum = lane() % 16 < kChainWarps ? squares[lane() % 16] : 0;
#pragma unroll
    for (int step = 8; step > 0; step /= 2) sum += __shfl_xor_sync(~0U, sum, step);
    const auto cols = static_cast<float>(step_.cols);
    return rsqrtf(quotient(sum, cols, reciprocal(cols)) + step_.floats.eps);
  }

  /// What other blocks have just written, or hand on as `words`.
  __device__ __forceinline__ void copy(const uint8_t* words, int bytes) const {
    const uint32_t flip = kHands<T> && words != nullptr ? Weights::kFlip : 0;
    const auto* from = reinterpret_cast<const uint4*>(flip != 0 ? words : step_.x);
    auto* to = reinterpret_cast<uint4*>(x_);
#pragma unroll 1
    for (int first = 0; first < bytes / 16; first += kCopies * kChainThreads) {
      const auto place = [&](int i) { return first + thread() + i * kChainThreads; };
      uint4 v[kCopies];
      get_words(v, flip, [&](int i) { return place(i) < bytes / 16 ? from + place(i) : nullptr; });
      if (kHands<T> && first == 0) __syncthreads();  // nobody reads what the step in front did
#pragma unroll
      for (int i = 0; i < kCopies; ++i) {
        if (place(i) < bytes / 16) to[place(i)] = v[i];
      }
    }
  }

  const ChainStep& step_;
  int warp_;
  uint8_t* x_;
  float4 weights_[2 * kAtOnce];
  float factor_ = 1;
};

#endif

}  // namespace fimd::cuda
