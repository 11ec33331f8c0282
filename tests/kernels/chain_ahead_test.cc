// What chains of products ask for ahead. Needs the CUDA build, but no GPU.
#include <doctest/doctest.h>

#include <vector>

#include "kernels/cuda/matmul_chain_ahead.h"

namespace fimd::cuda {
namespace {

constexpr int64_t kLayer = int64_t{1} << 40;  // how far apart the weights of two layers are

struct Shape {
  int64_t hidden, q, kv, ff;
  DType type, type_down;
};
constexpr Shape k1B5 = {1536, 1536, 256, 8960, DType::kQ4_K, DType::kQ6_K};
constexpr Shape k7B = {3584, 3584, 512, 18944, DType::kBF16, DType::kBF16};
constexpr Shape k7BQ4 = {3584, 3584, 512, 18944, DType::kQ4_K, DType::kQ4_K};

/// Weights one behind another that nobody reads.
struct Weights {
  const uint8_t* next;
  MatmulTask task(DType type, int64_t rows, int64_t cols) {
    const uint8_t* at = next;
    next += packed_bytes(type, rows, cols);
    return {.w = {type, at, rows, cols}};
  }
};

/// The output product, gate and up, down, the next layer's projections.
std::vector<MatmulStep> chain(const Shape& s, int layer) {
  Weights w = {reinterpret_cast<const uint8_t*>(kLayer * (layer + 1))};
  return {
      {.tasks = {w.task(s.type, s.hidden, s.q)}},
      {.tasks = {w.task(s.type, s.ff, s.hidden), w.task(s.type, s.ff, s.hidden)}, .swiglu = true},
      {.tasks = {w.task(s.type_down, s.hidden, s.ff)}},
      {.tasks = {w.task(s.type, s.q, s.hidden), w.task(s.type, s.kv, s.hidden),
                 w.task(s.type_down, s.kv, s.hidden)}}};
}

int64_t bytes_of(const AheadSpan& span, int blocks) { return int64_t{span.block_bytes} * blocks; }

/// Stands for a chain's start.
constexpr int kStart = -1;
int first_of(const Ahead& ahead, int before) { return before == kStart ? 0 : ahead.begins[before]; }

/// Bytes of `step`'s weights that are asked for before step `before`; each span lies in one task.
int64_t asked(const Ahead& ahead, const MatmulStep& step, int before, int blocks) {
  int64_t bytes = 0;
  for (int i = first_of(ahead, before); i < ahead.begins[before + 1]; ++i) {
    const AheadSpan& span = ahead.spans[i];
    for (const MatmulTask& task : step.tasks) {
      const auto* begin = static_cast<const uint8_t*>(task.w.data);
      if (begin == nullptr) continue;
      const uint8_t* end = begin + packed_bytes(task.w.type, task.w.rows, task.w.cols);
      if (span.at < begin || span.at >= end) continue;
      CHECK(span.at + bytes_of(span, blocks) <= end);
      bytes += bytes_of(span, blocks);
    }
  }
  return bytes;
}

TEST_CASE("chains ask ahead for weights that are there, once") {
  const Shape shapes[] = {k1B5,
                          k7B,
                          k7BQ4,
                          {5120, 5120, 1024, 27648, DType::kQ4_K, DType::kQ6_K},
                          {896, 896, 128, 4864, DType::kQ8_0, DType::kQ8_0},
                          {256, 256, 128, 544, DType::kQ4_0, DType::kBF16},
                          {64, 64, 64, 96, DType::kBF16, DType::kBF16}};
  for (const Shape& shape : shapes) {
    for (const int blocks : {1, 46, 132, 170}) {
      CAPTURE(shape.hidden);
      CAPTURE(blocks);
      const auto steps = chain(shape, 0), next = chain(shape, 1);
      const Ahead ahead = plan_ahead(steps, next, blocks);
      int64_t all = 0, found = 0;
      for (int i = 0; i < ahead.begins[4]; ++i) {
        const AheadSpan& span = ahead.spans[i];
        CHECK(reinterpret_cast<uintptr_t>(span.at) % 16 == 0);
        CHECK(span.block_bytes % 16 == 0);
        CHECK(span.block_bytes > 0);
        all += bytes_of(span, blocks);
      }
      found += asked(ahead, steps[1], kStart, blocks);
      for (int s = 0; s < 4; ++s) {
        found += asked(ahead, steps[static_cast<size_t>(s)], s, blocks);
        found += asked(ahead, next[static_cast<size_t>(s)], 3, blocks);
      }
      found += asked(ahead, steps[2], 1, blocks);
      CHECK(all == found);  // each where it belongs, and nowhere else
      CHECK(all <= int64_t{blocks} * (2 * 32 + 3 * 48 + 96 + 24) * 1024);
    }
  }
}

TEST_CASE("a chain's last product is where the next one is asked for") {
  const int blocks = 132;
  for (const Shape& shape : {k1B5, k7B}) {
    const auto steps = chain(shape, 0), next = chain(shape, 1);
    const Ahead ahead = plan_ahead(steps, next, blocks);
    CHECK(asked(ahead, next[0], 3, blocks) == 0);
    CHECK(asked(ahead, next[1], 3, blocks) > 2'000'000);
    CHECK(asked(ahead, next[2], 3, blocks) > 2'000'000);
    const Ahead alone = plan_ahead(steps, {}, blocks);
    CHECK(alone.begins[4] < ahead.begins[4]);
    for (const MatmulStep& step : next) CHECK(asked(alone, step, 3, blocks) == 0);
  }
}

TEST_CASE("a chain asks early for what follows the part that the one in front asked for") {
  const int blocks = 132;
  for (const Shape& shape : {k1B5, k7BQ4}) {
    const auto steps = chain(shape, 1);
    const Ahead in_front = plan_ahead(chain(shape, 0), steps, blocks);
    const Ahead ahead = plan_ahead(steps, {}, blocks);
    // Gate and up at the start; down before gate and up have their x, behind their own.
    REQUIRE(ahead.begins[0] == 2);
    CHECK(asked(ahead, steps[1], kStart, blocks) > blocks * (31 << 10));
    CHECK(asked(ahead, steps[2], 1, blocks) > blocks * (31 << 10));
    const int early[] = {0, 1, ahead.begins[2] - 1};
    int of_next = in_front.begins[3];  // behind those of its own last product, a layer before
    while (in_front.spans[of_next].at < steps[1].tasks[0].w.data) ++of_next;
    for (int i = 0; i < 3; ++i) {
      const AheadSpan& span = in_front.spans[of_next + i];
      const uint8_t* end = span.at + bytes_of(span, blocks);
      CHECK(ahead.spans[early[i]].at >= end);
      CHECK(ahead.spans[early[i]].at < end + 16 * (blocks + 1));  // what no block has a piece of
    }
  }
}

TEST_CASE("of BF16 weights nothing is asked for early") {
  const auto steps = chain(k7B, 0);
  const Ahead ahead = plan_ahead(steps, chain(k7B, 1), 132);
  CHECK(ahead.begins[0] == 0);
  CHECK(asked(ahead, steps[2], 1, 132) == 0);
}

TEST_CASE("a device that does not say how many multiprocessors it has is asked for nothing") {
  CHECK(plan_ahead(chain(k7B, 0), chain(k7B, 1), 0).begins[4] == 0);
}

TEST_CASE("of a product only what rings cannot hold is asked for") {
  const int blocks = 132;
  const auto steps = chain(k7B, 0);
  const Ahead ahead = plan_ahead(steps, {}, blocks);
  CHECK(asked(ahead, steps[0], 0, blocks) == 0);
  for (const int s : {1, 2, 3}) {
    const MatmulStep& step = steps[static_cast<size_t>(s)];
    CHECK(asked(ahead, step, s, blocks) > blocks * (47 << 10));
    CHECK(ahead.spans[ahead.begins[s]].at > step.tasks[0].w.data);
  }
  const auto small = chain(k1B5, 0);
  CHECK(asked(plan_ahead(small, {}, blocks), small[3], 3, blocks) == 0);
  const std::vector<MatmulStep> one = {steps[3]};
  CHECK(plan_ahead(one, {}, blocks).begins[1] == 0);
}

}  // namespace
}  // namespace fimd::cuda
