// The kernel of small products on sm_90 and newer: up to 8 rows of x, one product or a chain of
// them, y (n_rows, rows) = x . w^T.
//
// One block on each multiprocessor. A block takes "row tiles" (16 rows of a matrix), every so many
// as there are blocks. Their items (row tile, k tile) are one stream; item i goes through slot i %
// slots of a ring in shared memory to warp i % W. The number of slots is a multiple of W, so that a
// warp has its slots to itself, and fills one anew, with the bulk copy engine, as soon as it has
// read it:
//
//     item    0 1 2 3 4 5 6 | 7 8 9 10 11 12 ..      row tile 0 has k tiles 0 .. 6
//     warp    0 1 2 3 4 5 6 | 7 8 9 10 11  0 ..
//
// The stream runs on across the ends of row tiles, across the steps of a chain, and with dependent
// launch it begins before the kernel in front has ended. So memory delivers the weights of what
// comes next while sums are added, blocks wait for each other, and activations are spread.
//
// Each warp that had items of a row tile leaves its sums in shared memory; the one that had the
// last k tile adds them: class c has the k tiles c, c + W, c + 2 W .., and classes are added in
// order, so that a row's result depends on nothing but the matrices and its row of x. The others go
// on: a few row tiles may wait to be added. For SwiGLU a block takes runs of four row tiles, two of
// gate and the same two of up: 32 columns of the result, which are a block of quantised
// activations.
//
// Activations are in shared memory: all of them, or, if they are many, each item's part comes
// through the ring with the weights. Floats are normalised and quantised by every block for itself
// (one or two rows), or by as many blocks as there are rows for all.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/cuda/matmul_chain_items.cuh"
#include "kernels/cuda/matmul_chain_sums.cuh"

namespace fimd::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// What the blocks of a grid wait for each other with. All of them are resident. `arrivals` is
/// shared by all kernels that use it one after another: its highest bit changes when all blocks of
/// a grid have come.
class GridBarrier {
 public:
  __device__ __forceinline__ explicit GridBarrier(unsigned* arrivals) : arrivals_(arrivals) {
    // Whatever others have done, this block has not come to the first barrier of this kernel.
    if (threadIdx.x == 0 && arrivals != nullptr) before_ = load() & kAllCame;
  }
  /// Until all have come, and what they wrote is visible past the L1 cache: read it with __ldcg or
  /// bulk copies.
  __device__ __forceinline__ void wait() {
    __syncthreads();
    if (threadIdx.x == 0) {
      const unsigned step = blockIdx.x == 0 ? kAllCame - (gridDim.x - 1) : 1;
      asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(arrivals_), "r"(step)
                   : "memory");
      while ((load() & kAllCame) == before_) {
      }
      before_ ^= kAllCame;
      asm volatile("fence.acq_rel.gpu;" ::: "memory");
    }
    __syncthreads();
  }

 private:
  static constexpr unsigned kAllCame = 1U << 31;
  __device__ __forceinline__ unsigned load() const {
    unsigned now;
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(arrivals_) : "memory");
    return now;
  }
  unsigned* arrivals_;
  unsigned before_ = 0;
};

/// What write_row() writes, of a row that other blocks have just written, by all threads. x times
/// the norm's weight waits for its factor in `stage`, (cols) floats.
__device__ __forceinline__ void write_row_staged(const FloatInput& in, int row,
                                                 const RowWriter& writer, float4* stage,
                                                 float* scratch, int thread) {
  const auto n = static_cast<int>(in.cols) / 4;
  const auto* from = reinterpret_cast<const float4*>(in.x + int64_t{row} * in.cols);
  float factor = 1;
  if (in.norm != nullptr) {
    if (thread < kRowThreads) {
      const auto* weight = reinterpret_cast<const float4*>(in.norm);
      float sum = 0;
#pragma unroll 4
      for (int c = thread; c < n; c += kRowThreads) {
        const float4 v = __ldcg(from + c);
        const float4 w = __ldg(weight + c);
        sum += v.x * v.x + v.y * v.y + (v.z * v.z + v.w * v.w);
        stage[c] = make_float4(v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w);
      }
#pragma unroll
      for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0U, sum, step);
      if (thread % 32 == 0) scratch[thread / 32] = sum;
    }
    __syncthreads();
    float sum = 0;
#pragma unroll
    for (int warp = 0; warp < kRowThreads / 32; ++warp) sum += scratch[warp];
    factor = rsqrtf(sum / static_cast<float>(in.cols) + in.eps);
  }
  const auto end = static_cast<int>(written_cols(in.cols)) / 4;
