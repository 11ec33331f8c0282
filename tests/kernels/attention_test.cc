#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/ops.h"
#include "tests/kernels/random.h"

namespace fimd::cpu {
namespace {

using test::normal_floats;

struct Shape {
  int n_heads, n_kv_heads, head_dim, page_tokens;
  int first, n_tokens, window;
};

/// A sequence's keys and values in pages scattered over a pool filled with NaN.
struct Cache {
  std::vector<uint16_t> k, v;
  std::vector<int32_t> pages;
  PagedKv kv;
  std::vector<float> keys, values;  // (positions, n_kv_heads, head_dim), as stored (rounded)
};

Cache make_cache(const Shape& s, uint32_t seed) {
  Cache c;
  const int total = s.first + s.n_tokens;
  const int used = (total + s.page_tokens - 1) / s.page_tokens;
  const int n_pages = used + 3;
  c.kv = {nullptr, nullptr, s.page_tokens, s.n_kv_heads, s.head_dim};
  c.k.assign(static_cast<size_t>(n_pages) * c.kv.page_elements(), 0x7e00);
  c.v = c.k;
  c.kv.k = c.k.data();
  c.kv.v = c.v.data();
  std::vector<int32_t> order(static_cast<size_t>(n_pages));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(seed));
  c.pages.assign(order.begin(), order.begin() + used);

  const auto n = static_cast<size_t>(total * s.n_kv_heads * s.head_dim);
  c.keys = normal_floats(n, seed + 1);
  c.values = normal_floats(n, seed + 2);
  // In two uneven parts, as prefill chunks come.
  const int part = total / 3;
  const int64_t stride = int64_t{s.n_kv_heads} * s.head_dim;
  kv_append(c.kv, c.pages, 0, part, c.keys.data(), c.values.data());
  kv_append(c.kv, c.pages, part, total - part, c.keys.data() + part * stride,
            c.values.data() + part * stride);
  for (float& x : c.keys) x = half_to_float(float_to_half(x));
  for (float& x : c.values) x = half_to_float(float_to_half(x));
  return c;
}

std::vector<double> naive(const Shape& s, const Cache& c, const std::vector<float>& q,
                          float scale) {
  std::vector<double> out(q.size());
  const int group = s.n_heads / s.n_kv_heads;
  for (int t = 0; t < s.n_tokens; ++t) {
    const int position = s.first + t;
    const int from = s.window > 0 ? std::max(0, position - s.window + 1) : 0;
    for (int h = 0; h < s.n_heads; ++h) {
      const auto at = static_cast<size_t>((t * s.n_heads + h) * s.head_dim);
      std::vector<double> p;
      double max = -1e300, sum = 0;
      for (int j = from; j <= position; ++j) {
        const auto key = static_cast<size_t>((j * s.n_kv_heads + h / group) * s.head_dim);
        double score = 0;
        for (int d = 0; d < s.head_dim; ++d) {
          score += double{q[at + static_cast<size_t>(d)]} * c.keys[key + static_cast<size_t>(d)];
        }
        p.push_back(score * scale);
        max = std::max(max, p.back());
      }
      for (double& x : p) sum += x = std::exp(x - max);
      for (int j = from; j <= position; ++j) {
        const auto key = static_cast<size_t>((j * s.n_kv_heads + h / group) * s.head_dim);
        for (int d = 0; d < s.head_dim; ++d) {
          out[at + static_cast<size_t>(d)] +=
              p[static_cast<size_t>(j - from)] / sum * c.values[key + static_cast<size_t>(d)];
        }
      }
    }
  }
  return out;
}

void check(const Shape& s, int threads) {
  ThreadPool pool(threads);
  const Cache c = make_cache(s, 17);
  const auto q = normal_floats(static_cast<size_t>(s.n_tokens * s.n_heads * s.head_dim), 5, 1.5f);
  const float scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim));
  const auto want = naive(s, c, q, scale);
  std::vector<float> out(q.size() + 4, -9.0f);
  attention(pool, q.data(), c.kv, c.pages, s.first, s.n_tokens, s.n_heads, scale, s.window,
            out.data());
  double worst = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double error = std::fabs(want[i] - out[i]);
    if (!(error <= worst)) worst = error;  // NaN too
  }
  INFO(isa_name(current_isa()), " heads ", s.n_heads, "/", s.n_kv_heads, " dim ", s.head_dim,
       " page ", s.page_tokens, " first ", s.first, " tokens ", s.n_tokens, " window ", s.window,
       " threads ", threads);
  CHECK(worst < 5e-6);
  for (size_t i = want.size(); i < out.size(); ++i) CHECK(out[i] == -9.0f);
}

