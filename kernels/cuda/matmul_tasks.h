// A product's tasks as its kernels are given them.
#pragma once

#include <algorithm>

#include "kernels/cuda/pack.h"

namespace fimd::cuda {

struct TaskParams {
  const uint8_t* weights;
  const float* bias;
  float* y;
  int y_stride;
  int rows;
  int row_tile_begin;  // among all tasks' row tiles
  int row_tile_end;
  int row_tile_bytes;  // of weights
  int tile_bytes;      // 0 if weights are rows
  DType type;
  bool accumulate;
  bool stores;  // y, or nobody reads it behind the launch
};

struct TaskTotals {
  int row_tiles = 0;
  int slot_bytes = 0;  // of the largest item
};

/// The tasks of `step`, one after another; the rest of `tasks` stays as it is.
inline TaskTotals set_tasks(const MatmulStep& step, TaskParams (&tasks)[kMaxMatmulTasks]) {
  TaskTotals totals;
  for (int i = 0; i < kMaxMatmulTasks && step.tasks[i].w.data != nullptr; ++i) {
    const MatmulTask& from = step.tasks[i];
    const int end = totals.row_tiles + static_cast<int>(divide_up(from.w.rows, kTileRows));
    tasks[i] = {
        .weights = static_cast<const uint8_t*>(from.w.data),
        .bias = from.bias,
        .y = from.y,
        .y_stride = static_cast<int>(from.y_stride),
        .rows = static_cast<int>(from.w.rows),
        .row_tile_begin = totals.row_tiles,
        .row_tile_end = end,
        .row_tile_bytes = static_cast<int>(packed_bytes(from.w.type, kTileRows, from.w.cols)),
        .tile_bytes = tile_bytes(from.w.type),
        .type = from.w.type,
        .accumulate = from.accumulate,
        .stores = true};
    totals.row_tiles = end;
    const bool bf16 = from.w.type == DType::kBF16;
    totals.slot_bytes =
        std::max(totals.slot_bytes, bf16 ? kTileRows * kBf16TileRowBytes : tasks[i].tile_bytes);
  }
  return totals;
}

/// Columns of the step's input.
inline int64_t cols_of(const MatmulStep& step) {
  return step.floats.x != nullptr ? step.floats.cols : step.x.cols;
}

}  // namespace fimd::cuda