#pragma unroll 2
  for (int c = thread; c < end; c += kChainThreads) {
    float4 v = make_float4(0, 0, 0, 0);
    if (c < n) v = in.norm != nullptr ? stage[c] : __ldcg(from + c);
    writer.write(row, 4 * c, make_float4(v.x * factor, v.y * factor, v.z * factor, v.w * factor));
  }
}

/// x of a step to shared memory, or what it is made of; sums' counters anew.
template <class Weights, int T>
__device__ __forceinline__ void begin_step(const ChainParams& p, const ChainStep& step,
                                           ChainHeader& header, GridBarrier& grid, uint8_t* x,
                                           float4* stage) {
  const auto thread = static_cast<int>(threadIdx.x);
  // One or two rows by every block for itself, more by as many blocks for all.
  const bool shared_rows = step.floats.x != nullptr && step.x != nullptr;
  if (step.floats.x != nullptr) {
    RowWriter writer = {{.cols = step.cols}, {T, 1}};
    Weights::place(writer.out, shared_rows ? const_cast<uint8_t*>(step.x) : x);
    int row = shared_rows ? static_cast<int>(blockIdx.x) : 0;
    for (; row < p.n_rows; row += shared_rows ? static_cast<int>(gridDim.x) : 1) {
      write_row_staged(step.floats, row, writer, stage, header.scratch, thread);
      // One row's stage is the next one's.
      if (!shared_rows && row + 1 < p.n_rows) __syncthreads();
    }
    if (step.streamed) asm volatile("fence.proxy.async;" ::: "memory");
  }
  if (shared_rows) grid.wait();
  if (thread < sum_slots<T>()) {
    header.sums_left[thread] = 0;
    header.sums_written[thread] = 0;
  }
  if (step.swiglu && blockIdx.x == 0)
    pad_swiglu({step.out.out, {T, 1}}, p.n_rows, thread / 32, thread % 32);
  if (step.x != nullptr && !step.streamed) {
    for (int i = 16 * thread; i < step.k_tiles * p.x_tile_bytes; i += 16 * kChainThreads) {
      *reinterpret_cast<uint4*>(x + i) = __ldcg(reinterpret_cast<const uint4*>(step.x + i));
    }
  }
  __syncthreads();
}

/// A vector of weights to the L2 cache, by all threads.
__device__ __forceinline__ void prefetch(const float* values, int n) {
  constexpr int kLine = 32;
  const int i = kLine * static_cast<int>(threadIdx.x);
  if (values != nullptr && i < n) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(values + i) : "memory");
  }
}

