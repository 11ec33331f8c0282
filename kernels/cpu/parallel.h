// Loops over the pool's threads, with work handed out in chunks so that a thread the operating
// system has taken away does not hold up the rest.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "kernels/cpu/thread_pool.h"

namespace fimd::cpu {

/// body(thread, begin, end) over [0, n); inline on the caller if n <= smallest. Pieces are half of
/// a fair share of what is left, at least `smallest` and a multiple of it: big ones first, as
/// kernels run best over long stretches of memory, small ones last, for an even finish.
template <class Body>
void parallel_chunks(ThreadPool& pool, int64_t n, int64_t smallest, const Body& body) {
  smallest = std::max<int64_t>(smallest, 1);
  if (n <= smallest || pool.size() == 1) {
    if (n > 0) body(0, int64_t{0}, n);
    return;
  }
  struct Job {
    std::atomic<int64_t> next{0};
    int64_t n, smallest, shares;
    const Body& body;
  } job{{0}, n, smallest, int64_t{2} * pool.size(), body};
  pool.run([job = &job](int thread, int) {  // one pointer: std::function holds it without malloc
    int64_t begin = job->next.load(std::memory_order_relaxed);
    while (begin < job->n) {
      const int64_t share = (job->n - begin) / job->shares / job->smallest * job->smallest;
      const int64_t end = std::min(job->n, begin + std::max(job->smallest, share));
      if (!job->next.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
      job->body(thread, begin, end);
      begin = job->next.load(std::memory_order_relaxed);
    }
  });
}

}  // namespace fimd::cpu
