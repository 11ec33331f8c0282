// The kernel of small products on sm_90 and newer: up to 8 rows of x, one product or a chain of
// them, y (n_rows, rows) = x . w^T.
//
// One block on each multiprocessor. A block takes "row tiles" (16 rows of a matrix), or units of
// them, every so many as there are blocks. Their items (row tile, k tile) are one stream, of which
// each warp has a range, as long as the others' but for one item:
//
//     row tile   0             1             2          7 k tiles each, four warps
//     k tile     0 1 2 3 4 5 6 0 1 2 3 4 5 6 0 1 2 ..
//     warp       0 0 0 0 0 1 1 1 1 1 2 2 2 2 2 3 3 ..
//
// A warp's items go through its own ring of slots in shared memory, which the bulk copy engine
// fills: a slot anew as soon as it is read. A slot has two items that are neighbours in memory if
// both fit: half as many copies to wait for. The warp's stream runs on across the steps of a chain,
// and with dependent launch it begins before the kernel in front has ended. So memory delivers the
// weights of what comes next while blocks wait for each other and activations are spread; and when
// rings are full, what comes behind that as far as the L2 cache (matmul_chain_ahead.h).
//
// The items of a warp that are of one row tile are a run. What is to be known of a run is found out
// once, when the chain begins, for all its steps: then there is time, between products there is
// none.
//
// A warp adds the products of its k tiles in registers. A row tile that began in another warp's
// range is the first of its own: it leaves the sums in shared memory, and the warp that has the
// beginning, and comes to it last, adds them in the order of the warps. So a row's result depends
// on nothing but the matrices and its row of x. For SwiGLU row tiles are in units of four, two of
// gate and the same two of up: 32 columns of the result, which are a block of quantised
// activations; the warp that completes the last of the four makes it. BF16 activations have no such
// blocks: units of two are dealt more evenly.
//
// Activations are in shared memory: all of them, or, if they are many (of more than two rows), each
// item's part comes through the ring with the weights. Floats are quantised by every block for
// itself (one or two rows), or by as many blocks as there are rows for all; a norm's factor is
// applied to the sums.
//
// Most of this is executed once a product, so that fetching instructions counts: what runs once or
// twice is not unrolled, and what is rare stands outside of the loops that every format has.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/cuda/matmul_chain_input.cuh"
#include "kernels/cuda/matmul_chain_sums.cuh"

namespace fimd::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// The block's part of the spans first to end - 1, asked for by one of its warps: issued piece by
/// piece by all of them, requests are what the late ones wait for before they have x.
__device__ __forceinline__ void ask_ahead(const Ahead& ahead, int first, int end, int warp) {
  if (warp != kChainWarps - 1 || !elected()) return;
#pragma unroll 1
  for (int i = first; i < end; ++i) {
    const AheadSpan& span = ahead.spans[i];
    prefetch_bulk(span.at + int64_t{span.block_bytes} * blockIdx.x, span.block_bytes);
  }
}

