#include "engine/prefix_cache.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

namespace fimd {
namespace {

using Tokens = std::vector<TokenId>;

/// What a device would hold: for each slot of each page, a hash of all tokens up to it.
class Slots {
 public:
  Slots(int page_tokens, int n_pages)
      : page_tokens_(page_tokens),
        hashes_(static_cast<size_t>(page_tokens) * static_cast<size_t>(n_pages)) {}

  void copy_page(int32_t from, int32_t to) {
    for (int i = 0; i < page_tokens_; ++i) at(to, i) = at(from, i);
  }
  void compute(const Tokens& tokens, size_t first, const std::vector<int32_t>& pages) {
    uint64_t hash = 0;
    for (size_t p = 0; p < tokens.size(); ++p) {
      hash = mix(hash, tokens[p]);
      if (p >= first) slot(pages, p) = hash;
    }
  }
  bool holds(const Tokens& tokens, size_t n, const std::vector<int32_t>& pages) {
    uint64_t hash = 0;
    for (size_t p = 0; p < n; ++p) {
      hash = mix(hash, tokens[p]);
      if (slot(pages, p) != hash) return false;
    }
    return true;
  }

 private:
  static uint64_t mix(uint64_t hash, TokenId token) {
    hash = (hash ^ static_cast<uint64_t>(token + 1)) * 0x9e3779b97f4a7c15ULL;
    return hash ^ (hash >> 29);
  }
  uint64_t& at(int32_t page, int i) {
    return hashes_[static_cast<size_t>(page) * static_cast<size_t>(page_tokens_) +
                   static_cast<size_t>(i)];
  }
  uint64_t& slot(const std::vector<int32_t>& pages, size_t p) {
    const auto size = static_cast<size_t>(page_tokens_);
    return at(pages[p / size], static_cast<int>(p % size));
  }

