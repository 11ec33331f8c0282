// The scheduler's part in beam search (whose pages hold which branch) and in scoring.
#include <algorithm>
#include <utility>

#include "engine/healing.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"

namespace fimd {

namespace {

size_t index_of(int i) { return static_cast<size_t>(i); }

}  // namespace

/// Whether the likeliest texts are searched for, and what the first pass must find.
void Scheduler::prepare_search(Sequence& sequence) {
  GenerationParams& params = sequence.request.params;
  BeamParams& beam = params.beam;
  beam.width = std::min(beam.width, BeamSearch::most_width(backend_.max_best()));
  sequence.searches = can_search() && beam.width > 1 && params.stop.empty() &&
                      !(params.sampling.temperature > 0) && sequence.generates() &&
                      search_room(sequence) > 0;
  if (sequence.searches) sequence.sample.n_best = BeamSearch::looked_at(beam.width);
}

/// Tokens that a search may add to the prompt, besides those that healing took back.
int Scheduler::search_room(const Sequence& sequence) const {
  const int left = options_.context_length - static_cast<int>(sequence.tokens.size());
  return std::min(left - kMaxTakenBack, sequence.request.params.max_tokens);
}

/// Pages that branches need besides those of one sequence: each has its own copy of the prompt's
/// last page, and while they are copied there are those of two generations.
int Scheduler::branch_page_promise(const Sequence& sequence) const {
  if (!sequence.searches) return 0;
  const int most = sequence.request.params.max_tokens + kMaxTakenBack;
  const int own = most / geometry_.page_tokens + 2;
  return 2 * sequence.request.params.beam.width * own;
}

/// Returns the rows planned: one for each branch.
int Scheduler::plan_branches(Sequence& sequence, int budget) {
  const auto& branches = sequence.search->branches();
  const auto n = static_cast<int>(branches.size());
  if (n > budget) return 0;
  for (size_t i = 0; i < branches.size(); ++i) {
    auto& pages = sequence.branch_pages[i];
    const size_t tokens = index_of(sequence.prompt_tokens) + branches[i].tokens.size();
    while (pages.size() * index_of(geometry_.page_tokens) < tokens) {
      const auto page = cache_.allocate();
      if (!page) {
        fail(sequence, cache_full());
        return 0;
      }
      pages.push_back(*page);
    }
  }
  sequence.planned = n;
  planned_.push_back(&sequence);
  return n;
}

void Scheduler::add_branches(Sequence& sequence) {
  const auto& branches = sequence.search->branches();
  for (size_t i = 0; i < branches.size(); ++i) {
    StepInput input;
    input.tokens = std::span(branches[i].tokens).last(1);
    input.first = sequence.prompt_tokens + static_cast<int>(branches[i].tokens.size()) - 1;
    input.pages = sequence.branch_pages[i];
    input.samples = sequence.search->samples(i);
    inputs_.push_back(input);
  }
}

/// The prompt has been read; `row` holds what may follow it.
void Scheduler::search_from(Sequence& sequence, size_t row) {
  const GenerationParams& params = sequence.request.params;
  // What healing took back and nothing can begin with was put back into the prompt.
  sequence.prompt_tokens = static_cast<int>(sequence.tokens.size());
  if (!sequence.search_healing) sequence.search_healing = sequence.stream->healing();
  sequence.search.emplace(tokenizer_, params.beam, std::max(search_room(sequence), 1),
                          sequence.stops, *sequence.search_healing);
  sequence.shared_pages = sequence.tokens.size() / index_of(geometry_.page_tokens);
  search_on(sequence, row);
}

void Scheduler::search_on(Sequence& sequence, size_t first_row) {
  sequence.planned = 0;
  BeamSearch& search = *sequence.search;
  std::vector<std::span<const Sampled>> rows;
  for (size_t i = 0; i < search.branches().size(); ++i) {
    rows.push_back(backend_.likeliest(first_row + i));
  }
  if (!search.advance(rows)) return fail(sequence, not_a_number());
  ++sequence.stats.decoded_tokens;
  keep_best_branch(sequence);
  if (!take_branch_pages(sequence)) return fail(sequence, cache_full());
  emit_agreed(sequence);
  if (sequence.done) return;
  if (search.over()) finish_search(sequence);
}

/// After the search went on: a branch takes over its parent's pages, further ones get copies.
bool Scheduler::take_branch_pages(Sequence& sequence) {
  const auto& branches = sequence.search->branches();
  const auto parents = std::move(sequence.branch_pages);
  sequence.branch_pages.assign(branches.size(), {});
  std::vector<bool> taken(parents.size(), false);
  bool enough = true;
  for (size_t i = 0; i < branches.size() && enough; ++i) {
    const size_t parent = branches[i].parent;
    auto& pages = sequence.branch_pages[i];
    if (!parents.empty() && !taken[parent]) {
      taken[parent] = true;
      pages = parents[parent];
      continue;
    }
    const auto& from = parents.empty() ? sequence.pages : parents[parent];
    const size_t computed = index_of(sequence.prompt_tokens) + branches[i].tokens.size() - 1;
    const size_t page_tokens = index_of(geometry_.page_tokens);
    pages.assign(from.begin(), from.begin() + static_cast<ptrdiff_t>(sequence.shared_pages));
    for (size_t k = sequence.shared_pages; k * page_tokens < computed && enough; ++k) {
      const auto page = cache_.allocate();
      enough = page.has_value();
      if (!enough) break;
      const size_t used = std::min(page_tokens, computed - k * page_tokens);
      backend_.copy_page(from[k], *page, static_cast<int>(used));
      pages.push_back(*page);
    }
  }
  for (size_t p = 0; p < parents.size(); ++p) {  // those without descendants
    if (taken[p]) continue;
    for (size_t k = sequence.shared_pages; k < parents[p].size(); ++k)
      cache_.release(parents[p][k]);
  }
  return enough;
}

/// Remembers the branch that led to the likeliest answer so far: it may well be accepted.
void Scheduler::keep_best_branch(const Sequence& sequence) {
  const BeamSearch& search = *sequence.search;
  if (search.best_parent() < 0) return;
  std::vector<TokenId> tokens = sequence.tokens;
  tokens.insert(tokens.end(), search.best_tokens().begin(), search.best_tokens().end());
  cache_.insert(tokens, sequence.branch_pages.empty()
                            ? sequence.pages
                            : sequence.branch_pages[index_of(search.best_parent())]);
}

void Scheduler::emit_agreed(Sequence& sequence) {
  const std::string_view agreed = sequence.search->agreed();
  if (agreed.size() <= sequence.emitted) return;
  if (sequence.emitted == 0) sequence.stream.emplace(std::string(), std::vector<std::string>());
  sequence.stream->push(agreed.substr(sequence.emitted), 0);
  sequence.emitted = agreed.size();
  if (!emit(sequence)) finish(sequence, FinishReason::kStoppedBySink);
}

void Scheduler::finish_search(Sequence& sequence) {
  std::vector<TextCandidate> candidates = sequence.search->candidates();
  for (TextCandidate& candidate : candidates) {
    TextStream valid({}, {});
    valid.push(candidate.text, 0);
    valid.finish();
    candidate.text = valid.take();
  }
  const bool truncated = !candidates.empty() && candidates.front().truncated;
  sequence.request.sink->on_candidates(std::move(candidates));
  finish(sequence, truncated ? FinishReason::kMaxTokens : FinishReason::kEndOfText);
}

/// Lets go of the branches' pages; a search that is started again says the same again.
void Scheduler::end_search(Sequence& sequence) {
  for (const auto& pages : sequence.branch_pages) {
    for (size_t k = sequence.shared_pages; k < pages.size(); ++k) cache_.release(pages[k]);
  }
  sequence.branch_pages.clear();
  sequence.search.reset();
}

/// Takes the last token off the prompt: nobody asks what follows it.
Status Scheduler::prepare_score(Sequence& sequence) {
  if (!can_search() || sequence.generates()) {
    return Error{ErrorCode::kUnsupported, "this model cannot score a prompt"};
  }
  size_t bytes = 0;
  size_t n = 0;
  auto& tokens = sequence.tokens;
  while (n + 1 < tokens.size()) {
    bytes += tokenizer_.bytes(tokens[tokens.size() - 1 - n]).size();
    if (bytes > sequence.request.params.scored_bytes) break;
    ++n;
  }
  if (n == 0) return Error{ErrorCode::kInvalidArgument, "no token begins in what is to be scored"};
  sequence.scored.resize(n);
  for (size_t i = 0; i < n; ++i) sequence.scored[i].scored = tokens[tokens.size() - n + i];
  tokens.pop_back();
  return {};
}

void Scheduler::add_scores(Sequence& sequence, size_t first_row, size_t n_rows) {
  for (const Sampled& token : std::span(sampled_).subspan(first_row, n_rows)) {
    if (token.token < 0) return fail(sequence, not_a_number());
    sequence.stats.scored_logprob += token.logprob;
  }
}

}  // namespace fimd
