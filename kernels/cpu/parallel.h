// Loops over the pool's threads, with work handed out in chunks so that a thread the operating
// system has taken away does not hold up the rest.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "kernels/cpu/thread_pool.h"

namespace fimd::cpu {

/// body(thread, begin, end) over [0, n) in chunks of `chunk`; inline on the caller if n <= chunk.
template <class Body>
void parallel_chunks(ThreadPool& pool, int64_t n, int64_t chunk, const Body& body) {
  chunk = std::max<int64_t>(chunk, 1);
  if (n <= chunk || pool.size() == 1) {
    if (n > 0) body(0, int64_t{0}, n);
    return;
  }
  struct Job {
    std::atomic<int64_t> next{0};
    int64_t n, chunk;
    const Body& body;
  } job{{0}, n, chunk, body};
  pool.run([job = &job](int thread, int) {  // one pointer: std::function holds it without malloc
    for (;;) {
      const int64_t begin = job->next.fetch_add(job->chunk, std::memory_order_relaxed);
      if (begin >= job->n) return;
      job->body(thread, begin, std::min(job->n, begin + job->chunk));
    }
  });
}

}  // namespace fimd::cpu