template <class Weights, int T>
__device__ __forceinline__ void run_chain(const ChainParams& p, uint8_t* shared) {
  auto& header = *reinterpret_cast<ChainHeader*>(shared);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  // Shuffled: the same in all lanes, as the compiler sees it.
  const int of_block = __shfl_sync(~0U, static_cast<int>(threadIdx.x) / 32, 0);
  // Neighbouring ranges to a scheduler, of which warps w, w + 4, .. are: so all four have as many
  // items, or one more, also where a product has less than one for each warp.
  static_assert(kChainWarps % kSchedulers == 0);
  const int warp = kChainWarps / kSchedulers * (of_block % kSchedulers) + of_block / kSchedulers;
  const uint64_t policy = read_once_policy();
  uint64_t* full = header.full[warp];
  uint8_t* ring = shared + p.ring_offset + warp * p.rounds * p.slot_bytes;
  if constexpr (kHands<T>) ask_ahead(p.ahead, 0, p.ahead.begins[0], warp);
  static_assert(sizeof(ChainPlan) % 8 == 0 && sizeof(ChainPlan) / 8 <= kChainThreads);
  const ChainPlan* plan = &p;
  asm volatile("" : "+l"(plan));  // memory, as the compiler sees it
  if (threadIdx.x < sizeof(ChainPlan) / 8) {
    reinterpret_cast<uint2*>(static_cast<ChainPlan*>(&header))[threadIdx.x] =
        reinterpret_cast<const uint2*>(plan)[threadIdx.x];
  }
  if (threadIdx.x < kChainWarps) header.left[threadIdx.x] = 0;
  if (threadIdx.x < kMaxUnits) header.done[threadIdx.x] = 0;
  if (lane < p.rounds) barrier_init(full + lane, 1);
  barrier_init_done();
  __syncthreads();

  auto* runs = reinterpret_cast<RunOf<T>*>(shared + p.runs_offset) + warp * (p.most_runs + 1);
  const int block_items = make_runs<Weights, T>(p.n_steps, header.steps, warp, lane, runs);

  // The run that is fetched. Its part of x is fetched with it if it is there: from its step's
  // beginning on.
  const RunOf<T>* filling = runs;
  int filling_k = 0;
  int filling_left = 0;  // items
  int filling_step = 0;
  [[maybe_unused]] bool filling_streamed = false;
  int together = 1;  // items to a slot
  Weights source;
  const auto locate_run = [&] {
    const RunItems items = filling->items;
    filling_left = items.n;
    filling_step = filling->step;
    if (filling_left == 0) return;
    const ChainStep& step = header.steps[filling_step];
    filling_k = items.k;
    filling_streamed = kStreams<T> && step.streamed;
    source.locate(step, items, lane);
    together = Weights::together(p, source.bytes);
  };
  const auto fill = [&](uint8_t* slot, uint64_t* barrier, int open) {
    const int n = min(together, filling_left);
    const ChainStep& step = header.steps[filling_step];
    if (elected()) {
      const int x_bytes = kStreams<T> && filling_streamed ? p.x_tile_bytes : 0;
      barrier_expect(barrier, n * source.bytes + x_bytes);
      if (x_bytes != 0 && filling_step <= open) {
        bulk_copy(slot + p.slot_x, step.x + int64_t{filling_k} * x_bytes, x_bytes, barrier);
      }
      if constexpr (Weights::kOneCopy) source.copy(slot, n, barrier, policy);
    }
    if constexpr (!Weights::kOneCopy) source.copy(slot, barrier, policy, lane);
    filling_left -= n;
    filling_k += n;
    if (filling_left == 0) {
      ++filling;
      locate_run();
    } else {
      source.advance(step, filling_k, n);
    }
  };
  locate_run();
  // Weights first: they wait for nobody.
  [[maybe_unused]] bool x_missing = false;  // of the slot before
#pragma unroll 1
  for (int i = 0; i < p.rounds && filling_left > 0; ++i) {
    // One copy after another: what the kernel in front still reads would wait behind more. BF16
    // weights have so many bytes that they do not wait for it.
    if (Weights::kOneCopy && i > 0 && !x_missing) barrier_wait(full + i - 1, 0);
    x_missing = filling_streamed;
    fill(ring + i * p.slot_bytes, full + i, -1);
  }
  if constexpr (!kHands<T>) pdl_wait();

  GridBarrier grid(kHands<T> ? nullptr : p.arrivals);
  [[maybe_unused]] HandedSet set(kHands<T> ? p.words : HandedWords{});
  auto* left = reinterpret_cast<float4*>(shared + kChainHeaderBytes);  // (warps, lanes)
  auto* totals = reinterpret_cast<float*>(shared + kUnitsAt);
  // The run that is read: found while blocks wait.
  const RunOf<T>* reading = runs;
  Run run = {};
  int most = 1;             // items to a slot
  RowTileResult<T> result;  // of its row tile, if that begins with it
  const auto find_run = [&](const ChainStep& step, int s) {
    run = *reading;
    result = RowTileResult<T>();
    if (run.step != s) return;
    most = Weights::together(p, run.items.bytes);
    if (run.items.k == 0 && !step.swiglu) result = RowTileResult<T>(step, *reading, lane);
  };
  // The slot to read next.
  uint8_t* slot = ring;
  uint64_t* barrier = full;
  uint32_t parity = 0;
  const auto next_slot = [&](uint8_t*& at, uint64_t*& of) {
    at += p.slot_bytes;
    if (++of != full + p.rounds) return false;
    at = ring;
    of = full;
    return true;
  };
  const auto ask_ahead_of = [&](int s) {
    ask_ahead(header.ahead, header.ahead.begins[s], header.ahead.begins[s + 1], warp);
  };
#pragma unroll 1
  for (int s = 0; s < p.n_steps; ++s) {
    const ChainStep& step = header.steps[s];
    const bool streamed = kStreams<T> && step.streamed;
    const auto swiglu_out = [&] {
      const bool handed = kHands<T> && step.words_out != kNotHanded;
      void* words = handed ? set.at(kHandedUnit * step.words_out) : nullptr;
      return RowWriterTo<kHands<T>>{
          Weights::of(step.out, words), {T, 1}, handed ? Weights::kFlip : 0};
    };
    // Of one row the steps' x lie at two places in turn: nobody waits until one has been read.
    uint8_t* x_of_step = shared + p.x_offset + (kHands<T> && s % 2 == 1 ? p.odd_x : 0);
    StepInput<Weights, T> input(step, of_block, x_of_step, header.squares[kHands<T> ? s % 2 : 0]);
    find_run(step, s);
    if constexpr (kHands<T>) {
      if (s == 0) {
        pdl_wait();
        set.ask();
      }
      if (s == 1) set.pass_on();
      result.ask(set);
      // A block that has nothing to do need not wait for x.
      input.ask(p, __shfl_sync(~0U, block_items, s * (32 / kMaxMatmulSteps)) > 0, set);
      ask_ahead_of(s);
      input.begin_handed();
      if (s == 0) set.look();
    } else {
      ask_ahead_of(s);
      if (s > 0) grid.wait();
      input.begin(p, grid);
    }
    if (streamed && lane == 0) {
      // x of what was fetched without it.
      asm volatile("fence.proxy.async;" ::: "memory");
      uint8_t* at = slot;
      uint64_t* of = barrier;
      for (const RunOf<T>* r = reading; r->step == s && r <= filling; ++r) {
        const int end = r == filling ? filling_k : r->items.k + r->items.n;
        for (int k = r->items.k; k < end; ++k) {
          bulk_copy(at + p.slot_x, step.x + int64_t{k} * p.x_tile_bytes, p.x_tile_bytes, of);
          next_slot(at, of);
        }
      }
    }
    // Makes results of a row tile's sums, those of its k tiles that are in this warp's range.
    const auto finish = [&](RowSums<1>& sums) {
      const float factor = input.factor(p);  // while other warps' parts are on their way
      // The row tile's other parts are in the ranges of the warps behind this one.
      if (run.leaving != 0) add_left<T>(header, left, s, warp, run.leaving, sums, lane);
      scale_sums<T>(sums, factor, lane);
      if (!step.swiglu) {
        result.write(sums, p.n_rows, set, lane);
        return;
      }
      const int unit = run.j >> kUnitShift<Weights>;
      float* to = totals + unit * (unit_bytes<Weights, T>() / 4);
      for_each_sum<T>(sums, lane, [&](int token, int of_tile, float sum) {
        to[(run.j % kUnitTiles<Weights> * T + token) * kTileRows + of_tile] = sum;
      });
      __syncwarp();
      const unsigned before = lane == 0 ? count(header.done + unit) : 0;
      __syncwarp();
      if (__shfl_sync(~0U, before, 0) == kUnitTiles<Weights> - 1) {
        write_swiglu<Weights, T>(swiglu_out(), run.place >> (kUnitShift<Weights> - 1), p.n_rows, to,
                                 lane);
        if (lane == 0) header.done[unit] = 0;
      }
    };
#pragma unroll 1
    while (run.step == s) {
      const int begin = run.items.k;
      const int end = begin + run.items.n;
      typename Weights::template Sums<T> of_items;
      const uint8_t* x = x_of_step + begin * p.x_tile_bytes;
      int k = begin;
      // Of one row results are waited for: the step's last slot is filled when they are on their
      // way.
      const bool last = kHands<T> && reading[1].step != s;
      // When a slot has been read.
      const auto refill = [&] {
        if (filling_left > 0) fill(slot, barrier, s);
        if (next_slot(slot, barrier)) parity ^= 1U;
      };
      Weights::template visit<T>(step, run.type, lane, [&](const auto& multiply) {
        while (true) {
          const uint8_t* weights = slot;
          if (streamed) x = slot + p.slot_x;
          const int next = min(k + most, end);
          barrier_wait(barrier, parity);
          do {
            weights = multiply(k, weights, x, of_items);
            x += p.x_tile_bytes;
          } while (++k < next);
          __syncwarp();
          if (k == end && last) break;
          refill();
          if (k == end) break;
        }
      });
      RowSums<1> sums;
      of_items.total(sums);
      if (begin > 0) {
        left[32 * warp + lane] = make_float4(sums[0][0], sums[0][1], sums[0][2], sums[0][3]);
        __syncwarp();
        if (lane == 0) set_count(header.left + warp, s + 1);
      }
      if (begin == 0) finish(sums);
      if (last) refill();
      ++reading;
      find_run(step, s);
      if constexpr (kHands<T>) result.ask(set);
    }
    if (step.swiglu && blockIdx.x == 0) {
      // Columns of the last k tile that no row tile has.
      const auto out = swiglu_out();
#pragma unroll 1
      for (int row = warp; row < p.n_rows; row += kChainWarps) out.pad(row);
    }
    if (s + 1 == p.n_steps) break;
    // What the next step reads through the copy engine.
    if (kStreams<T> && header.steps[s + 1].streamed) {
      asm volatile("fence.proxy.async;" ::: "memory");
    }
    if constexpr (!kHands<T>) grid.arrive();
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
