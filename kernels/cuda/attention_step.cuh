// Attention of a few rows from what the products left: rotary embedding, the append to the pages
// and the attention in one kernel, for GPUs with thread-block clusters.
//
// The blocks of a cluster share the keys of one tile of rows (pairs of a token and a query head of
// the KV head's group). Each rotates the tile's queries itself; the keys of this step are rotated
// by the blocks whose range they are in, which also store them in their pages. Keys are 16 to a
// unit; kKeyWarps groups of kQueryWarps warps take the units of a block in turn, and each group has
// its own ring of granules (the keys or the values of a unit) that it alone waits for. Older keys
// depend on nothing in the kernels just before, so the rings are full before pdl_wait() returns.
//
// Few rows: products are transposed, S^T = K . Q^T and O^T = V^T . P^T, so that the 16 rows of a
// tensor-core product are keys or columns of values and its 8 columns are queries.
//
// At the end every block sends its share of each output to the block that joins it (st.async, which
// counts the bytes on that block's mailbox): one trip through the cluster and no barrier.
#pragma once

#include "kernels/cuda/attention_work.cuh"
#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/rope.cuh"

namespace fimd::cuda::attention_detail {

constexpr int kUnitKeys = 16;

/// A maximum may be too low by so much (base 2): weights still fit a half.
constexpr float kSlack = 8;

struct StepArgs {
  KernelArgs base;
  const float* qkv = nullptr;
  RopeParams rope;
  float q_scale = 1;
  int turns_at = 0;  // in shared memory
};

template <int kDim_, int kTiles_, int kQueryWarps_, int kKeyWarps_, int kSlots_>
struct StepConfig {
  using T = Tile<kDim_>;
  static constexpr int kDim = kDim_;
  static constexpr int kTiles = kTiles_;  // of 8 queries, that a warp has
  static constexpr int kQueryWarps = kQueryWarps_;
  static constexpr int kKeyWarps = kKeyWarps_;
  static constexpr int kSlots = kSlots_;  // of a ring

  static constexpr int kWarps = kQueryWarps * kKeyWarps;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kRows = 8 * kTiles * kQueryWarps;
  static constexpr int kQuads = kDim / 4;
  static constexpr bool kQueryInRegisters = kTiles * kDim <= 256;
  static constexpr int kGranuleBytes = kUnitKeys * T::kRowBytes;

  // Shared memory. Outputs of the warps lie over the rings and the queries when those are done.
  static constexpr int kQueryAt = kKeyWarps * kSlots * kGranuleBytes;
  static constexpr int kStatesAt = kQueryAt + kRows * T::kRowBytes;
  static constexpr int kValuesAt = kStatesAt + kMaxCluster * kRows * 8;
  static constexpr int kMailboxAt = kValuesAt + (kRows * kQuads + 8 * kMaxCluster) * 16;
  static constexpr int kNewAt = kMailboxAt + 16;  // (tokens) key and value
  static constexpr int turns_at(int tokens) { return kNewAt + tokens * 2 * kDim * 2; }
  static constexpr int shared_bytes(int tokens, int rotary_dim) {
    return turns_at(tokens) + tokens * rotary_dim / 2 * 8;
  }
  static constexpr int kPitch = kDim + 4;  // of outputs
  static constexpr int kOutputBytes = kKeyWarps * kRows * (kPitch + 2) * 4;

