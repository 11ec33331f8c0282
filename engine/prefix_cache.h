// PrefixCache: which KV pages hold which token prefixes, who uses each page, and which to give up.
//
// Host-only bookkeeping: it never touches the pages' contents. A radix tree over tokens; every node
// stands for a run of tokens at positions [begin, end) and owns the pages of those positions. All
// documents and editors share it. Matching is token-precise: a match may end in the middle of a
// page, whose first tokens the caller then copies to a page of its own (Backend::copy_page).
//
// Invariant: a node's page for positions [i * P, (i + 1) * P) holds the right keys and values for
// all of the path's tokens in that range up to the node's end, also those before the node's begin.
// So a branch in mid-page costs one page, and the pages of a path are those of its deepest nodes.
//
// Pages are counted twice: by the nodes that own them and by the sequences that use them. A page is
// free when nobody does either; only pages no sequence uses may be evicted, least recently used
// leaf first, from its end. Recurrent-state checkpoints (hybrid models) will be a second kind of
// thing owned by nodes, at single positions instead of ranges, with an LRU order of their own; a
// match then ends at the deepest checkpoint.
//
// Owner: the scheduler. Thread: the engine thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace fimd {

class PrefixCache {
 public:
  PrefixCache(int page_tokens, int n_pages);
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  struct Match {
    int length = 0;              // tokens
    std::vector<int32_t> pages;  // ceil(length / page_tokens), each acquired for the caller
  };

  /// The longest cached prefix of `tokens`. Marks it as just used.
  Match match(std::span<const TokenId> tokens);

  /// How long match() would be, without using it.
  int matched_length(std::span<const TokenId> tokens) const;

  /// Remembers that `pages` hold `tokens` (from position 0). Where the cache has a prefix already
  /// it keeps its own pages for it. The caller's acquisitions are unchanged, and the caller may
  /// still write behind the last token.
  void insert(std::span<const TokenId> tokens, std::span<const int32_t> pages);

  /// A page for the caller to write, evicting if none is free. Nothing if all are in use.
  std::optional<int32_t> allocate();

  /// Ends one use of a page that match() or allocate() gave out.
  void release(int32_t page);

  /// Forgets everything no sequence uses.
  void clear();

  int page_tokens() const { return page_tokens_; }
  int total_pages() const { return static_cast<int>(pages_.size()); }
  int free_pages() const { return static_cast<int>(free_.size()); }
  int used_pages() const { return total_pages() - free_pages(); }
  int64_t evicted_pages() const { return evicted_; }

  /// Checks every invariant that can be checked from here; for tests. Empty: all hold.
  std::string check() const;

 private:
  struct Node;
  struct PageUse {
    int32_t owners = 0;  // nodes
    int32_t users = 0;   // sequences
  };
  struct OlderFirst {
    bool operator()(const Node* a, const Node* b) const;
  };
  /// Where a walk along tokens ended: `node` matched up to position `length`.
  struct Walk {
    Node* node = nullptr;
    int length = 0;
  };

  Walk walk(std::span<const TokenId> tokens) const;
  void touch(Node* node);
  void split(Node* node, int at);
  bool evict_one();
  void forget_all();
  void drop_last_page(Node* leaf);
  void own(int32_t page) { ++pages_[static_cast<size_t>(page)].owners; }
  void disown(int32_t page);
  bool check_node(const Node& node, std::vector<int32_t>* owners, std::string* error) const;

  const int page_tokens_;
  std::vector<PageUse> pages_;
  std::vector<int32_t> free_;
  std::unique_ptr<Node> root_;
  std::set<Node*, OlderFirst> leaves_;
  uint64_t clock_ = 0;
  uint64_t next_id_ = 0;
  int64_t evicted_ = 0;
};

}  // namespace fimd