  int page_tokens_;
  std::vector<uint64_t> hashes_;
};

/// A sequence as the scheduler handles one.
struct User {
  Tokens tokens;
  std::vector<int32_t> pages;
};

/// Begins a sequence: match, copy the partial page, compute the rest. Nothing if the pool is full.
std::optional<User> begin(PrefixCache& cache, Slots& slots, Tokens tokens, int* matched) {
  PrefixCache::Match match = cache.match(tokens);
  *matched = match.length;
  CHECK(slots.holds(tokens, static_cast<size_t>(match.length), match.pages));
  User user{std::move(tokens), std::move(match.pages)};
  const auto give_up = [&]() -> std::optional<User> {
    for (const int32_t page : user.pages) cache.release(page);
    return std::nullopt;
  };
  const int page_tokens = cache.page_tokens();
  if (match.length % page_tokens != 0) {
    const auto copy = cache.allocate();
    if (!copy) return give_up();
    slots.copy_page(user.pages.back(), *copy);
    cache.release(user.pages.back());
    user.pages.back() = *copy;
  }
  while (user.pages.size() * static_cast<size_t>(page_tokens) < user.tokens.size()) {
    const auto page = cache.allocate();
    if (!page) return give_up();
    user.pages.push_back(*page);
  }
  slots.compute(user.tokens, static_cast<size_t>(match.length), user.pages);
  return user;
}

void end(PrefixCache& cache, const User& user) {
  cache.insert(user.tokens, user.pages);
  for (const int32_t page : user.pages) cache.release(page);
}

int run(PrefixCache& cache, Slots& slots, const Tokens& tokens) {
  int matched = 0;
  const auto user = begin(cache, slots, tokens, &matched);
  REQUIRE(user.has_value());
  end(cache, *user);
  CHECK(cache.check() == "");
  return matched;
}

size_t common_prefix(const Tokens& a, const Tokens& b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first -
                             a.begin());
}

TEST_CASE("a prefix is found to the token, across branches in mid-page") {
  PrefixCache cache(4, 100);
  Slots slots(4, 100);
  CHECK(run(cache, slots, {1, 2, 3, 4, 5, 6}) == 0);
  CHECK(run(cache, slots, {1, 2, 3, 4, 5, 6}) == 6);
  CHECK(run(cache, slots, {1, 2, 3, 4, 5, 7, 8, 9}) == 5);
  CHECK(run(cache, slots, {1, 2, 3, 4, 5, 6, 9}) == 6);
  CHECK(run(cache, slots, {1, 2, 9}) == 2);
  CHECK(run(cache, slots, {1, 2, 3, 4, 5, 7, 8, 9, 10}) == 8);
  CHECK(run(cache, slots, {2}) == 0);
  CHECK(cache.matched_length(Tokens{1, 2, 9, 9}) == 3);
  CHECK(cache.matched_length(Tokens{}) == 0);
}

TEST_CASE("the least recently used end goes first, and only as much as is needed") {
  PrefixCache cache(2, 6);
  Slots slots(2, 6);
  run(cache, slots, {1, 2, 3, 4});        // 2 pages
  run(cache, slots, {5, 6, 7, 8});        // 2 pages
  run(cache, slots, {9, 10});             // 1 page
  CHECK(run(cache, slots, {1, 2}) == 2);  // younger than {5 ...} now
  CHECK(cache.free_pages() == 1);
  run(cache, slots, {11, 12, 13, 14});
  CHECK(cache.matched_length(Tokens{5, 6, 7, 8}) == 2);  // lost one page, its last
  CHECK(cache.matched_length(Tokens{1, 2, 3, 4}) == 4);
  CHECK(cache.matched_length(Tokens{9, 10}) == 2);
  CHECK(cache.evicted_pages() == 1);
}

TEST_CASE("pages in use are never evicted") {
  PrefixCache cache(2, 4);
  Slots slots(2, 4);
  run(cache, slots, {1, 2, 3, 4});
  int matched = 0;
  auto user = begin(cache, slots, {1, 2, 3, 4}, &matched);
  REQUIRE(user.has_value());
  CHECK(run(cache, slots, {5, 6, 7, 8}) == 0);
  CHECK(run(cache, slots, {9, 10, 11, 12}) == 0);
  CHECK(slots.holds({1, 2, 3, 4}, 4, user->pages));
  CHECK(cache.matched_length(Tokens{1, 2, 3, 4}) == 4);
  std::vector<int32_t> all;
  while (const auto page = cache.allocate()) all.push_back(*page);
  CHECK(all.size() == 2);
  for (const int32_t page : all) cache.release(page);
  end(cache, *user);
  cache.clear();
  CHECK(cache.free_pages() == 4);
  CHECK(cache.check() == "");
}

TEST_CASE("random traces agree with a naive model") {
  // The naive model remembers every sequence ever finished: without eviction a match must be as
  // long as the longest common prefix with any of them, with eviction at most that long.
  for (uint32_t seed = 0; seed < 24; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](uint32_t n) { return static_cast<int>(random() % n); };
    const int page_tokens = 1 + below(5);
    const int n_pages = seed % 3 == 0 ? 4000 : 20 + below(60);
    PrefixCache cache(page_tokens, n_pages);
    Slots slots(page_tokens, n_pages);
    std::vector<Tokens> seen = {{}};
    std::vector<User> active;
    for (int step = 0; step < 250; ++step) {
      // Sequences branch off earlier ones at random places, as edits do.
      const Tokens& old = seen[static_cast<size_t>(below(static_cast<uint32_t>(seen.size())))];
      Tokens tokens(old.begin(), old.begin() + below(static_cast<uint32_t>(old.size()) + 1));
      for (int more = below(12); more > 0; --more) tokens.push_back(below(3));
      if (tokens.size() > 60) tokens.resize(60);
      size_t expected = 0;
      for (const Tokens& s : seen) expected = std::max(expected, common_prefix(s, tokens));
      int matched = 0;
      auto user = begin(cache, slots, tokens, &matched);
      CHECK(static_cast<size_t>(matched) <= expected);
      if (cache.evicted_pages() == 0) CHECK(static_cast<size_t>(matched) == expected);
      if (user) {
        if (below(3) == 0) {  // shared while it goes on
          cache.insert(user->tokens, user->pages);
          seen.push_back(user->tokens);
        }
        active.push_back(std::move(*user));
      }
      while (!active.empty() && (active.size() > 3 || below(2) == 0 || !user)) {
        const auto which = static_cast<ptrdiff_t>(below(static_cast<uint32_t>(active.size())));
        User ending = active[static_cast<size_t>(which)];
        active.erase(active.begin() + which);
        CHECK(slots.holds(ending.tokens, ending.tokens.size(), ending.pages));
        end(cache, ending);
        seen.push_back(ending.tokens);
        if (user) break;
      }
      const std::string broken = cache.check();
      REQUIRE_MESSAGE(broken.empty(), broken, " at step ", step, " of seed ", seed);
    }
    for (const User& user : active) end(cache, user);
    cache.clear();
    CHECK(cache.free_pages() == n_pages);
    CHECK(cache.check() == "");
  }
}