  static_assert(kGranuleBytes % 1024 == 0 || !T::kSwizzled);
  static_assert(kOutputBytes <= kStatesAt && kSlots >= 2);
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

/// An 8 x 8 matrix of halves, transposed.
__device__ __forceinline__ uint32_t transposed(uint32_t x) {
  uint32_t y;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
  return y;
}

/// What a block works on: Work, and its share of the new keys.
struct StepWork : Work {
  int index;      // of the sequence
  int n_active;   // blocks of the cluster that have keys
  int new_begin;  // the new keys in this block's range are new_begin .. key_end - 1
  int n_new;
  int own_begin;  // the positions of the tile's own rows
  int own_end;
};

/// False if the block has nothing to do. blockIdx: (split, KV head, sequence and tile).
template <class C>
__device__ __forceinline__ bool find_step_work(const KernelArgs& args, StepWork& work) {
  const AttentionParams& p = args.params;
  const int tile = static_cast<int>(blockIdx.z) % args.m_tiles;
  work.index = static_cast<int>(blockIdx.z) / args.m_tiles;
  work.sequence = p.sequences[work.index];
  work.pair0 = tile * C::kRows;
  work.n_pairs = min(work.sequence.n_rows * args.group - work.pair0, C::kRows);
  if (work.n_pairs <= 0) return false;
  work.own_begin = work.sequence.first + work.pair0 / args.group;
  work.own_end = work.sequence.first + (work.pair0 + work.n_pairs - 1) / args.group + 1;
  const int from = p.window > 0 ? max(0, work.own_begin - p.window + 1) / kUnitKeys * kUnitKeys : 0;
  const int units = (work.own_end - from + kUnitKeys - 1) / kUnitKeys;
  const int share = max(C::kKeyWarps, (units + args.n_splits - 1) / args.n_splits);
  const int rank = static_cast<int>(blockIdx.x);
  work.n_active = (units + share - 1) / share;
  if (rank >= work.n_active) return false;
  work.n_parts = 1;
  work.unit = 0;
  work.key_begin = from + rank * share * kUnitKeys;
  work.key_end = min(work.own_end, work.key_begin + share * kUnitKeys);
  work.new_begin = max(work.key_begin, work.sequence.first);
  work.n_new = max(0, work.key_end - work.new_begin);
  return true;
}

/// Runs of eight quads (32 columns of a row) of the outputs are dealt to the active blocks in turn:
/// how many this one joins.
template <class C>
__device__ __forceinline__ int own_runs(const StepWork& work) {
  const int runs = (work.n_pairs * C::kQuads + 7) / 8;
  return (runs - static_cast<int>(blockIdx.x) + work.n_active - 1) / work.n_active;
}
/// What the block will be sent.
template <class C>
__device__ __forceinline__ uint32_t mailbox_bytes(const StepWork& work) {
  const int n_quads = work.n_pairs * C::kQuads;
  const int runs = (n_quads + 7) / 8;
  int own = own_runs<C>(work) * 8;
  if ((runs - 1) % work.n_active == static_cast<int>(blockIdx.x)) own -= runs * 8 - n_quads;
  return static_cast<uint32_t>(work.n_active * (own * 16 + work.n_pairs * 8));
}

/// Rotates the queries of the tile's rows into shared memory and the block's new keys and values
/// into theirs and, those of the tile's own rows, into their pages. `new_page`: lane i has the page
/// of the i-th new key.
template <class C>
__device__ __forceinline__ void rotate_step(const StepArgs& args, const StepWork& work,
                                            int new_page, char* shared) {
  using T = typename C::T;
  constexpr int kPairs = (C::kDim / 2 + 31) / 32;
  constexpr int kBatch = C::kRows <= 8 ? 3 : 4;  // heads of a warp whose loads are under way
  const KvPages& kv = args.base.params.kv;
  const int n_heads = args.base.params.n_heads;
  const int group = args.base.group;
  const int gates = args.rope.q_gates ? n_heads : 0;
  const int64_t stride = static_cast<int64_t>(n_heads + gates + 2 * kv.n_kv_heads) * C::kDim;
  const int kv_head = static_cast<int>(blockIdx.y);
  const int half_rotary = args.rope.rotary_dim / 2;
  const HeadPairs<kPairs> pairs(args.rope);
  const auto* turns = reinterpret_cast<const float2*>(shared + args.turns_at);
  auto* new_rows = reinterpret_cast<__half*>(shared + C::kNewAt);

  // Jobs: the tile's queries, then keys, then values. Token of a job, counted in the sequence.
  const int n_jobs = work.n_pairs + 2 * work.n_new;
  const auto token_of = [&](int job) {
    if (job < work.n_pairs) return (work.pair0 + job) / group;
    const int i = job - work.n_pairs;
    return work.new_begin - work.sequence.first + (i < work.n_new ? i : i - work.n_new);
  };
  for (int begin = static_cast<int>(threadIdx.x) / 32; begin < n_jobs;
       begin += kBatch * C::kWarps) {
    float x[kBatch][kPairs];
    float y[kBatch][kPairs];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int job = begin + b * C::kWarps;
      if (job >= n_jobs) continue;
      int head = n_heads + gates + kv_head;
      if (job < work.n_pairs) {
        head = kv_head * group + (work.pair0 + job) % group;
        if (gates > 0) head *= 2;
      } else if (job >= work.n_pairs + work.n_new) {
        head += kv.n_kv_heads;
      }
      const int64_t row = work.sequence.row_begin + token_of(job);
      pairs.load(args.qkv + row * stride + static_cast<int64_t>(head) * C::kDim, C::kDim, x[b],
                 y[b]);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int job = begin + b * C::kWarps;
      if (job >= n_jobs) continue;
      const bool is_q = job < work.n_pairs;
      const bool is_v = job >= work.n_pairs + work.n_new;
      const float* norm = is_v ? nullptr : (is_q ? args.rope.q_norm : args.rope.k_norm);
      if (norm != nullptr) pairs.normalize(norm, args.rope.norm_eps, C::kDim, x[b], y[b]);
      const int token = token_of(job);
      float2 turn[kPairs];
#pragma unroll
      for (int i = 0; i < kPairs; ++i) {
        const bool turned = pairs.pair[i] < half_rotary;
        turn[i] = turned ? turns[token * half_rotary + pairs.pair[i]] : make_float2(0, 1);
      }
      if (is_q) {
        char* tile = shared + C::kQueryAt;
        pairs.store(turn, true, args.q_scale, C::kDim, x[b], y[b], [&](int element, __half value) {
          *reinterpret_cast<__half*>(tile + T::offset(job, element / 8) + element % 8 * 2) = value;
        });
        continue;
      }
      const int position = work.sequence.first + token;
      const int i = position - work.new_begin;
      const int page = __shfl_sync(kAllLanes, new_page, i);
      const int64_t at =
          (((static_cast<int64_t>(page) * kv.n_kv_heads + kv_head) << args.base.page_shift) +
           (position & (kv.page_tokens - 1))) *
          C::kDim;
      __half* stored = (is_v ? kv.v : kv.k) + at;
      __half* kept = new_rows + (2 * i + (is_v ? 1 : 0)) * C::kDim;
      const bool own = position >= work.own_begin;  // others are another tile's to store
      pairs.store(turn, !is_v, 1.0F, C::kDim, x[b], y[b], [&](int element, __half value) {
        kept[element] = value;
        if (own) stored[element] = value;
      });
    }
  }
}

/// The ring of a group of warps: granule 2 j is the keys of its j-th unit, 2 j + 1 the values.
template <class C>
class StepRing {
 public:
  using T = typename C::T;
  static constexpr int kGroupThreads = 32 * C::kQueryWarps;

