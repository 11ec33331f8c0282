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
// leaf first, from its end.
//
// For a model with recurrent layers, nodes also own checkpoints of its state, each at one position;
// a match then ends at the deepest checkpoint of its path (or at 0). When all are taken, the one
// that costs least to lose goes: see Checkpoint::worth.
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
  /// n_checkpoints > 0: the model has recurrent layers.
  PrefixCache(int page_tokens, int n_pages, int n_checkpoints = 0);
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  struct Match {
    int length = 0;              // tokens
    int32_t checkpoint = -1;     // of the state after them; -1: none is needed
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

  /// A checkpoint for the caller to fill, taken from a prefix if none is free; then to be given to
  /// one of the next two. Nothing if all are being filled.
  std::optional<int32_t> allocate_checkpoint();
  /// `checkpoint` is of the state after `tokens`, which the cache should hold. It is free again if
  /// the cache does not, or has one of them already. `guess`: the last tokens were generated.
  void keep_checkpoint(std::span<const TokenId> tokens, int32_t checkpoint, bool guess = false);
  void drop_checkpoint(int32_t checkpoint) { free_checkpoints_.push_back(checkpoint); }
  bool has_checkpoint(std::span<const TokenId> tokens) const;

  /// Forgets everything no sequence uses.
  void clear();

  int page_tokens() const { return page_tokens_; }
  int total_pages() const { return static_cast<int>(pages_.size()); }
  int free_pages() const { return static_cast<int>(free_.size()); }
  int used_pages() const { return total_pages() - free_pages(); }
  int64_t evicted_pages() const { return evicted_; }
  int total_checkpoints() const { return static_cast<int>(checkpoints_.size()); }
  int used_checkpoints() const {
    return total_checkpoints() - static_cast<int>(free_checkpoints_.size());
  }
  int64_t evicted_checkpoints() const { return evicted_checkpoints_; }

  /// Checks every invariant that can be checked from here; for tests. Empty: all hold.
  std::string check() const;

 private:
  struct Node;
  struct PageUse {
    int32_t owners = 0;  // nodes
    int32_t users = 0;   // sequences
  };
  struct Checkpoint {
    Node* node = nullptr;  // null: free, or being filled
    int position = 0;
    /// The greedy-dual rule: a thing is worth what it costs to make again, here the tokens since
    /// the checkpoint before it, on top of the worth of the last one given up when it, or one
    /// behind it, was last used. So cheap ones go soon, dear ones after a while of not being used.
    int64_t base = 0;
    uint64_t last_used = 0;  // by itself; the last few used are not given up
    bool guess = false;      // of tokens that nobody has typed yet: worth an eighth of its cost
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
  bool recurrent() const { return !checkpoints_.empty(); }
  const Checkpoint& checkpoint(int32_t id) const { return checkpoints_[static_cast<size_t>(id)]; }
  /// The deepest checkpoint of the path to `node` at most at `position`; -1: none.
  int32_t deepest_checkpoint(const Node* node, int position) const;
  int64_t worth(const Checkpoint& checkpoint) const;
  void free_checkpoints_behind(Node* node, int end);
  bool check_node(const Node& node, std::vector<int32_t>* owners, std::string* error) const;

  const int page_tokens_;
  std::vector<PageUse> pages_;
  std::vector<int32_t> free_;
  std::unique_ptr<Node> root_;
  std::set<Node*, OlderFirst> leaves_;
  uint64_t clock_ = 0;
  uint64_t next_id_ = 0;
  int64_t evicted_ = 0;

  std::vector<Checkpoint> checkpoints_;
  std::vector<int32_t> free_checkpoints_;
  int64_t given_up_ = 0;  // worth of the last checkpoint given up
  uint64_t checkpoint_clock_ = 0;
  int64_t evicted_checkpoints_ = 0;
};

}  // namespace fimd
