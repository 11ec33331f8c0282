#include "kernels/cpu/thread_pool.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "kernels/cpu/parallel.h"

namespace fimd::cpu {
namespace {

TEST_CASE("thread pool: the caller takes part, a worker at most once, and run() waits for all") {
  for (const int n : {1, 2, 3, 5}) {
    ThreadPool pool(n);
    CHECK(pool.size() == n);
    std::vector<int> counts(static_cast<size_t>(n));
    for (int round = 1; round <= 300; ++round) {
      pool.run([&](int thread, int threads) {
        CHECK(threads == n);
        ++counts[static_cast<size_t>(thread)];  // a race if run() returned early
      });
      CHECK(counts[0] == round);
      for (const int count : counts) CHECK(count <= round);
    }
  }
  CHECK(ThreadPool(0).size() == 1);
  CHECK(ThreadPool(-3).size() == 1);
}

TEST_CASE("thread pool: workers do arrive") {
  ThreadPool pool(3);
  std::atomic<int> arrived{0};
  pool.run([&](int, int threads) {
    ++arrived;
    while (arrived < threads) std::this_thread::yield();
  });
  CHECK(arrived == 3);
}

TEST_CASE("thread pool: writes before run() are seen by workers and back") {
  ThreadPool pool(3);
  int64_t input = 0;
  int64_t sum = 0;
  for (int64_t i = 1; i <= 500; ++i) {
    input = i;
    std::vector<int64_t> parts(20);
    parallel_chunks(pool, 20, 1, [&](int, int64_t begin, int64_t end) {
      std::fill(parts.begin() + begin, parts.begin() + end, input);
    });
    for (const int64_t part : parts) sum += part;
  }
  CHECK(sum == 20 * 500 * 501 / 2);
}

TEST_CASE("thread pool: sleeping workers wake, and an unused pool ends") {
  { ThreadPool unused(4); }
  ThreadPool pool(2);
  for (int i = 0; i < 5; ++i) {
    // Longer than a worker spins, so that it sleeps in between.
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(2);
    while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
    std::atomic<int> arrived{0};
    pool.run([&](int, int) {
      ++arrived;
      while (arrived < 2) std::this_thread::yield();
    });
    CHECK(arrived == 2);
  }
}

TEST_CASE("thread pool: scratch is each thread's own, aligned, and grows") {
  ThreadPool pool(2);
  std::byte* seen[2] = {};
  std::atomic<int> arrived{0};
  pool.run([&](int thread, int) {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
    std::byte* p = pool.scratch(thread, 100);
    std::memset(p, thread, 100);
    seen[thread] = p;
  });
  CHECK(seen[0] != seen[1]);
  for (const std::byte* p : seen) CHECK(reinterpret_cast<uintptr_t>(p) % 64 == 0);
  CHECK(pool.scratch(0, 50) == seen[0]);
  std::byte* grown = pool.scratch(0, 100000);
  std::memset(grown, 1, 100000);
}

TEST_CASE("parallel_chunks covers the range once") {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (const int64_t n : {0, 1, 7, 64, 1000}) {
      for (const int64_t chunk : {0, 1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> hits(static_cast<size_t>(n));
        parallel_chunks(pool, n, chunk, [&](int, int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
        });
        for (const auto& hit : hits) CHECK(hit == 1);
      }
    }
  }
}

}  // namespace
}  // namespace fimd::cpu
