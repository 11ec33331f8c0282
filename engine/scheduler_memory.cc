// The scheduler's part in memory: which pages and which state a sequence has, what it leaves in the
// cache, and who gives way to whom.
#include <algorithm>
#include <utility>

#include "engine/scheduler.h"
#include "engine/sequence.h"

namespace fimd {

/// Gives a sequence its cached prefix and a promise of the pages it may need. False: not yet.
bool Scheduler::admit(Sequence& sequence) {
  const int64_t most = std::min<int64_t>(options_.context_length,
                                         static_cast<int64_t>(sequence.tokens.size()) +
                                             std::max(sequence.request.params.max_tokens, 0) + 1);
  const auto pages = static_cast<int>((most + geometry_.page_tokens - 1) / geometry_.page_tokens);
  if (pages + 1 + branch_page_promise(sequence) > geometry_.n_pages) {
    sequence.searches = false;
    sequence.sample.n_best = 0;
  }
  sequence.promised_pages = pages + 1 + branch_page_promise(sequence);
  if (!has_room_for(sequence) && !make_room_for(sequence)) return false;
  PrefixCache::Match match = cache_.match(sequence.known());
  sequence.pages = std::move(match.pages);
  sequence.computed = match.length;
  sequence.admitted = true;
  promised_pages_ += sequence.promised_pages;
  if (states_.n_slots > 0) {
    sequence.slot = free_slots_.back();
    free_slots_.pop_back();
    sequence.resumable = match.length;
    if (match.checkpoint >= 0) {
      backend_.restore_state(match.checkpoint, sequence.slot);
    } else {
      backend_.clear_state(sequence.slot);
    }
  }
  const int in_last_page = sequence.computed % geometry_.page_tokens;
  if (in_last_page != 0) {
    const auto copy = cache_.allocate();
    if (!copy) {
      fail(sequence, cache_full());
      return true;
    }
    backend_.copy_page(sequence.pages.back(), *copy, in_last_page);
    cache_.release(sequence.pages.back());
    sequence.pages.back() = *copy;
  }
  if (sequence.started_ms < 0) {
    sequence.started_ms = sequence.since_submit.elapsed_ms();
    sequence.stats.queue_ms = sequence.started_ms;
  }
  // It may be admitted again: what it has computed itself by then is not reuse.
  GenerationStats& stats = sequence.stats;
  stats.cached_tokens =
      std::max(stats.cached_tokens,
               std::min(sequence.computed, sequence.prompt_tokens) - stats.prefilled_tokens);
  return true;
}

void Scheduler::give_up_pages(Sequence& sequence) {
  end_search(sequence);
  for (const int32_t page : sequence.pages) cache_.release(page);
  sequence.pages.clear();
  sequence.computed = 0;
  if (sequence.admitted) promised_pages_ -= sequence.promised_pages;
  sequence.admitted = false;
  if (sequence.slot >= 0) free_slots_.push_back(sequence.slot);
  sequence.slot = -1;
  sequence.stats.scored_logprob = 0;
}

bool Scheduler::has_room_for(const Sequence& sequence) const {
  return promised_pages_ + sequence.promised_pages <= geometry_.n_pages &&
         (states_.n_slots == 0 || !free_slots_.empty());
}

/// Background sequences give their pages up for an interactive one; they start again from what the
/// cache keeps of them.
bool Scheduler::make_room_for(const Sequence& sequence) {
  if (sequence.interactive()) {
    for (const auto& other : sequences_) {
      if (other->done || other->interactive() || !other->admitted) continue;
      keep_in_cache(*other);
      keep_state(*other);
      give_up_pages(*other);
    }
  }
  return has_room_for(sequence);
}

bool Scheduler::extend_pages(Sequence& sequence, int end) {
  const auto wanted =
      static_cast<size_t>((end + geometry_.page_tokens - 1) / geometry_.page_tokens);
  while (sequence.pages.size() < wanted) {
    const auto page = cache_.allocate();
    if (!page) return false;
    sequence.pages.push_back(*page);
  }
  return true;
}

/// Chooses where the coming pass leaves checkpoints of a sequence's state.
void Scheduler::plan_saves(Sequence& sequence) {
  if (sequence.slot < 0) return;
  const int end = sequence.computed + sequence.planned;
  const auto save_at = [&](int position) {
    if (cache_.has_checkpoint(std::span(sequence.tokens).first(static_cast<size_t>(position)))) {
      return;
    }
    if (const auto id = cache_.allocate_checkpoint()) {
      sequence.saves.push_back({position - sequence.computed, *id});
    }
  };
  for (const int position : sequence.checkpoints) {
    if (position > sequence.computed && position <= end) save_at(position);
  }
  // Multiples, as a suggestion that is made again says the same.
  const int spacing = options_.checkpoints.generated_spacing;
  const int first = std::max(sequence.computed, sequence.prompt_tokens) / spacing + 1;
  for (int position = first * spacing; position <= end; position += spacing) save_at(position);
}

void Scheduler::keep_saves(Sequence& sequence) {
  if (sequence.saves.empty()) return;
  keep_in_cache(sequence);
  const int before = sequence.computed - sequence.planned;
  for (const StateSave& save : sequence.saves) {
    sequence.resumable = before + save.after;
    cache_.keep_checkpoint(
        std::span(sequence.tokens).first(static_cast<size_t>(sequence.resumable)), save.checkpoint,
        sequence.resumable > sequence.prompt_tokens);
  }
  sequence.saves.clear();
}

/// Of a sequence that ends before its time: whoever comes next should not read all that again.
void Scheduler::keep_state(Sequence& sequence) {
  if (sequence.slot < 0) return;
  if (sequence.computed - sequence.resumable < options_.checkpoints.least_gap) return;
  const auto id = cache_.allocate_checkpoint();
  if (!id) return;
  backend_.save_state(sequence.slot, *id);
  cache_.keep_checkpoint(std::span(sequence.tokens).first(static_cast<size_t>(sequence.computed)),
                         *id);
  sequence.resumable = sequence.computed;
}

void Scheduler::keep_in_cache(const Sequence& sequence) {
  if (sequence.computed == 0) return;
  cache_.insert(std::span(sequence.tokens).first(static_cast<size_t>(sequence.computed)),
                sequence.pages);
}

}  // namespace fimd
