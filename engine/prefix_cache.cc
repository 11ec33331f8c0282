#include "engine/prefix_cache.h"

#include <algorithm>
#include <cassert>
#include <iterator>

namespace fimd {

namespace {
/// Checkpoints that are not given up because they are the last used: the places where people are
/// typing, whose checkpoints lie close together and so cost little each.
constexpr uint64_t kSpared = 4;
}  // namespace

struct PrefixCache::Node {
  Node* parent = nullptr;
  int begin = 0;                                // position of tokens[0]
  std::vector<TokenId> tokens;                  // empty only in the root
  std::vector<int32_t> pages;                   // of positions begin / P * P ..
  std::vector<std::unique_ptr<Node>> children;  // no two begin with the same token
  std::vector<int32_t> checkpoints;             // at positions in (begin, end], ascending
  uint64_t last_used = 0;                       // not less than any child's
  uint64_t id = 0;

  int end() const { return begin + static_cast<int>(tokens.size()); }
  Node* child(TokenId first) const {
    for (const auto& node : children) {
      if (node->tokens.front() == first) return node.get();
    }
    return nullptr;
  }
};

bool PrefixCache::OlderFirst::operator()(const Node* a, const Node* b) const {
  return std::pair(a->last_used, a->id) < std::pair(b->last_used, b->id);
}

PrefixCache::PrefixCache(int page_tokens, int n_pages, int n_checkpoints)
    : page_tokens_(page_tokens),
      pages_(static_cast<size_t>(n_pages)),
      root_(std::make_unique<Node>()),
      checkpoints_(static_cast<size_t>(n_checkpoints)) {
  for (int32_t id = n_checkpoints - 1; id >= 0; --id) free_checkpoints_.push_back(id);
  free_.reserve(pages_.size());
  for (int32_t page = n_pages - 1; page >= 0; --page) free_.push_back(page);
}

PrefixCache::~PrefixCache() = default;

PrefixCache::Walk PrefixCache::walk(std::span<const TokenId> tokens) const {
  Walk at{root_.get(), 0};
  while (static_cast<size_t>(at.length) < tokens.size()) {
    Node* next = at.node->child(tokens[static_cast<size_t>(at.length)]);
    if (next == nullptr) break;
    const auto rest = tokens.subspan(static_cast<size_t>(at.length));
    const auto [in_node, in_rest] =
        std::mismatch(next->tokens.begin(), next->tokens.end(), rest.begin(), rest.end());
    at.node = next;
    at.length = next->begin + static_cast<int>(in_node - next->tokens.begin());
    if (in_node != next->tokens.end()) break;
  }
  return at;
}

/// Marks the path to `node` as the most recently used.
void PrefixCache::touch(Node* node) {
  ++clock_;
  for (; node != nullptr && node->parent != nullptr; node = node->parent) {
    const bool leaf = node->children.empty();
    if (leaf) leaves_.erase(node);
    node->last_used = clock_;
    if (leaf) leaves_.insert(node);
  }
}

int PrefixCache::matched_length(std::span<const TokenId> tokens) const {
  const Walk found = walk(tokens);
  if (!recurrent()) return found.length;
  const int32_t id = deepest_checkpoint(found.node, found.length);
  return id < 0 ? 0 : checkpoint(id).position;
}

PrefixCache::Match PrefixCache::match(std::span<const TokenId> tokens) {
  Walk found = walk(tokens);
  Match match;
  if (recurrent()) {
    match.checkpoint = deepest_checkpoint(found.node, found.length);
    found.length = 0;
    if (match.checkpoint >= 0) {
      found.length = checkpoint(match.checkpoint).position;
      // Those before it too: they are what is left if the next edit is further up.
      for (const Node* node = found.node; node != nullptr; node = node->parent) {
        for (const int32_t id : node->checkpoints) {
          Checkpoint& kept = checkpoints_[static_cast<size_t>(id)];
          if (kept.position <= found.length) kept.base = given_up_;
        }
      }
      Checkpoint& used = checkpoints_[static_cast<size_t>(match.checkpoint)];
      used.last_used = ++checkpoint_clock_;
      used.guess = false;
    }
  }
  match.length = found.length;
  match.pages.resize(static_cast<size_t>((found.length + page_tokens_ - 1) / page_tokens_));
  // From the deepest node up: a page index belongs to the deepest node that has it.
  size_t wanted = match.pages.size();
  for (const Node* node = found.node; node->parent != nullptr; node = node->parent) {
    const auto first = static_cast<size_t>(node->begin / page_tokens_);
    if (node->begin >= found.length) continue;  // behind the checkpoint
    while (wanted > first) {
      --wanted;
      match.pages[wanted] = node->pages[wanted - first];
    }
  }
  for (const int32_t page : match.pages) ++pages_[static_cast<size_t>(page)].users;
  touch(found.node);
  return match;
}

/// Cuts a node in two at position `at`; the lower half keeps the identity of a leaf.
void PrefixCache::split(Node* node, int at) {
  assert(at > node->begin && at < node->end());
  auto upper = std::make_unique<Node>();
  upper->parent = node->parent;
  upper->begin = node->begin;
  upper->last_used = node->last_used;
  upper->id = ++next_id_;
  const auto cut = node->tokens.begin() + (at - node->begin);
  upper->tokens.assign(node->tokens.begin(), cut);
  node->tokens.erase(node->tokens.begin(), cut);

  const int first_page = node->begin / page_tokens_;
  const int upper_pages = (at - 1) / page_tokens_ + 1 - first_page;
  upper->pages.assign(node->pages.begin(), node->pages.begin() + upper_pages);
  const int lower_first = at / page_tokens_ - first_page;
  if (lower_first < upper_pages) own(node->pages[static_cast<size_t>(lower_first)]);
  node->pages.erase(node->pages.begin(), node->pages.begin() + lower_first);
  node->begin = at;
  const auto below = std::find_if(node->checkpoints.begin(), node->checkpoints.end(),
                                  [&](int32_t id) { return checkpoint(id).position > at; });
  upper->checkpoints.assign(node->checkpoints.begin(), below);
  node->checkpoints.erase(node->checkpoints.begin(), below);
  for (const int32_t id : upper->checkpoints) {
    checkpoints_[static_cast<size_t>(id)].node = upper.get();
  }

  auto& siblings = upper->parent->children;
  const auto slot = std::find_if(siblings.begin(), siblings.end(),
                                 [&](const auto& child) { return child.get() == node; });
  std::unique_ptr<Node> lower = std::move(*slot);
  lower->parent = upper.get();
  upper->children.push_back(std::move(lower));
  *slot = std::move(upper);
}

void PrefixCache::insert(std::span<const TokenId> tokens, std::span<const int32_t> pages) {
  const int n = static_cast<int>(tokens.size());
  assert(pages.size() >= (tokens.size() + static_cast<size_t>(page_tokens_) - 1) /
                             static_cast<size_t>(page_tokens_));
  Walk at = walk(tokens);
  if (at.length == n) {
    touch(at.node);
    return;
  }
  if (at.node->parent != nullptr && at.length < at.node->end()) {
    split(at.node, at.length);
    at.node = at.node->parent;
  }
  const int first_page = at.length / page_tokens_;
  const int last_page = (n - 1) / page_tokens_;
  Node* node = at.node;
  if (node->parent != nullptr && node->children.empty()) {
    // A leaf goes on. If it ends in mid-page the caller's page has all the leaf's does, and more.
    const int had = node->begin / page_tokens_ + static_cast<int>(node->pages.size());
    if (had > first_page) {
      int32_t& shared = node->pages.back();
      const int32_t better = pages[static_cast<size_t>(first_page)];
      own(better);
      disown(shared);
      shared = better;
    }
    for (int i = had; i <= last_page; ++i) {
      node->pages.push_back(pages[static_cast<size_t>(i)]);
      own(node->pages.back());
    }
    node->tokens.insert(node->tokens.end(), tokens.begin() + at.length, tokens.end());
  } else {
    auto child = std::make_unique<Node>();
    child->parent = node;
    child->begin = at.length;
    child->id = ++next_id_;
    child->tokens.assign(tokens.begin() + at.length, tokens.end());
    for (int i = first_page; i <= last_page; ++i) {
      child->pages.push_back(pages[static_cast<size_t>(i)]);
      own(child->pages.back());
    }
    leaves_.insert(child.get());
    node->children.push_back(std::move(child));
    node = node->children.back().get();
  }
  touch(node);
}

void PrefixCache::disown(int32_t page) {
  PageUse& use = pages_[static_cast<size_t>(page)];
  assert(use.owners > 0);
  if (--use.owners == 0 && use.users == 0) free_.push_back(page);
}

void PrefixCache::release(int32_t page) {
  PageUse& use = pages_[static_cast<size_t>(page)];
  assert(use.users > 0);
  if (--use.users == 0 && use.owners == 0) free_.push_back(page);
}

std::optional<int32_t> PrefixCache::allocate() {
  while (free_.empty() && evict_one()) {
  }
  if (free_.empty()) forget_all();
  if (free_.empty()) return std::nullopt;
  const int32_t page = free_.back();
  free_.pop_back();
  pages_[static_cast<size_t>(page)].users = 1;
  return page;
}

/// Shortens a leaf by its last page, and removes it when nothing is left.
void PrefixCache::drop_last_page(Node* leaf) {
  const int last = leaf->begin / page_tokens_ + static_cast<int>(leaf->pages.size()) - 1;
  const int32_t page = leaf->pages.back();
  leaf->pages.pop_back();
  const int end = last * page_tokens_;
  free_checkpoints_behind(leaf, end);
  if (end > leaf->begin) {
    leaf->tokens.resize(static_cast<size_t>(end - leaf->begin));
  } else {
    leaves_.erase(leaf);
    Node* parent = leaf->parent;
    std::erase_if(parent->children, [&](const auto& child) { return child.get() == leaf; });
    if (parent->children.empty() && parent->parent != nullptr) leaves_.insert(parent);
  }
  disown(page);
}

/// Gives up the end of the least recently used leaf that no sequence uses. Several calls may be
/// needed to free a page: neighbours in the tree may share one.
bool PrefixCache::evict_one() {
  for (Node* leaf : leaves_) {
    if (pages_[static_cast<size_t>(leaf->pages.back())].users > 0) continue;
    drop_last_page(leaf);
    ++evicted_;
    return true;
  }
  return false;
}

void PrefixCache::clear() {
  while (evict_one()) {
  }
}

/// In a tiny pool, pages of inner nodes on the paths in use can be all that is left.
void PrefixCache::forget_all() {
  std::vector<std::unique_ptr<Node>> nodes = std::move(root_->children);
  root_->children.clear();
  leaves_.clear();
  while (!nodes.empty()) {
    std::unique_ptr<Node> node = std::move(nodes.back());
    nodes.pop_back();
    free_checkpoints_behind(node.get(), node->begin);
    for (const int32_t page : node->pages) disown(page);
    evicted_ += static_cast<int64_t>(node->pages.size());
    std::move(node->children.begin(), node->children.end(), std::back_inserter(nodes));
  }
}

// ---- Checkpoints ----

int32_t PrefixCache::deepest_checkpoint(const Node* node, int position) const {
  for (; node->parent != nullptr; node = node->parent) {
    const auto& ids = node->checkpoints;
    const auto behind = std::find_if(
        ids.begin(), ids.end(), [&](int32_t id) { return checkpoint(id).position > position; });
    if (behind != ids.begin()) return *std::prev(behind);
  }
  return -1;
}

int64_t PrefixCache::worth(const Checkpoint& kept) const {
  const int32_t before = deepest_checkpoint(kept.node, kept.position - 1);
  const int cost = kept.position - (before < 0 ? 0 : checkpoint(before).position);
  constexpr int kDiscount = 8;
  return kept.base + (kept.guess ? cost / kDiscount : cost);
}

std::optional<int32_t> PrefixCache::allocate_checkpoint() {
  if (free_checkpoints_.empty()) {
    // A pool has hundreds at most, and its order changes with every one that goes: a look at all
    // of them takes microseconds.
    Checkpoint* cheapest = nullptr;
    int64_t least = 0;
    const uint64_t spared = std::min<uint64_t>(kSpared, checkpoints_.size() / 4);
    for (Checkpoint& kept : checkpoints_) {
      if (kept.node == nullptr || kept.last_used + spared > checkpoint_clock_) continue;
      const int64_t value = worth(kept);
      if (cheapest == nullptr || value < least) {
        cheapest = &kept;
        least = value;
      }
    }
    if (cheapest == nullptr) return std::nullopt;
    given_up_ = std::max(given_up_, least);
    ++evicted_checkpoints_;
    const auto id = static_cast<int32_t>(cheapest - checkpoints_.data());
    std::erase(cheapest->node->checkpoints, id);
    cheapest->node = nullptr;
    free_checkpoints_.push_back(id);
  }
  const int32_t id = free_checkpoints_.back();
  free_checkpoints_.pop_back();
  return id;
}

void PrefixCache::keep_checkpoint(std::span<const TokenId> tokens, int32_t id, bool guess) {
  const int position = static_cast<int>(tokens.size());
  const Walk found = walk(tokens);
  if (found.length < position || position == 0) return drop_checkpoint(id);
  std::vector<int32_t>& ids = found.node->checkpoints;
  const auto at = std::find_if(ids.begin(), ids.end(), [&](int32_t other) {
    return checkpoint(other).position >= position;
  });
  if (at != ids.end() && checkpoint(*at).position == position) return drop_checkpoint(id);
  ids.insert(at, id);
  if (!guess) ++checkpoint_clock_;
  checkpoints_[static_cast<size_t>(id)] = {found.node, position, given_up_,
                                           guess ? 0 : checkpoint_clock_, guess};
}

bool PrefixCache::has_checkpoint(std::span<const TokenId> tokens) const {
  const int position = static_cast<int>(tokens.size());
  const Walk found = walk(tokens);
  if (found.length < position) return false;
  const auto& ids = found.node->checkpoints;
  return std::any_of(ids.begin(), ids.end(),
                     [&](int32_t id) { return checkpoint(id).position == position; });
}

void PrefixCache::free_checkpoints_behind(Node* node, int end) {
  while (!node->checkpoints.empty() && checkpoint(node->checkpoints.back()).position > end) {
    checkpoints_[static_cast<size_t>(node->checkpoints.back())].node = nullptr;
    drop_checkpoint(node->checkpoints.back());
    node->checkpoints.pop_back();
  }
}

bool PrefixCache::check_node(const Node& node, std::vector<int32_t>* owners,
                             std::string* error) const {
  const auto fail = [&](const char* what) {
    *error = what;
    return false;
  };
  if (node.parent != nullptr) {
    if (node.tokens.empty()) return fail("a node without tokens");
    if (node.begin != node.parent->end()) return fail("a node does not follow its parent");
    if (node.parent->child(node.tokens.front()) != &node) return fail("two children begin alike");
    const int pages = (node.end() - 1) / page_tokens_ + 1 - node.begin / page_tokens_;
    if (node.pages.size() != static_cast<size_t>(pages)) return fail("wrong number of pages");
    if (node.last_used > node.parent->last_used && node.parent->parent != nullptr) {
      return fail("a node is younger than its parent");
    }
    for (const int32_t page : node.pages) ++(*owners)[static_cast<size_t>(page)];
    int last = node.begin;
    for (const int32_t id : node.checkpoints) {
      const Checkpoint& kept = checkpoint(id);
      if (kept.node != &node) return fail("a checkpoint's node is not the one that has it");
      if (kept.position <= last || kept.position > node.end()) {
        return fail("a checkpoint is out of place");
      }
      last = kept.position;
    }
    const bool listed = leaves_.contains(const_cast<Node*>(&node));
    if (listed != node.children.empty()) return fail("the list of leaves is wrong");
  }
  return std::all_of(node.children.begin(), node.children.end(),
                     [&](const auto& child) { return check_node(*child, owners, error); });
}

std::string PrefixCache::check() const {
  std::string error;
  std::vector<int32_t> owners(pages_.size());
  if (!check_node(*root_, &owners, &error)) return error;
  size_t unused = 0;
  for (size_t i = 0; i < pages_.size(); ++i) {
    if (pages_[i].owners != owners[i]) return "a page's owners are miscounted";
    if (pages_[i].users < 0) return "a page's users are miscounted";
    unused += pages_[i].owners == 0 && pages_[i].users == 0 ? 1 : 0;
  }
  std::vector<int32_t> free = free_;
  std::sort(free.begin(), free.end());
  if (std::adjacent_find(free.begin(), free.end()) != free.end()) return "a page is free twice";
  if (free.size() != unused) return "the free list is wrong";
  for (const int32_t id : free_checkpoints_) {
    if (checkpoint(id).node != nullptr) return "a checkpoint is free and kept";
  }
  return {};
}

}  // namespace fimd