TEST_CASE("attention agrees with a naive computation in double precision") {
  const Shape shapes[] = {                              // heads kv dim page first tokens window
                          {8, 2, 64, 32, 0, 1, 0},      // the very first token
                          {8, 2, 64, 32, 100, 1, 0},    // decode
                          {8, 2, 64, 64, 1000, 1, 0},   // decode, long: splits over threads
                          {8, 2, 64, 16, 130, 3, 0},    // a few tokens
                          {8, 2, 64, 32, 0, 70, 0},     // prefill from nothing, across pages
                          {8, 2, 64, 32, 45, 50, 0},    // prefill in the middle of a page
                          {14, 2, 64, 32, 33, 20, 0},   // groups of 7
                          {12, 2, 128, 64, 60, 9, 0},   //
                          {4, 4, 80, 16, 10, 40, 0},    // no sharing, 80 = 5 x 16
                          {4, 1, 96, 32, 70, 2, 0},     //
                          {2, 1, 256, 16, 20, 18, 0},   //
                          {3, 3, 72, 16, 50, 5, 0},     // not a multiple of 16
                          {2, 2, 8, 4, 9, 6, 0},        // tiny heads and pages
                          {4, 2, 64, 7, 40, 12, 0},     // a page size of no multiple
                          {4, 2, 64, 1, 20, 3, 0},      //
                          {8, 2, 64, 128, 200, 5, 0},   // pages longer than a block
                          {8, 2, 64, 32, 100, 40, 33},  // sliding windows
                          {8, 2, 64, 64, 500, 1, 100},  //
                          {8, 2, 64, 48, 300, 2, 1},    //
                          {4, 2, 64, 32, 0, 30, 1000},  // wider than the text
                          {4, 2, 24, 10, 70, 25, 16}};
  const Isa old = current_isa();
  for (const Isa isa : supported_isas()) {
    set_isa(isa);
    for (const Shape& s : shapes) {
      for (const int threads : {1, 3}) check(s, threads);
    }
  }
  set_isa(old);
}

TEST_CASE("attention: large scores neither overflow nor lose the maximum") {
  // Keys grow along the sequence, so that every block raises the running maximum.
  const Shape s{2, 1, 16, 16, 199, 1, 0};
  const Isa old = current_isa();
  for (const Isa isa : supported_isas()) {
    set_isa(isa);
    ThreadPool pool(1);
    Cache c = make_cache(s, 3);
    for (int j = 0; j < 200; ++j) {
      for (int d = 0; d < 16; ++d) {
        c.keys[static_cast<size_t>(16 * j + d)] = static_cast<float>(j % 2 ? -j : j);
      }
    }
    kv_append(c.kv, c.pages, 0, 200, c.keys.data(), c.values.data());
    const std::vector<float> q(32, 8.0f);
    const auto want = naive(s, c, q, 1.0f);
    std::vector<float> out(32);
    attention(pool, q.data(), c.kv, c.pages, 199, 1, 2, 1.0f, 0, out.data());
    for (size_t i = 0; i < 32; ++i) CHECK(out[i] == doctest::Approx(want[i]).epsilon(1e-5));
  }
  set_isa(old);
}

