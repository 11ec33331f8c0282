#include "completion/suggestion_cache.h"

#include <algorithm>

#include "completion/brackets.h"
#include "completion/text_util.h"

namespace fimd {
namespace {

// Bytes on either side that identify a place: about what a prompt's windows hold.
constexpr size_t kBefore = 4096;
constexpr size_t kAfter = 2048;
// Brackets and quotes that an editor may have closed, or skipped, since.
constexpr size_t kMaxAutoClosed = 4;

uint64_t hash_before(const Document& document, size_t line_start) {
  const std::string_view text = document.text();
  const size_t begin = line_start - std::min(line_start, kBefore);
  return hash_text(text.substr(begin, line_start - begin), begin == 0 ? 1 : 2);
}

std::vector<uint64_t> hashes_after(const Document& document, size_t cursor) {
  const std::string_view after = std::string_view(document.text()).substr(cursor);
  std::vector<uint64_t> hashes = {hash_text(after.substr(0, kAfter))};
  for (size_t i = 0; i < kMaxAutoClosed && i < after.size(); ++i) {
    if (!is_closer(after[i]) && !is_quote(after[i])) break;
    hashes.push_back(hash_text(after.substr(i + 1, kAfter)));
  }
  return hashes;
}

/// The same text after the cursor, or the same but for closers at its beginning that one of the
/// two has and the other has not.
bool same_after(const std::vector<uint64_t>& a, const std::vector<uint64_t>& b) {
  return std::find(a.begin(), a.end(), b.front()) != a.end() ||
         std::find(b.begin(), b.end(), a.front()) != b.end();
}

}  // namespace

Anchor anchor_at(const Document& document, size_t cursor) {
  cursor = std::min(cursor, document.text().size());
  const size_t begin = document.line_start(document.line_of(cursor));
  return {hash_before(document, begin), hashes_after(document, cursor),
          document.text().substr(begin, cursor - begin)};
}

AnchorProbe::AnchorProbe(const Document& document, size_t cursor)
    : document_(document),
      cursor_(std::min(cursor, document.text().size())),
      after_(hashes_after(document, cursor_)) {}

const AnchorProbe::Line& AnchorProbe::line(size_t back) {
  const size_t last = document_.line_of(cursor_);
  while (lines_.size() <= back) {
    const size_t begin = document_.line_start(last - lines_.size());
    lines_.push_back({begin, hash_before(document_, begin)});
  }
  return lines_[back];
}

std::optional<std::string> AnchorProbe::typed_since(const Anchor& anchor, size_t max_lines) {
  if (!same_after(anchor.after, after_)) return std::nullopt;
  const size_t lines = std::min(max_lines, document_.line_of(cursor_));
  for (size_t back = 0; back <= lines; ++back) {
    const Line& candidate = line(back);
    if (candidate.before != anchor.before) continue;
    const std::string_view typed =
        std::string_view(document_.text()).substr(candidate.begin, cursor_ - candidate.begin);
    if (!typed.starts_with(anchor.typed)) return std::nullopt;
    return with_unix_line_breaks(typed);
  }
  return std::nullopt;
}

SuggestionCache::SuggestionCache(size_t capacity) : capacity_(capacity) {}

void SuggestionCache::put(const std::string& uri, Anchor anchor,
                          std::vector<CachedCandidate> candidates, LineMode mode,
                          std::string outcome) {
  entries_.remove_if(
      [&](const Entry& entry) { return entry.uri == uri && entry.anchor == anchor; });
  Entry entry{uri, std::move(anchor), std::move(candidates), mode, std::move(outcome), 0};
  for (const CachedCandidate& candidate : entry.candidates) {
    entry.lines = std::max(entry.lines, static_cast<size_t>(std::count(
                                            candidate.text.begin(), candidate.text.end(), '\n')));
  }
  entries_.push_front(std::move(entry));
  if (entries_.size() > capacity_) entries_.pop_back();
}

std::optional<SuggestionCache::Hit> SuggestionCache::find(const Document& document, size_t cursor) {
  AnchorProbe probe(document, cursor);
  for (auto it = entries_.begin(); it != entries_.end(); ++it) {
    if (it->uri != document.uri()) continue;
    const auto typed = probe.typed_since(it->anchor, it->lines);
    if (!typed) continue;
    const std::string_view since = std::string_view(*typed).substr(it->anchor.typed.size());
    Hit hit;
    hit.mode = it->mode;
    hit.exact = since.empty();
    hit.outcome = it->outcome;
    for (const CachedCandidate& candidate : it->candidates) {
      if (candidate.text.size() > since.size() && candidate.text.starts_with(since)) {
        hit.candidates.push_back({candidate.text.substr(since.size()), candidate.mean_logprob});
      }
    }
    if (hit.candidates.empty() && !(hit.exact && it->candidates.empty())) continue;
    entries_.splice(entries_.begin(), entries_, it);
    return hit;
  }
  return std::nullopt;
}

void SuggestionCache::forget(const std::string& uri) {
  entries_.remove_if([&](const Entry& entry) { return entry.uri == uri; });
}

void SuggestionCache::clear() { entries_.clear(); }

}  // namespace fimd