template <class Weights, int T>
__device__ __forceinline__ void run_chain(const ChainParams& p, uint8_t* shared) {
  auto& header = *reinterpret_cast<ChainHeader*>(shared);
  auto* all_sums = reinterpret_cast<float*>(shared + kChainHeaderBytes);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const uint64_t policy = read_once_policy();
  uint64_t* full = header.full[warp];
  uint8_t* ring = shared + p.ring_offset + warp * p.rounds * p.slot_bytes;
  // What is read by varying indices: constant memory is slow at that.
  for (int i = static_cast<int>(threadIdx.x); i < sizeof(p.steps) / 4; i += kChainThreads) {
    reinterpret_cast<uint32_t*>(header.steps)[i] = reinterpret_cast<const uint32_t*>(p.steps)[i];
  }
  if (threadIdx.x < p.n_steps) header.shares[threadIdx.x] = share_of(p.steps[threadIdx.x]);
  if (lane < p.rounds) barrier_init(full + lane, 1);
  barrier_init_done();
  __syncthreads();

  // The next item to fetch. Its part of x is fetched with it if it is there: from its step's
  // beginning on.
  ItemCursor filling;
  Weights source;
  const auto settle = [&] {
    while (filling.item >= filling.share.n_items && filling.step < p.n_steps) {
      filling.enter_next(p, header);
    }
    if (filling.step < p.n_steps) source.locate(header.steps[filling.step], filling, lane);
  };
  const auto fill = [&](int round, int open) {
    const ChainStep& step = header.steps[filling.step];
    uint8_t* slot = ring + round * p.slot_bytes;
    if (lane == 0) {
      const int x_bytes = step.streamed ? p.x_tile_bytes : 0;
      barrier_expect(full + round, source.bytes(step, filling) + x_bytes);
      if (x_bytes != 0 && filling.step <= open) {
        bulk_copy(slot + p.slot_x, step.x + int64_t{filling.k} * x_bytes, x_bytes, full + round);
      }
    }
    source.copy(step, filling, slot, full + round, policy, lane);
    if (filling.advance()) {
      source.advance();
    } else {
      do {
        filling.next_row_tile();
      } while (filling.k >= filling.share.k_tiles);
      settle();
    }
  };
  filling.item = warp;
  settle();
  // Weights first: they wait for nobody.
  for (int i = 0; i < p.rounds && filling.step < p.n_steps; ++i) fill(i, -1);
  pdl_wait();

  GridBarrier grid(p.arrivals);
  constexpr int kClass = kTileRows * T;
  constexpr int kSlots = sum_slots<T>();
  const int g = lane >> 2, t = lane & 3;
  ItemCursor reading;
  reading.item = warp;
  int round = 0;
  uint32_t parity = 0;
  for (int s = 0; s < p.n_steps; ++s) {
    const ChainStep& step = header.steps[s];
    if (s > 0) {
      prefetch(step.floats.norm, step.cols);
      grid.wait();
    }
    begin_step<Weights, T>(p, step, header, grid, shared + p.x_offset,
                           reinterpret_cast<float4*>(shared + p.stage_offset));
    reading.enter_next(p, header);
    if (step.streamed && lane == 0) {
      // x of what was fetched without it.
      asm volatile("fence.proxy.async;" ::: "memory");
      int r = round;
      int k = reading.k;
      for (int i = reading.item;
           i < reading.share.n_items && (filling.step > s || i < filling.item); i += kChainWarps) {
        bulk_copy(ring + r * p.slot_bytes + p.slot_x, step.x + int64_t{k} * p.x_tile_bytes,
                  p.x_tile_bytes, full + r);
        if (++r == p.rounds) r = 0;
        for (k += kChainWarps; k >= reading.share.k_tiles;) k -= reading.share.k_tiles;
      }
    }
    const int classes = min(kChainWarps, reading.share.k_tiles);
    const uint8_t* resident = shared + p.x_offset;
    while (reading.item < reading.share.n_items) {
      const int row_tile = reading.row_tile();
      const TaskParams& task = task_of(step, row_tile);
      const int item_class = reading.k;
      const DType type = task.type;
      bool last = false;
      bool more = true;
      RowSums<1> sums = {};
      while (more) {
        const uint8_t* weights = ring + round * p.slot_bytes;
        const uint8_t* x =
            step.streamed ? weights + p.slot_x : resident + reading.k * p.x_tile_bytes;
        barrier_wait(full + round, parity);
        Weights::template multiply<T>(step, type, reading.k, weights, x, lane, sums);
        __syncwarp();
        if (filling.step < p.n_steps) fill(round, s);
        if (++round == p.rounds) {
          round = 0;
          parity ^= 1U;
        }
        last = reading.k == reading.share.k_tiles - 1;
        more = reading.advance();
      }

      // The slot is free when the row tile that had it before was written.
      const int sum_slot = reading.j % kSlots;
      const unsigned uses = reading.j / kSlots;
      const unsigned complete = (uses + 1) * classes;
      wait_for_count(header.sums_written + sum_slot, uses);
      float* slot_sums = all_sums + sum_slot * kChainWarps * kClass;
      if (t < (T + 1) / 2) {
        float* to = slot_sums + item_class * kClass;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (T == 1 && i % 2 == 1) continue;
          to[(2 * t + i % 2) * kTileRows + g + 8 * (i / 2)] = sums[0][i];
        }
      }
      __syncwarp();
      if (lane == 0) count(header.sums_left + sum_slot);
      if (last && !step.swiglu) {
        wait_for_count(header.sums_left + sum_slot, complete);
        write_row_tile<T>(task, place_in_task(step, task, row_tile), p.n_rows, slot_sums, classes,
                          lane);
        __syncwarp();
        if (lane == 0) count(header.sums_written + sum_slot);
      } else if (last && reading.j % 4 == 3) {
        // A run's slots are adjacent: there is a multiple of four.
        for (int i = sum_slot - 3; i <= sum_slot; ++i)
          wait_for_count(header.sums_left + i, complete);
        write_swiglu<T>({step.out.out, {T, 1}}, row_tile >> 2, p.n_rows,
                        slot_sums - 3 * kChainWarps * kClass, classes, lane);
        __syncwarp();
        if (lane < 4) count(header.sums_written + sum_slot - lane);
      }
      do {
        reading.next_row_tile();
      } while (reading.k >= reading.share.k_tiles);
    }
    // What the next step reads through the copy engine.
    if (s + 1 < p.n_steps && header.steps[s + 1].streamed) {
      asm volatile("fence.proxy.async;" ::: "memory");
    }
  }
}

#endif

template <class Weights, int T>
__global__ void __launch_bounds__(kChainRegisterThreads, 1)
    chain_kernel(const __grid_constant__ ChainParams p) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  extern __shared__ __align__(128) uint8_t shared[];
  run_chain<Weights, T>(p, shared);
#endif
}

}  // namespace fimd::cuda