  __device__ __forceinline__ StepRing(const StepArgs& args, const StepWork& work, char* shared,
                                      int group_index)
      : kv_(args.base.params.kv),
        pages_(args.base.params.pages + work.sequence.page_begin),
        page_shift_(args.base.page_shift),
        begin_(work.key_begin + group_index * kUnitKeys),
        first_new_(work.sequence.first),
        last_(work.key_end - 1),
        group_index_(group_index),
        shared_(shared + group_index * C::kSlots * C::kGranuleBytes),
        to_(shared_address(shared_)) {
    const int units = (work.key_end - work.key_begin + kUnitKeys - 1) / kUnitKeys;
    n_units_ = max(0, (units - group_index + C::kKeyWarps - 1) / C::kKeyWarps);
#pragma unroll
    for (int i = 0; i < C::kSlots - 1; ++i) copy();
  }

  __device__ __forceinline__ int n_units() const { return n_units_; }
  /// The first key of the j-th unit.
  __device__ __forceinline__ int key(int j) const { return begin_ + j * C::kKeyWarps * kUnitKeys; }
  /// Waits for the next granule, of unit j, and starts the copy of a later one. new_rows: the new
  /// keys (or values), the first at new_begin.
  __device__ __forceinline__ uint32_t next(int j, const __half* new_rows, int new_begin) {
    copy_wait<C::kSlots - 2>();
    sync();
    const int slot = read_ % C::kSlots;
    copy();
    ++read_;
    const int unit_end = min(key(j) + kUnitKeys, last_ + 1);
    if (unit_end > first_new_) {
      // The copy left zeros where the new ones belong.
      char* granule = shared_ + slot * C::kGranuleBytes;
      const int first = max(key(j), first_new_);
      for (int i = thread(); i < (unit_end - first) * T::kChunks; i += kGroupThreads) {
        const int position = first + i / T::kChunks;
        const int chunk = i % T::kChunks;
        *reinterpret_cast<uint4*>(granule + T::offset(position - key(j), chunk)) =
            *reinterpret_cast<const uint4*>(new_rows + (position - new_begin) * 2 * C::kDim +
                                            chunk * 8);
      }
      sync();
    }
    return to_ + static_cast<uint32_t>(slot * C::kGranuleBytes);
  }