// ---- Checkpoints ----

/// A cache and what its checkpoints hold: the tokens their state has seen.
struct Recurrent {
  Recurrent(int n_pages, int n_checkpoints)
      : cache(4, n_pages, n_checkpoints),
        slots(4, n_pages),
        states(static_cast<size_t>(n_checkpoints)) {}

  /// Runs a sequence that leaves checkpoints at `at`, and returns where it resumed.
  int run(const Tokens& tokens, const std::vector<size_t>& at) {
    int matched = 0;
    const auto user = begin(cache, slots, tokens, &matched);
    REQUIRE(user.has_value());
    cache.insert(tokens, user->pages);
    for (const size_t position : at) {
      if (static_cast<int>(position) <= matched) continue;
      const Tokens seen(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(position));
      if (cache.has_checkpoint(seen)) continue;
      const auto id = cache.allocate_checkpoint();
      REQUIRE(id.has_value());
      states[static_cast<size_t>(*id)] = seen;
      cache.keep_checkpoint(seen, *id);
    }
    for (const int32_t page : user->pages) cache.release(page);
    CHECK(cache.check() == "");
    return matched;
  }
  bool has(const Tokens& tokens) const { return cache.has_checkpoint(tokens); }

  PrefixCache cache;
  Slots slots;
  std::vector<Tokens> states;
};

Tokens numbers(int n, int from = 0) {
  Tokens tokens(static_cast<size_t>(n));
  std::iota(tokens.begin(), tokens.end(), from);
  return tokens;
}

TEST_CASE("a match ends at the deepest checkpoint of its path") {
  Recurrent r(100, 10);
  CHECK(r.run(numbers(20), {5, 12}) == 0);
  CHECK(r.run(numbers(20), {}) == 12);
  Tokens branch = numbers(9);
  branch.push_back(99);
  CHECK(r.run(branch, {9}) == 5);  // splits the node between the two
  CHECK(r.run(branch, {}) == 9);
  CHECK(r.run(numbers(4), {}) == 0);
  CHECK(r.run(numbers(12), {}) == 12);
  CHECK(r.cache.matched_length(numbers(11)) == 9);
  CHECK(r.cache.used_checkpoints() == 3);
  r.cache.clear();
  CHECK(r.cache.used_checkpoints() == 0);
}

