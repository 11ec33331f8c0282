// Launching chains.
#include "kernels/cuda/matmul_chain.cuh"

#include <algorithm>
#include <type_traits>

#include "kernels/cuda/matmul_chain.h"
#include "kernels/cuda/matmul_chain_words.h"

namespace fimd::cuda {
namespace {

/// Returns the bytes of the largest item.
int set_step(const MatmulStep& from, int n_rows, bool bf16, ChainStep& step) {
  const TaskTotals totals = set_tasks(from, step.tasks);
  step.row_tiles = totals.row_tiles;
  step.cols = static_cast<int>(cols_of(from));
  step.k_tiles = static_cast<int>(divide_up(step.cols, bf16 ? kBf16TileCols : kTileCols));
  step.floats = from.floats;
  if (from.floats.x == nullptr || n_rows > kMaxFloatRows) {
    step.x = static_cast<const uint8_t*>(bf16 ? from.x.bf16 : from.x.q8);
  }
  step.swiglu = from.swiglu;
  step.out = from.out;
  step.words_in = step.words_out = step.words_old = kNotHanded;
  return totals.slot_bytes;
}

// Left to the kernel in front or behind, attention most of all: its blocks are resident beside a
// chain's, so that each fetches what it can while the other still runs.
constexpr int kBesideBytes = 64 << 10;
// A chain of BF16 weights with more items for a block gains more from a third slot than from that.
constexpr int kShortChainItems = 400;

/// How a chain's blocks might use shared memory.
struct SharedPlan {
  int weight_bytes;       // of a slot
  bool pairs;             // two items to a slot, where activations do not come with them
  int64_t most_resident;  // activations of more bytes come through the ring
  int available;          // bytes
  int least_rounds;       // of slots, or it is not worth it
};

/// Bytes to launch with, or 0 if that is more than there are.
template <class Weights, int T>
int plan_shared(ChainParams& p, const SharedPlan& plan) {
  p.runs_offset = kUnitsAt + p.n_units * unit_bytes<Weights, T>();
  const auto fixed = static_cast<int>(
      divide_up(p.runs_offset + kChainWarps * (p.most_runs + 1) * int64_t{sizeof(RunOf<T>)}, 128) *
      128);
  int64_t resident = 0;  // of all steps, or of even and odd ones apart
  int64_t of_even = 0;
  bool streamed = false;
  for (int s = 0; s < p.n_steps; ++s) {
    ChainStep& step = p.steps[s];
    const int64_t x_bytes = divide_up(int64_t{p.x_tile_bytes} * step.k_tiles, 16) * 16;
    step.streamed = step.x != nullptr && x_bytes > plan.most_resident;
    if (step.streamed && !kStreams<T>) return 0;
    streamed = streamed || step.streamed;
    if (!step.streamed) {
      int64_t& most = kHands<T> && s % 2 == 0 ? of_even : resident;
      most = std::max(most, x_bytes);
    }
  }
  p.odd_x = static_cast<int>(of_even);
  resident += of_even;
  if (streamed && plan.pairs) return 0;
  p.pairs = plan.pairs;
  p.ring_offset = fixed;
  p.slot_x = plan.weight_bytes;
  p.slot_bytes = plan.weight_bytes + (streamed ? p.x_tile_bytes : 0);
  const int64_t round = int64_t{kChainWarps} * p.slot_bytes;
  const int64_t other = fixed + resident;
  const int64_t rounds = (plan.available - other) / round;
  if (rounds < plan.least_rounds) return 0;
  p.rounds = static_cast<int>(std::min<int64_t>(rounds, kMaxRounds));
  p.x_offset = fixed + p.rounds * static_cast<int>(round);
  return p.x_offset + static_cast<int>(resident);
}

/// Bytes of the smallest tile.
int least_bytes(const ChainParams& p) {
  int least = tile_bytes(DType::kQ8_0);
  for (int s = 0; s < p.n_steps; ++s) {
    for (const TaskParams& task : p.steps[s].tasks) {
      if (task.weights != nullptr) least = std::min(least, task.tile_bytes);
    }
  }
  return least;
}

template <class Weights>
int units_of(const ChainStep& step) {
  return step.row_tiles / (step.swiglu ? kUnitTiles<Weights> : 1);
}

template <class Weights, int T>
bool launch_rows(ChainParams& p, int weight_bytes, const DeviceLimits& limits,
                 cudaStream_t stream) {
  for (int s = 0; s < p.n_steps; ++s) {
    const ChainStep& step = p.steps[s];
    const auto units =
        static_cast<int>(divide_up(units_of<Weights>(step), int64_t{limits.processors}));
    if (step.swiglu) p.n_units = std::max(p.n_units, units);
    p.most_runs += most_runs(
        int64_t{units} * (step.swiglu ? kUnitTiles<Weights> : 1) * step.k_tiles, step.k_tiles);
  }
  if (p.n_units > kMaxUnits) return false;
  int64_t items = 0;
  for (int s = 0; s < p.n_steps; ++s) items += int64_t{p.steps[s].row_tiles} * p.steps[s].k_tiles;
  const bool two_slots = T <= kMaxFloatRows && items < kShortChainItems * limits.processors;
  int shared = 0;
  const int pair_bytes = std::max(weight_bytes, 2 * least_bytes(p));
  for (const int beside : {kBesideBytes, 0}) {
    for (const bool pairs : {true, false}) {
      for (const int64_t most_resident : {128 << 10, 40 << 10, 0}) {
        if (shared > 0 || (pairs && std::is_same_v<Weights, Bf16Chain>)) break;
        shared =
            plan_shared<Weights, T>(p, {.weight_bytes = pairs ? pair_bytes : weight_bytes,
                                        .pairs = pairs,
                                        .most_resident = most_resident,
                                        .available = limits.shared_bytes - beside,
                                        .least_rounds = beside == 0 || pairs || two_slots ? 2 : 3});
      }
    }
  }
  if (shared == 0) return false;
  int64_t units = 0;
  for (int s = 0; s < p.n_steps; ++s) {
    p.steps[s].first_block = static_cast<int>(units % limits.processors);
    units += units_of<Weights>(p.steps[s]);
  }
  const int64_t blocks =
      p.arrivals != nullptr ? limits.processors : std::min<int64_t>(units, limits.processors);
  launch(chain_kernel<Weights, T>, static_cast<unsigned>(blocks), kChainThreads,
         static_cast<size_t>(shared), stream, p);
  return true;
}

bool all_common(std::span<const MatmulStep> steps) {
  return std::all_of(steps.begin(), steps.end(), [](const MatmulStep& step) {
    return std::all_of(std::begin(step.tasks), std::end(step.tasks), [](const MatmulTask& task) {
      return task.w.data == nullptr || CommonFormats::has(task.w.type);
    });
  });
}

template <class Weights>
bool launch_kind(ChainParams& p, int weight_bytes, const DeviceLimits& limits,
                 cudaStream_t stream) {
  switch (row_groups(p.n_rows).rows) {
    case 1:
      return launch_rows<Weights, 1>(p, weight_bytes, limits, stream);
    case 2:
      return launch_rows<Weights, 2>(p, weight_bytes, limits, stream);
    case 4:
      return launch_rows<Weights, 4>(p, weight_bytes, limits, stream);
    default:
      return launch_rows<Weights, 8>(p, weight_bytes, limits, stream);
  }
}

}  // namespace

bool chains_here() {
  return made_for_hopper(reinterpret_cast<const void*>(chain_kernel<Bf16Chain, 1>));
}

bool launch_chain(std::span<const MatmulStep> steps, int n_rows, bool bf16,
                  const ChainWorkspace& workspace, cudaStream_t stream,
                  std::span<const MatmulStep> next) {
  const DeviceLimits limits = device_limits();
  if (limits.processors == 0) return false;
  ChainParams p = {};
  int weight_bytes = 0;
  for (const MatmulStep& step : steps) {
    weight_bytes = std::max(weight_bytes, set_step(step, n_rows, bf16, p.steps[p.n_steps++]));
  }
  p.ahead = plan_ahead(steps, next, limits.processors);
  const int rows = row_groups(n_rows).rows;
  p.n_rows = n_rows;
  p.x_tile_bytes = bf16 ? bf16_group_bytes(rows) : q8_group_bytes(rows);
  p.arrivals = static_cast<unsigned*>(workspace.data);
  p.factors = p.arrivals != nullptr ? static_cast<float*>(workspace.data) + kFactorsAt : nullptr;
  if (n_rows == 1 && !deal_words(steps, workspace, p)) return false;
  if (bf16) return launch_kind<Bf16Chain>(p, weight_bytes, limits, stream);
  return all_common(steps) ? launch_kind<TiledChain<CommonFormats>>(p, weight_bytes, limits, stream)
                           : launch_kind<TiledChain<AllFormats>>(p, weight_bytes, limits, stream);
}

}  // namespace fimd::cuda