 private:
  __device__ __forceinline__ int thread() const {
    return static_cast<int>(threadIdx.x) % kGroupThreads;
  }
  __device__ __forceinline__ void sync() const {
    if constexpr (C::kQueryWarps == 1) {
      __syncwarp();
    } else {
      asm volatile("bar.sync %0, %1;" ::"r"(1 + group_index_), "n"(kGroupThreads) : "memory");
    }
  }
  __device__ __forceinline__ void copy() {
    const int j = written_ / 2;
    if (j < n_units_) {
      const bool is_v = written_ % 2 != 0;
      const int position = key(j);
      const int lane = static_cast<int>(threadIdx.x) % 32;
      if (!is_v && j % 32 == 0) {
        window_ = pages_[min(key(j + lane), last_) >> page_shift_];
      }
      const int page = __shfl_sync(kAllLanes, window_, j % 32);
      const int64_t token =
          ((static_cast<int64_t>(page) * kv_.n_kv_heads + static_cast<int>(blockIdx.y))
           << page_shift_) +
          (position & ((1 << page_shift_) - 1));
      const __half* from = (is_v ? kv_.v : kv_.k) + token * C::kDim;
      const uint32_t to = to_ + static_cast<uint32_t>(written_ % C::kSlots * C::kGranuleBytes);
      const int n_old = first_new_ - position;
      constexpr int kChunks = kUnitKeys * T::kChunks;
#pragma unroll
      for (int i = 0; i < (kChunks + kGroupThreads - 1) / kGroupThreads; ++i) {
        const int index = thread() + i * kGroupThreads;
        const int row = index / T::kChunks;
        const int chunk = index % T::kChunks;
        if (kChunks % kGroupThreads != 0 && index >= kChunks) continue;
        copy_async(to + T::offset(row, chunk), from + index * 8, row < n_old);
      }
    }
    ++written_;
    copy_commit();
  }

  const KvPages& kv_;
  const int32_t* pages_;
  int page_shift_;
  int begin_;
  int first_new_;
  int last_;
  int group_index_;
  char* shared_;
  uint32_t to_;
  int n_units_ = 0;
  int window_ = 0;  // lane i: the page of unit 32 (j / 32) + i
  int written_ = 0;
  int read_ = 0;
};

/// Sends what the block has of every output to the block that joins it, joins what it gets itself,
/// and stores it. maxima, sums: of a query in the group's keys; o: its outputs, not normalised.
template <class C>
__device__ __forceinline__ void join_step(const StepArgs& args, const StepWork& work,
                                          const float (&maxima)[C::kTiles][2],
                                          const float (&sums)[C::kTiles][2],
                                          const float (&o)[C::kTiles][C::kDim / 16][4],
                                          char* shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int key_warp = warp / C::kQueryWarps;
  auto* outputs = reinterpret_cast<float*>(shared);  // (kKeyWarps, kRows, kPitch)
  auto* states =
      reinterpret_cast<float2*>(outputs + C::kKeyWarps * C::kRows * C::kPitch);  // (.., kRows)
  __syncthreads();  // nobody reads the rings or the queries any more
#pragma unroll
  for (int n = 0; n < C::kTiles; ++n) {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const int row = (warp % C::kQueryWarps * C::kTiles + n) * 8 + lane % 4 * 2 + c;
      const int at = key_warp * C::kRows + row;
      if (lane / 4 == 0) states[at] = make_float2(maxima[n][c], sums[n][c]);
#pragma unroll
      for (int d = 0; d < C::kDim / 16; ++d) {
        outputs[at * C::kPitch + d * 16 + lane / 4] = o[n][d][c];
        outputs[at * C::kPitch + d * 16 + lane / 4 + 8] = o[n][d][c + 2];
      }
    }
  }
  __syncthreads();
  cluster_wait();  // all blocks have started, and their mailboxes are ready

