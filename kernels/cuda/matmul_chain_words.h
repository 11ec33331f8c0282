// Which steps of a chain of one row hand each other words (handed_words.cuh).
#pragma once

#include <algorithm>

#include "kernels/cuda/matmul_chain.h"
#include "kernels/cuda/matmul_chain_items.cuh"

namespace fimd::cuda {

/// The last of `steps` that writes to `at`; -1: none does.
inline int writer_of(std::span<const MatmulStep> steps, const float* at) {
  const auto writes = [&](const MatmulTask& task) {
    return task.w.data != nullptr && task.y != nullptr && at >= task.y && at < task.y + task.w.rows;
  };
  for (auto s = static_cast<int>(steps.size()) - 1; s >= 0; --s) {
    if (!steps[s].swiglu &&
        std::any_of(std::begin(steps[s].tasks), std::end(steps[s].tasks), writes)) {
      return s;
    }
  }
  return -1;
}

/// Gives what steps hand each other places in the workspace. False if there is too little of it,
/// or if a step reads anything else that one in front of it writes.
inline bool deal_words(std::span<const MatmulStep> steps, const ChainWorkspace& workspace,
                       ChainParams& p) {
  int64_t end = 0;
  const auto place = [&](int step, int64_t bytes) {
    int16_t& at = p.steps[step].words_out;
    if (at == kNotHanded) {
      at = static_cast<int16_t>(std::min<int64_t>(end, INT16_MAX));
      end += divide_up(bytes, kHandedUnit);
    }
    return at;
  };
  for (size_t s = 1; s < steps.size(); ++s) {
    ChainStep& step = p.steps[s];
    const auto before = steps.first(s);
    // Words of all that a step writes, if that is one matrix's.
    const auto words_of = [&](int from, const float* y, int64_t cols, int16_t& at) {
      if (from < 0) return true;
      const MatmulTask& task = steps[from].tasks[0];
      if (task.y != y || task.w.rows < cols || steps[from].tasks[1].w.data != nullptr) return false;
      at = place(from, 4 * task.w.rows);
      return true;
    };
    if (step.floats.x != nullptr) {
      const FloatInput& in = step.floats;
      if (!words_of(writer_of(before, in.x), in.x, in.cols, step.words_in)) return false;
    } else {
      for (size_t from = 0; from < s; ++from) {
        const Activations& out = steps[from].out;
        if (!steps[from].swiglu || (out.q8 != step.x && out.bf16 != step.x)) continue;
        if (out.cols != steps[s].x.cols) return false;
        step.words_in = place(static_cast<int>(from), int64_t{p.x_tile_bytes} * step.k_tiles);
      }
    }
    for (const MatmulTask& task : steps[s].tasks) {
      if (task.w.data == nullptr || steps[s].swiglu) continue;
      const int from = writer_of(before, task.y);
      if (from < 0) continue;
      if (steps[s].tasks[1].w.data != nullptr) return false;
      if (!words_of(from, task.y, task.w.rows, step.words_old)) return false;
      p.steps[from].tasks[0].stores = false;  // it is written again
    }
  }
  if (end == 0) return true;
  const auto bytes = (static_cast<int64_t>(workspace.bytes) - kWordsAt) / 2;
  if (workspace.data == nullptr || end * kHandedUnit > bytes || end > INT16_MAX) return false;
  p.words = {.sets = static_cast<uint8_t*>(workspace.data) + kWordsAt,
             .set_bytes = static_cast<int>(bytes / kHandedUnit * kHandedUnit),
             .turns = static_cast<unsigned*>(workspace.data) + kTurnsAt};
  return true;
}

}  // namespace fimd::cuda
