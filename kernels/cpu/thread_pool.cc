#include "kernels/cpu/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fimd::cpu {
namespace {

// A worker spins this long after its last task: longer than the gaps between the operations of one
// forward pass and between decode steps, shorter than a person notices in a CPU monitor.
constexpr auto kSpinTime = std::chrono::microseconds(150);
constexpr int kPausesPerLook = 16;        // between two looks at the clock
constexpr int kPausesBeforeYield = 2000;  // a joiner's patience before it assumes a busy machine

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

struct FreeDeleter {
  void operator()(std::byte* p) const { std::free(p); }
};

struct Scratch {
  std::unique_ptr<std::byte, FreeDeleter> memory;
  size_t bytes = 0;
};

}  // namespace

// One task at a time, numbered by `epoch`. The caller publishes the task, then bumps the epoch;
// a worker that sees the bump runs the task and counts `remaining` down; the caller waits for zero.
// `sleepers` and `epoch` are sequentially consistent: either the caller sees the sleeper and wakes
// it, or the sleeper sees the new epoch before it sleeps.
struct ThreadPool::State {
  alignas(64) std::atomic<uint64_t> epoch{0};
  alignas(64) std::atomic<int> remaining{0};
  alignas(64) std::atomic<int> sleepers{0};
  const std::function<void(int, int)>* task = nullptr;  // published by `epoch`
  bool stopping = false;                                // likewise
  int n_threads = 1;
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<Scratch> scratch;
  std::vector<std::thread> workers;

  void publish() {
    epoch.fetch_add(1);
    if (sleepers.load() > 0) {
      std::lock_guard lock(mutex);
      wake.notify_all();
    }
  }

  /// Waits until the epoch differs from `seen`; returns it.
  uint64_t next_epoch(uint64_t seen) {
    const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
    do {
      for (int i = 0; i < kPausesPerLook; ++i) {
        const uint64_t now = epoch.load(std::memory_order_acquire);
        if (now != seen) return now;
        pause();
      }
    } while (std::chrono::steady_clock::now() < deadline);
    std::unique_lock lock(mutex);
    sleepers.fetch_add(1);
    wake.wait(lock, [&] { return epoch.load() != seen; });
    sleepers.fetch_sub(1);
    return epoch.load();
  }

  void work(int thread) {
    for (uint64_t seen = 0;;) {
      seen = next_epoch(seen);
      if (stopping) return;
      (*task)(thread, n_threads);
      remaining.fetch_sub(1, std::memory_order_release);
    }
  }
};

ThreadPool::ThreadPool(int n_threads) : state_(std::make_unique<State>()) {
  State* state = state_.get();
  state->n_threads = std::max(1, n_threads);
  state->scratch.resize(static_cast<size_t>(state->n_threads));
  for (int i = 1; i < state->n_threads; ++i) {
    state->workers.emplace_back([state, i] { state->work(i); });
  }
}

ThreadPool::~ThreadPool() {
  state_->stopping = true;
  state_->publish();
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::size() const { return state_->n_threads; }

void ThreadPool::run(const std::function<void(int thread, int n_threads)>& task) {
  State& s = *state_;
  if (s.n_threads == 1) {
    task(0, 1);
    return;
  }
  s.task = &task;
  s.remaining.store(s.n_threads - 1, std::memory_order_relaxed);
  s.publish();
  task(0, s.n_threads);
  for (int i = 0; s.remaining.load(std::memory_order_acquire) != 0; ++i) {
    if (i < kPausesBeforeYield) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

std::byte* ThreadPool::scratch(int thread, size_t bytes) {
  Scratch& s = state_->scratch[static_cast<size_t>(thread)];
  if (s.bytes < bytes) {
    const size_t rounded = (bytes + 4095) / 4096 * 4096;
    s.memory.reset(static_cast<std::byte*>(std::aligned_alloc(64, rounded)));
    s.bytes = s.memory ? rounded : 0;
    if (!s.memory) throw std::bad_alloc();
  }
  return s.memory.get();
}

}  // namespace fimd::cpu