  const int n_active = work.n_active;
  const int rank = static_cast<int>(blockIdx.x);
  const uint32_t mailbox = shared_address(shared + C::kMailboxAt);
  const uint32_t states_here = shared_address(shared + C::kStatesAt);
  const uint32_t values_here = shared_address(shared + C::kValuesAt);
  // The maximum of a row, and each warp's factor.
  const auto factors_of = [&](int row, float(&factor)[C::kKeyWarps]) {
    float2 state[C::kKeyWarps];
    float top = -INFINITY;
#pragma unroll
    for (int k = 0; k < C::kKeyWarps; ++k) {
      state[k] = states[k * C::kRows + row];
      top = fmaxf(top, state[k].x);
    }
    float total = 0;
#pragma unroll
    for (int k = 0; k < C::kKeyWarps; ++k) {
      factor[k] = rescale(state[k].x, top);
      total += state[k].y * factor[k];
    }
    return make_float2(top, total);
  };
  const int n_quads = work.n_pairs * C::kQuads;
  for (int i = static_cast<int>(threadIdx.x); i < n_quads; i += C::kThreads) {
    const int row = i / C::kQuads;
    float factor[C::kKeyWarps];
    factors_of(row, factor);
    float4 value = make_float4(0, 0, 0, 0);
#pragma unroll
    for (int k = 0; k < C::kKeyWarps; ++k) {
      const float4 part = *reinterpret_cast<const float4*>(
          outputs + (k * C::kRows + row) * C::kPitch + i % C::kQuads * 4);
      value.x += factor[k] * part.x;
      value.y += factor[k] * part.y;
      value.z += factor[k] * part.z;
      value.w += factor[k] * part.w;
    }
    const int run = i / 8;
    const int owner = run % n_active;
    const int at = (run / n_active * n_active + rank) * 8 + i % 8;
    send(cluster_address(values_here + static_cast<uint32_t>(at * 16), owner), value,
         cluster_address(mailbox, owner));
  }
  for (int i = static_cast<int>(threadIdx.x); i < work.n_pairs * n_active; i += C::kThreads) {
    const int row = i % work.n_pairs;
    const int to = i / work.n_pairs;
    float factor[C::kKeyWarps];
    const float2 state = factors_of(row, factor);
    send(cluster_address(states_here + static_cast<uint32_t>((rank * C::kRows + row) * 8), to),
         state, cluster_address(mailbox, to));
  }

  mailbox_wait(mailbox);
  const int n_own = own_runs<C>(work) * 8;
  const auto* all_states = reinterpret_cast<const float2*>(shared + C::kStatesAt);
  const auto* values = reinterpret_cast<const float4*>(shared + C::kValuesAt);
  for (int i = static_cast<int>(threadIdx.x); i - lane < n_own; i += C::kThreads) {
    const int own = min(i, n_own - 1);
    const int run = own / 8 * n_active + rank;
    const int quad = min(run * 8 + own % 8, n_quads - 1);
    const bool wanted = i < n_own && run * 8 + own % 8 < n_quads;
    const int row = quad / C::kQuads;
    float top = -INFINITY;
#pragma unroll 4
    for (int b = 0; b < n_active; ++b) top = fmaxf(top, all_states[b * C::kRows + row].x);
    float total = 0;
    float4 value = make_float4(0, 0, 0, 0);
#pragma unroll 4
    for (int b = 0; b < n_active; ++b) {
      const float2 state = all_states[b * C::kRows + row];
      const float4 part = values[(own / 8 * n_active + b) * 8 + own % 8];
      const float factor = rescale(state.x, top);
      total += state.y * factor;
      value.x += part.x * factor;
      value.y += part.y * factor;
      value.z += part.z * factor;
      value.w += part.w * factor;
    }
    const float inverse = total > 0 ? 1.0F / total : 0.0F;
    store_output<C::kDim>(
        args.base, work, row, quad % C::kQuads * 4,
        make_float4(value.x * inverse, value.y * inverse, value.z * inverse, value.w * inverse),
        wanted);
  }
  if (rank == 0) store_padding<C::kDim, C::kThreads>(args.base, work, 0, work.n_pairs);
}

