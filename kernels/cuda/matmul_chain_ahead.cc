#include "kernels/cuda/matmul_chain_ahead.h"

#include <algorithm>
#include <iterator>

namespace fimd::cuda {
namespace {

// Bytes for each block. Found by trials of 1.5B, 7B, 27B and 32B (docs/kernels.md); half as much or
// twice costs some tenths of a percent.
constexpr int64_t kInRings = 96 << 10;  // what rings fetch of a step before its x is there
constexpr int64_t kOfOwn = 48 << 10;    // behind that, of each step but the first
// Of the next chain's products, and no larger part of them than one of so many: what has not come
// when attention begins delays that. The first is what rings begin with: with that in the cache
// they are filled sooner, and what attention reads waits behind them.
struct OfNext {
  int64_t bytes;
  int64_t part;
};
constexpr OfNext kOfNext[] = {{0, 1}, {96 << 10, 5}, {24 << 10, 3}};
// Behind what the chain in front has asked for, of the second product at the start (more, and
// attention waits for its keys) and of the third one before the second. Not of BF16 weights, whose
// rings are filled at once: what rings ask for in time would wait.
constexpr int64_t kOfSecondAtStart = 32 << 10;
constexpr int64_t kOfThirdBeforeSecond = 32 << 10;

int64_t bytes_of(const MatmulTask& task) {
  if (task.w.data == nullptr) return 0;
  return static_cast<int64_t>(packed_bytes(task.w.type, task.w.rows, task.w.cols));
}

int64_t bytes_of(const MatmulStep& step) {
  int64_t bytes = 0;
  for (const MatmulTask& task : step.tasks) bytes += bytes_of(task);
  return bytes;
}

/// Adds `bytes` of a step's weights from byte `first` on, of each task as large a part as it is of
/// all, to the n spans that there are.
void add(const MatmulStep& of, int64_t first, int64_t bytes, int blocks, Ahead& ahead, int& n) {
  const int64_t all = bytes_of(of);
  if (first >= all || bytes <= 0) return;
  for (const MatmulTask& task : of.tasks) {
    const int64_t of_task = bytes_of(task);
    if (of_task == 0 || n == kMaxAheadSpans) continue;
    const int64_t begin = of_task * first / all;
    const int64_t end = of_task * std::min(first + bytes, all) / all;
    const int64_t of_block = (end - begin) / blocks / 16 * 16;
    if (of_block <= 0) continue;
    ahead.spans[n++] = {.at = static_cast<const uint8_t*>(task.w.data) + begin / 16 * 16,
                        .block_bytes = static_cast<int>(of_block)};
  }
}

}  // namespace

Ahead plan_ahead(std::span<const MatmulStep> steps, std::span<const MatmulStep> next, int blocks) {
  Ahead ahead = {};
  int n = 0;
  // What the chain in front asks for of step s.
  const auto in_front = [&](const MatmulStep& step, size_t s) {
    return std::min(kOfNext[s].bytes * blocks, bytes_of(step) / kOfNext[s].part);
  };
  const auto add_behind = [&](size_t s, int64_t of_block) {
    if (s >= steps.size() || steps[s].tasks[0].w.type == DType::kBF16) return;
    add(steps[s], in_front(steps[s], s), of_block * blocks, blocks, ahead, n);
  };
  add_behind(1, kOfSecondAtStart);
  ahead.begins[0] = n;
  for (size_t s = 0; s < steps.size(); ++s) {
    if (s > 0) add(steps[s], kInRings * blocks, kOfOwn * blocks, blocks, ahead, n);
    if (s == 1) add_behind(2, kOfThirdBeforeSecond);
    if (s + 1 == steps.size()) {
      for (size_t of = 0; of < std::min(next.size(), std::size(kOfNext)); ++of) {
        add(next[of], 0, in_front(next[of], of), blocks, ahead, n);
      }
    }
    ahead.begins[s + 1] = n;
  }
  return ahead;
}

}  // namespace fimd::cuda