// What a suggestion says must not depend on how fast somebody types: a prompt read in one chunk or
// in many, beside others or alone, on one thread or on many, gives the same bits.
TEST_CASE("attention: a query's result depends on nothing but its keys") {
  const Shape shapes[] = {                             // heads kv dim page first tokens window
                          {8, 2, 64, 32, 0, 150, 0},   // several blocks and pages
                          {4, 1, 64, 32, 0, 700, 0},   // several ranges
                          {6, 1, 128, 16, 0, 300, 0},  //
                          {4, 2, 24, 10, 0, 330, 0},   // neither pages nor heads of 16
                          {8, 2, 64, 48, 0, 600, 90},  // sliding windows
                          {4, 4, 80, 64, 0, 400, 300},
                          {4, 1, 64, 32, 2150, 100, 0}};  // threads share several ranges each
  const Isa old = current_isa();
  ThreadPool one(1);
  ThreadPool two(2);
  ThreadPool many(7);
  for (const Isa isa : supported_isas()) {
    set_isa(isa);
    for (const Shape& s : shapes) {
      const Cache c = make_cache(s, 23);
      const int token_floats = s.n_heads * s.head_dim;
      const auto q = normal_floats(static_cast<size_t>(s.n_tokens * token_floats), 9);
      const auto run = [&](ThreadPool& pool, int first, int n, std::vector<float>& out) {
        attention(pool, q.data() + first * token_floats, c.kv, c.pages, s.first + first, n,
                  s.n_heads, 0.125F, s.window, out.data() + first * token_floats);
      };
      INFO(isa_name(isa), " dim ", s.head_dim, " page ", s.page_tokens, " tokens ", s.n_tokens,
           " window ", s.window);
      std::vector<float> whole(q.size());
      run(one, 0, s.n_tokens, whole);
      std::vector<float> shared(q.size());
      run(many, 0, s.n_tokens, shared);
      CHECK(shared == whole);
      for (ThreadPool* pool : {&one, &two, &many}) {
        std::vector<float> parts(q.size());
        std::vector<float> singles(whole);
        for (int first = 0; first < s.n_tokens;) {
          const int n = std::min(first % 4 * 17 + 1, s.n_tokens - first);
          run(*pool, first, n, parts);
          run(*pool, first, 1, singles);
          first += n;
        }
        CHECK(parts == whole);
        CHECK(singles == whole);
      }
    }
  }
  set_isa(old);
}

TEST_CASE("kv_append: a copied page keeps its first tokens") {
  const Shape s{2, 2, 16, 8, 0, 8, 0};
  Cache c = make_cache(s, 31);
  const size_t page = c.kv.page_elements();
  const auto from = static_cast<size_t>(c.pages[0]) * page;
  const size_t to = static_cast<size_t>(c.pages[0] == 0 ? 1 : 0) * page;
  std::copy_n(c.k.begin() + static_cast<int64_t>(from), page,
              c.k.begin() + static_cast<int64_t>(to));
  std::copy_n(c.v.begin() + static_cast<int64_t>(from), page,
              c.v.begin() + static_cast<int64_t>(to));
  const std::vector<int32_t> copy = {static_cast<int32_t>(to / page)};
  const auto other = normal_floats(5 * 2 * 16, 77);
  kv_append(c.kv, copy, 3, 5, other.data(), other.data());
  ThreadPool pool(1);
  const auto q = normal_floats(2 * 16, 6);
  std::vector<float> a(32), b(32);
  attention(pool, q.data(), c.kv, c.pages, 2, 1, 2, 0.25f, 0, a.data());
  attention(pool, q.data(), c.kv, copy, 2, 1, 2, 0.25f, 0, b.data());
  CHECK(a == b);
  attention(pool, q.data(), c.kv, c.pages, 7, 1, 2, 0.25f, 0, a.data());
  attention(pool, q.data(), c.kv, copy, 7, 1, 2, 0.25f, 0, b.data());
  CHECK(a != b);
}

}  // namespace
}  // namespace fimd::cpu