#endif

template <class C>
__global__ void __launch_bounds__(C::kThreads) step_kernel(const __grid_constant__ StepArgs args) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  using T = typename C::T;
  constexpr int kDimSteps = C::kDim / 16;
  extern __shared__ __align__(1024) char shared[];
  const AttentionParams& p = args.base.params;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  StepWork work;
  if (!find_step_work<C>(args.base, work)) {
    cluster_arrive();
    pdl_wait();
    return;
  }
  if (threadIdx.x == 0) {
    mailbox_init(shared_address(shared + C::kMailboxAt), mailbox_bytes<C>(work));
  }
  __syncwarp();
  cluster_arrive();

  StepRing<C> ring(args, work, shared, warp / C::kQueryWarps);
  int new_page = 0;
  if (lane < work.n_new) {
    new_page =
        p.pages[work.sequence.page_begin + ((work.new_begin + lane) >> args.base.page_shift)];
  }
  const int half_rotary = args.rope.rotary_dim / 2;
  auto* turns = reinterpret_cast<float2*>(shared + args.turns_at);
  const int n_turns = (work.own_end - work.sequence.first) * half_rotary;
  for (int i = static_cast<int>(threadIdx.x); i < n_turns; i += C::kThreads) {
    turns[i] = rope_turn(args.rope, work.sequence.first + i / half_rotary, i % half_rotary);
  }
  // Rows of the tile that nobody has are zeros.
  for (int i = work.n_pairs * T::kChunks + static_cast<int>(threadIdx.x); i < C::kRows * T::kChunks;
       i += C::kThreads) {
    *reinterpret_cast<uint4*>(shared + C::kQueryAt + T::offset(i / T::kChunks, i % T::kChunks)) =
        make_uint4(0, 0, 0, 0);
  }
  __syncthreads();
  pdl_wait();
  rotate_step<C>(args, work, new_page, shared);
  __syncthreads();

  // Queries: 8 of a tile, 32 columns at a time.
  const int first_row = warp % C::kQueryWarps * C::kTiles * 8;
  const auto load_queries = [&](int n, int k, uint32_t(&q)[4]) {
    const int chunk = min(2 * k + lane / 8, T::kChunks - 1);
    load_matrices(
        q, shared_address(shared + C::kQueryAt) + T::offset(first_row + n * 8 + lane % 8, chunk));
  };
  constexpr int kQuerySteps = (kDimSteps + 1) / 2;
  uint32_t q[C::kQueryInRegisters ? C::kTiles : 1][C::kQueryInRegisters ? kQuerySteps : 1][4];
  if constexpr (C::kQueryInRegisters) {
#pragma unroll
    for (int n = 0; n < C::kTiles; ++n) {
#pragma unroll
      for (int k = 0; k < kQuerySteps; ++k) load_queries(n, 2 * k, q[n][k]);
    }
  }
  int position[C::kTiles][2];
