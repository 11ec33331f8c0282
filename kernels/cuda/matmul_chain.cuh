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
#include "kernels/cuda/matmul_tasks.h"
#include "kernels/cuda/quantize.cuh"
#include "kernels/cuda/tile_product.cuh"
#include "kernels/cuda/weight_ring.cuh"

namespace fimd::cuda {

inline constexpr int kChainWarps = 12;  // W
inline constexpr int kChainThreads = 32 * kChainWarps;
/// Registers are dealt as if there were so many threads: with 96 each, attention's blocks find some
/// beside one of these.
inline constexpr int kChainRegisterThreads = 640;
inline constexpr int kMaxRounds = 64 / kChainWarps;  // slots of a warp

struct ChainStep {
  TaskParams tasks[kMaxMatmulTasks];
  int row_tiles;
  int k_tiles;
  int cols;
  int first_block;  // takes the first run: the runs of a chain's steps go round
  const uint8_t* x;
  FloatInput floats;  // x is made of them: by n_rows blocks, or by every block for itself if x is
                      // null
  bool streamed;      // x comes through the ring
  bool swiglu;        // tasks are gate and up; their results go to `out`
  RowWriter out;
};

struct ChainParams {
  ChainStep steps[kMaxMatmulSteps];
  int n_steps;
  int n_rows;
  int x_tile_bytes;
  int rounds;          // slots of a warp
  int slot_bytes;      // weights, then streamed activations
  int slot_x;          // where these are
  int ring_offset;     // in shared memory
  int x_offset;        // of resident activations
  int stage_offset;    // of floats that are being normalised
  unsigned* arrivals;  // of blocks at the barriers between steps
};

inline constexpr int kMaxSumSlots = 8;
/// Sums of row tiles in shared memory: [slot][class][token][16 rows].
template <int T>
__host__ __device__ constexpr int sum_slots() {
  return T == 8 ? 4 : 8;
}
template <int T>
__host__ __device__ constexpr int chain_sum_bytes() {
  return sum_slots<T>() * kChainWarps * 4 * kTileRows * T;
}
/// What is in front of the sums: ChainHeader.
inline constexpr int kChainHeaderBytes = 2560;

struct TiledChain;  // kinds of weights
struct Bf16Chain;

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// The block's share of a step.
struct StepShare {
  int first;  // its first run
  int shift;  // log2 of the row tiles of a run
  int k_tiles;
  int n_items;
};

struct ChainHeader {
  uint64_t full[kChainWarps][kMaxRounds];
  // Of each slot of sums in this step: sums left in it, and row tiles written from it.
  unsigned sums_left[kMaxSumSlots];
  unsigned sums_written[kMaxSumSlots];
  float scratch[kRowThreads / 32];
  StepShare shares[kMaxMatmulSteps];
  ChainStep steps[kMaxMatmulSteps];  // as the launch gave them
};
static_assert(sizeof(ChainHeader) <= kChainHeaderBytes);

__device__ __forceinline__ StepShare share_of(const ChainStep& step) {
  const auto blocks = static_cast<int>(gridDim.x);
  StepShare share = {static_cast<int>(blockIdx.x) - step.first_block, step.swiglu ? 2 : 0,
                     step.k_tiles, 0};
  if (share.first < 0) share.first += blocks;
  const int last = (step.row_tiles >> share.shift) - 1 - share.first;
  if (last >= 0) share.n_items = ((last / blocks + 1) << share.shift) * step.k_tiles;
  return share;
}

/// A warp's place in the stream: an item of a step.
struct ItemCursor {
  int step = -1;
  int item = 0;
  int k = 0;
  int j = 0;  // the row tile, among the block's
  StepShare share = {};

