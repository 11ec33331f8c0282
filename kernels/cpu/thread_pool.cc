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

// One task at a time. `ticket` holds the task's number, whether it is closed to newcomers, and how
// many workers have entered. The caller opens a task by writing a new ticket; a worker enters by
// adding 1 to an open one; the caller closes it when it has no more work to give, which tells it
// for how many workers to wait.
//
// `sleepers` and `ticket` are sequentially consistent: either the caller sees the sleeper and wakes
// it, or the sleeper sees the new ticket before it sleeps.
struct ThreadPool::State {
  static constexpr uint64_t kEntered = 0xffff;  // mask
  static constexpr uint64_t kClosed = uint64_t{1} << 16;
  static constexpr int kNumberShift = 17;

  alignas(64) std::atomic<uint64_t> ticket{kClosed};
  alignas(64) std::atomic<uint64_t> left{0};  // workers that have come back from this task
  alignas(64) std::atomic<int> sleepers{0};
  const std::function<void(int, int)>* task = nullptr;  // published by `ticket`
  bool stopping = false;                                // likewise
  int n_threads = 1;
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<Scratch> scratch;
  std::vector<std::thread> workers;

  static uint64_t number(uint64_t t) { return t >> kNumberShift; }

  void open() {
    ticket.store((number(ticket.load(std::memory_order_relaxed)) + 1) << kNumberShift);
    if (sleepers.load() > 0) {
      std::lock_guard lock(mutex);
      wake.notify_all();
    }
  }

  /// Waits for a task other than number `seen`.
  uint64_t next_number(uint64_t seen) {
    const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
    do {
      for (int i = 0; i < kPausesPerLook; ++i) {
        const uint64_t now = number(ticket.load(std::memory_order_acquire));
        if (now != seen) return now;
        pause();
      }
    } while (std::chrono::steady_clock::now() < deadline);
    std::unique_lock lock(mutex);
    sleepers.fetch_add(1);
    wake.wait(lock, [&] { return number(ticket.load()) != seen; });
    sleepers.fetch_sub(1);
    return number(ticket.load());
  }

  /// Joins task `wanted` if it is still open.
  bool enter(uint64_t wanted) {
    uint64_t t = ticket.load(std::memory_order_acquire);
    while (number(t) == wanted && (t & kClosed) == 0) {
      if (ticket.compare_exchange_weak(t, t + 1, std::memory_order_acquire)) return true;
    }
    return false;
  }

  void work(int thread) {
    for (uint64_t seen = 0;;) {
      seen = next_number(seen);
      if (!enter(seen)) continue;
      if (stopping) return;
      (*task)(thread, n_threads);
      left.fetch_add(1, std::memory_order_release);
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
  state_->open();
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
  s.left.store(0, std::memory_order_relaxed);
  s.open();
  task(0, s.n_threads);
  const uint64_t entered = s.ticket.fetch_or(State::kClosed) & State::kEntered;
  for (int i = 0; s.left.load(std::memory_order_acquire) != entered; ++i) {
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