TEST_CASE("a checkpoint that the cache has, or cannot have, is free again") {
  Recurrent r(100, 2);
  r.run(numbers(20), {10});
  const auto id = r.cache.allocate_checkpoint();
  REQUIRE(id.has_value());
  r.cache.keep_checkpoint(numbers(10), *id);
  CHECK(r.cache.used_checkpoints() == 1);
  const auto other = r.cache.allocate_checkpoint();
  REQUIRE(other.has_value());
  r.cache.keep_checkpoint(numbers(21), *other);
  CHECK(r.cache.used_checkpoints() == 1);
  const auto a = r.cache.allocate_checkpoint();
  const auto b = r.cache.allocate_checkpoint();  // takes that of numbers(10)
  REQUIRE(a.has_value());
  REQUIRE(b.has_value());
  CHECK_FALSE(r.cache.allocate_checkpoint().has_value());
  r.cache.drop_checkpoint(*a);
  r.cache.drop_checkpoint(*b);
  CHECK(r.cache.matched_length(numbers(20)) == 0);
}

TEST_CASE("the checkpoint that is cheapest to make again goes first") {
  Recurrent r(1000, 3);
  r.run(numbers(100), {80, 84, 95});
  r.run(numbers(50, 1000), {40});
  CHECK_FALSE(r.has(numbers(84)));  // four tokens behind the one before it
  CHECK(r.has(numbers(80)));
  CHECK(r.has(numbers(95)));
  r.run(numbers(30, 2000), {25});
  CHECK_FALSE(r.has(numbers(95)));  // now 15 tokens
  CHECK(r.has(numbers(80)));
}

TEST_CASE("a dear checkpoint that nobody uses goes in the end, one in use stays") {
  Recurrent r(4000, 4);
  r.run(numbers(300), {250});
  r.run(numbers(300, 5000), {250});
  for (int i = 0; i < 40; ++i) {
    CHECK(r.run(numbers(300, 5000), {}) == 250);
    r.run(numbers(40, 10000 + 100 * i), {30});
  }
  CHECK_FALSE(r.has(numbers(250)));
  CHECK(r.has(numbers(250, 5000)));
}

TEST_CASE("random traces with checkpoints agree with a naive model") {
  for (uint32_t seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
    const bool plenty = seed % 3 == 0;
    Recurrent r(plenty ? 4000 : 30 + static_cast<int>(below(40)),
                plenty ? 3000 : 1 + static_cast<int>(below(12)));
    std::vector<Tokens> seen = {{}};
    std::vector<Tokens> kept = {{}};
    for (int step = 0; step < 250; ++step) {
      const Tokens& old = seen[below(seen.size())];
      Tokens tokens(old.begin(), old.begin() + static_cast<ptrdiff_t>(below(old.size() + 1)));
      for (size_t more = below(12); more > 0; --more)
        tokens.push_back(static_cast<TokenId>(below(3)));
      if (tokens.size() > 60) tokens.resize(60);
      size_t expected = 0;
      for (const Tokens& prefix : kept) {
        if (common_prefix(prefix, tokens) == prefix.size()) {
          expected = std::max(expected, prefix.size());
        }
      }
      std::vector<size_t> at;
      for (size_t i = 0; i < tokens.size(); ++i) {
        if (below(8) == 0) at.push_back(i + 1);
      }
      const PrefixCache::Match match = r.cache.match(tokens);
      for (const int32_t page : match.pages) r.cache.release(page);
      if (match.checkpoint >= 0) {
        const Tokens& state = r.states[static_cast<size_t>(match.checkpoint)];
        CHECK(state.size() == static_cast<size_t>(match.length));
        CHECK(common_prefix(state, tokens) == state.size());
      }
      const auto resumed = static_cast<size_t>(r.run(tokens, at));
      CHECK(resumed == static_cast<size_t>(match.length));
      if (plenty) CHECK(resumed == expected);
      CHECK(resumed <= expected);
      seen.push_back(tokens);
      for (const size_t n : at) {
        if (n <= resumed) continue;
        kept.emplace_back(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(n));
      }
    }
    if (!plenty) CHECK(r.cache.evicted_checkpoints() > 0);
    r.cache.clear();
    CHECK(r.cache.used_checkpoints() == 0);
  }
}

}  // namespace
}  // namespace fimd