  __device__ __forceinline__ int row_tile() const {
    return ((share.first + (j >> share.shift) * static_cast<int>(gridDim.x)) << share.shift) +
           (j & ((1 << share.shift) - 1));
  }
  /// To the warp's first item of the next step: not before it has left this one.
  __device__ __forceinline__ void enter_next(const ChainParams& p, const ChainHeader& header) {
    item -= share.n_items;
    if (++step >= p.n_steps) return;
    share = header.shares[step];
    k = item;
    j = 0;
    while (k >= share.k_tiles) next_row_tile();
  }
  /// The warp's next item; whether it is of the same row tile.
  __device__ __forceinline__ bool advance() {
    item += kChainWarps;
    k += kChainWarps;
    return k < share.k_tiles;
  }
  /// If it is not: once or, if row tiles have few items, until k is less than k_tiles.
  __device__ __forceinline__ void next_row_tile() {
    k -= share.k_tiles;
    ++j;
  }
};

__device__ __forceinline__ const TaskParams& task_of(const ChainStep& step, int row_tile) {
  int task = step.swiglu ? row_tile >> 1 & 1 : 0;
  if (!step.swiglu) {
    while (row_tile >= step.tasks[task].row_tile_end) ++task;
  }
  return step.tasks[task];
}
/// The row tile's place in its task.
__device__ __forceinline__ int place_in_task(const ChainStep& step, const TaskParams& task,
                                             int row_tile) {
  return step.swiglu ? (row_tile >> 2) * 2 + (row_tile & 1) : row_tile - task.row_tile_begin;
}

/// Weights in tiles: a tile is one copy.
struct TiledChain {
  const uint8_t* from = nullptr;
  int tile = 0;
  static __device__ __forceinline__ void place(Activations& x, void* at) { x.q8 = at; }
  __device__ __forceinline__ void locate(const ChainStep& step, const ItemCursor& at, int) {
    const int row_tile = at.row_tile();
    const TaskParams& task = task_of(step, row_tile);
    tile = tile_bytes(task.type);
    from = task.weights +
           (int64_t{place_in_task(step, task, row_tile)} * at.share.k_tiles + at.k) * tile;
  }
  __device__ __forceinline__ void advance() { from += kChainWarps * tile; }
  __device__ __forceinline__ int bytes(const ChainStep&, const ItemCursor&) const { return tile; }
  __device__ __forceinline__ void copy(const ChainStep&, const ItemCursor&, uint8_t* slot,
                                       uint64_t* full, uint64_t policy, int lane) const {
    if (lane == 0) bulk_copy_once(slot, from, tile, full, policy);
  }
  template <int T>
  static __device__ __forceinline__ void multiply(const ChainStep&, DType type, int,
                                                  const uint8_t* weights, const uint8_t* x,
                                                  int lane, RowSums<1>& sums) {
    visit_format(type, [&](auto format) {
      multiply_tile<decltype(format), T, 1>(weights, x, 1, lane, sums);
    });
  }
};

/// BF16 weights in rows: a lane copies a row's part.
struct Bf16Chain {
  const uint8_t* from = nullptr;  // the lane's
  int n_rows = 0;
  static __device__ __forceinline__ void place(Activations& x, void* at) { x.bf16 = at; }
  static __device__ __forceinline__ int row_bytes(const ChainStep& step, int k) {
    return 2 * min(kBf16TileCols, step.cols - kBf16TileCols * k);
  }
  __device__ __forceinline__ void locate(const ChainStep& step, const ItemCursor& at, int lane) {
    const int row_tile = at.row_tile();
    const TaskParams& task = task_of(step, row_tile);
    const int64_t row = int64_t{kTileRows} * place_in_task(step, task, row_tile);
    n_rows = static_cast<int>(min(int64_t{kTileRows}, task.rows - row));
    from = task.weights + 2 * ((row + lane) * step.cols + kBf16TileCols * at.k);
  }
  __device__ __forceinline__ void advance() { from += 2 * kBf16TileCols * kChainWarps; }
  __device__ __forceinline__ int bytes(const ChainStep& step, const ItemCursor& at) const {
    return n_rows * row_bytes(step, at.k);
  }
  __device__ __forceinline__ void copy(const ChainStep& step, const ItemCursor& at, uint8_t* slot,
                                       uint64_t* full, uint64_t policy, int lane) const {
    if (lane < n_rows) {
      bulk_copy_once(slot + lane * kBf16SlotStride, from, row_bytes(step, at.k), full, policy);
    }
  }
  template <int T>
  static __device__ __forceinline__ void multiply(const ChainStep& step, DType, int k,
                                                  const uint8_t* weights, const uint8_t* x,
                                                  int lane, RowSums<1>& sums) {
    multiply_bf16<T, 1>(weights, kBf16SlotStride, row_bytes(step, k) / 64, x, 1, lane, sums);
  }
};

/// Counters in shared memory that warps wait for each other with.
__device__ __forceinline__ void count(unsigned* counter) {
  asm volatile("red.release.cta.shared::cta.add.u32 [%0], 1;" ::"r"(shared_address(counter))
               : "memory");
}
__device__ __forceinline__ void wait_for_count(const unsigned* counter, unsigned n) {
  unsigned now;
  do {
    asm volatile("ld.acquire.cta.shared::cta.u32 %0, [%1];"
                 : "=r"(now)
                 : "r"(shared_address(counter))
                 : "memory");
  } while (now < n);
}

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

/// Element i (token i / 16, row i % 16) of a row tile: the classes' sums.
template <int T>
__device__ __forceinline__ float total(const float* sums, int classes, int i) {
  constexpr int kClass = kTileRows * T;
  float sum = sums[i];
#pragma unroll 3
  for (int c = 1; c < classes; ++c) sum = __fadd_rn(sum, sums[c * kClass + i]);
  return sum;
}

/// A row tile to y, by one warp.
template <int T>
__device__ __forceinline__ void write_row_tile(const TaskParams& task, int place, int n_rows,
                                               const float* sums, int classes, int lane) {
#pragma unroll
  for (int first = 0; first < kTileRows * T; first += 32) {
    const int i = first + lane;
    const int64_t row = int64_t{kTileRows} * place + i % kTileRows;
    const int token = i / kTileRows;
    if (token >= n_rows || row >= task.rows || i >= kTileRows * T) continue;
    float* y = task.y + token * task.y_stride + row;
    float sum = total<T>(sums, classes, i);
    if (task.bias != nullptr) sum = __fadd_rn(sum, task.bias[row]);
    if (task.accumulate) {
      // Nobody else adds to this element: the same as reading and writing it, without waiting.
      asm volatile("red.global.add.f32 [%0], %1;" ::"l"(y), "f"(sum) : "memory");
    } else {
      *y = sum;
    }
  }
}

/// The block of 32 columns of activations of a run of four row tiles, by one warp.
template <int T>
__device__ __forceinline__ void write_swiglu(const RowWriter& out, int run, int n_rows,
                                             const float* sums, int classes, int lane) {
  constexpr int kSlot = kChainWarps * kTileRows * T;
  const int column = 4 * (lane % 8);
  const float* gate = sums + column / kTileRows * kSlot;
  const float* up = gate + 2 * kSlot;
#pragma unroll
  for (int first = 0; first < T; first += 4) {
    const int token = first + lane / 8;
    float4 g = make_float4(0, 0, 0, 0);
    float4 u = g;
    const int i = token * kTileRows + column % kTileRows;
    const auto add = [](float4& to, const float* from) {
      const float4 v = *reinterpret_cast<const float4*>(from);
      to = make_float4(__fadd_rn(to.x, v.x), __fadd_rn(to.y, v.y), __fadd_rn(to.z, v.z),
                       __fadd_rn(to.w, v.w));
    };
    if (token < n_rows) {
      g = *reinterpret_cast<const float4*>(gate + i);
      u = *reinterpret_cast<const float4*>(up + i);
#pragma unroll 2
      for (int c = 1; c < classes; ++c) {
        add(g, gate + c * kTileRows * T + i);
        add(u, up + c * kTileRows * T + i);
      }
    }
    const float4 v =
        make_float4(silu_mul(g.x, u.x), silu_mul(g.y, u.y), silu_mul(g.z, u.z), silu_mul(g.w, u.w));
    out.write(token, int64_t{32} * run + column, v, token < n_rows);
  }
}

/// Zeros in the columns of the last k tile that no row tile has.
__device__ __forceinline__ void pad_swiglu(const RowWriter& out, int n_rows, int warp, int lane) {
  const int64_t end = written_cols(out.out.cols);
  for (int row = warp; row < n_rows; row += kChainWarps) {
    for (int64_t c = out.out.cols; c < end; c += 128) {
      out.write(row, c + 4 * lane, make_float4(0, 0, 0, 0));
    }
  }
}

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