#pragma unroll
  for (int n = 0; n < C::kTiles; ++n) {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const int row = min(first_row + n * 8 + lane % 4 * 2 + c, work.n_pairs - 1);
      position[n][c] = work.sequence.first + (work.pair0 + row) / args.base.group;
    }
  }

  const uint32_t by_row = T::offset(lane & 15, lane >> 4);
  const uint32_t by_key = T::offset((lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1);
  const auto* new_rows = reinterpret_cast<const __half*>(shared + C::kNewAt);
  float o[C::kTiles][kDimSteps][4] = {};
  float maxima[C::kTiles][2];
  float sums[C::kTiles][2] = {};
#pragma unroll
  for (int n = 0; n < C::kTiles; ++n) maxima[n][0] = maxima[n][1] = -INFINITY;

  for (int j = 0; j < ring.n_units(); ++j) {
    const uint32_t keys = ring.next(j, new_rows, work.new_begin) + by_row;
    float s[C::kTiles][2][4] = {};  // even and odd steps: two chains of products
#pragma unroll
    for (int k = 0; k < kDimSteps; ++k) {
      uint32_t a[4];
      load_matrices(a, T::step(keys, k));
#pragma unroll
      for (int n = 0; n < C::kTiles; ++n) {
        if constexpr (C::kQueryInRegisters) {
          multiply_add(s[n][k % 2], a, q[n][k / 2][k % 2 * 2], q[n][k / 2][k % 2 * 2 + 1]);
        } else {
          uint32_t b[4];
          load_queries(n, k / 2 * 2, b);
          multiply_add(s[n][k % 2], a, b[k % 2 * 2], b[k % 2 * 2 + 1]);
        }
      }
    }
    const int key0 = ring.key(j) + lane / 4;
    const bool masked = ring.key(j) + kUnitKeys > work.own_begin + 1 ||
                        (p.window > 0 && ring.key(j) <= work.own_end - 1 - p.window);
    bool above = false;  // by how much the maximum may be wrong, so that weights fit a half
#pragma unroll
    for (int n = 0; n < C::kTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        s[n][0][i] += s[n][1][i];
        const int at = position[n][i % 2];
        const int key = key0 + 8 * (i / 2);
        if (masked && (key > at || (p.window > 0 && key <= at - p.window))) s[n][0][i] = -INFINITY;
        above = above || s[n][0][i] > maxima[n][i % 2] + kSlack;
      }
    }
    if (__any_sync(kAllLanes, above)) {
#pragma unroll
      for (int n = 0; n < C::kTiles; ++n) {
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          float top = fmaxf(s[n][0][c], s[n][0][c + 2]);
#pragma unroll
          for (int mask = 4; mask < 32; mask *= 2) {
            top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, mask));
          }
          top = fmaxf(top, maxima[n][c]);
          const float scale = rescale(maxima[n][c], top);
          maxima[n][c] = top;
          sums[n][c] *= scale;
#pragma unroll
          for (int d = 0; d < kDimSteps; ++d) {
            o[n][d][c] *= scale;
            o[n][d][c + 2] *= scale;
          }
        }
      }
    }
    uint32_t weights[C::kTiles][2];
#pragma unroll
    for (int n = 0; n < C::kTiles; ++n) {
      float w[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float base = maxima[n][i % 2] == -INFINITY ? 0.0F : maxima[n][i % 2];
        w[i] = exp2_fast(s[n][0][i] - base);
        sums[n][i % 2] += w[i];
      }
      weights[n][0] = transposed(pack_halves(w[0], w[1]));
      weights[n][1] = transposed(pack_halves(w[2], w[3]));
    }
    const uint32_t values = ring.next(j, new_rows + C::kDim, work.new_begin) + by_key;
#pragma unroll
    for (int d = 0; d < kDimSteps; ++d) {
      uint32_t a[4];
      load_matrices_transposed(a, T::step(values, d));
#pragma unroll
      for (int n = 0; n < C::kTiles; ++n) multiply_add(o[n][d], a, weights[n][0], weights[n][1]);
    }
  }
#pragma unroll
  for (int n = 0; n < C::kTiles; ++n) {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
#pragma unroll
      for (int mask = 4; mask < 32; mask *= 2) {
        sums[n][c] += __shfl_xor_sync(kAllLanes, sums[n][c], mask);
      }
    }
  }
  join_step<C>(args, work, maxima, sums, o, shared);
#endif
}

}  // namespace fimd::cuda::attention_detail
