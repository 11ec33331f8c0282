#include "context/gatherer.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "context/language.h"
#include "context/snippet_index.h"
#include "context/syntax_queries.h"
#include "context/text.h"

namespace fimd {
namespace {

constexpr double kMinScore = 0.04;
constexpr double kEditedBonus = 0.30;
constexpr double kVisitedBonus = 0.12;
constexpr double kDefinitionBonus = 0.30;  // for one rare name; more names add less and less
constexpr double kMaxDefinitionBonus = 0.60;
constexpr double kImportedBonus = 0.06;
constexpr double kOtherLanguage = 0.5;
constexpr double kClosed = 0.8;
constexpr double kSameText = 0.6;  // containment of lines beyond which a snippet says nothing new
// What the prompt shows of the current document, roughly; snippets must not repeat it.
constexpr size_t kShownBefore = 300;
constexpr size_t kShownBehind = 100;

struct Candidate {
  IndexedDocument* source = nullptr;
  Window* window = nullptr;
  double score = 0;
};

std::string_view stem(std::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash != std::string_view::npos) path.remove_prefix(slash + 1);
  return path.substr(0, path.find('.'));
}

std::string_view lines_around(const Document& document, size_t line, size_t before, size_t behind) {
  const size_t first = line > before ? line - before : 0;
  const size_t last = std::min(line + behind, document.line_count() - 1);
  const size_t begin = document.line_start(first);
  return std::string_view(document.text()).substr(begin, document.line_end(last) - begin);
}

bool is_shown(const Snippet& snippet, const Candidate& candidate) {
  return snippet.uri == candidate.source->document->uri() && snippet.text == candidate.window->text;
}

}  // namespace

struct Gatherer::State {
  /// What was chosen for a document, and for which circumstances.
  struct Choice {
    std::vector<Snippet> snippets;
    std::string definition;
    size_t line = 0;
    size_t budget = 0;
    uint64_t others = 0;  // state_of_others() then
  };

  const Workspace* workspace;
  GathererOptions options;
  SnippetIndex index;
  std::unordered_map<std::string, Choice> choices;
  std::unordered_map<std::string, size_t> path_tokens;

  State(const Workspace* the_workspace, const Exclusion* exclusion, GathererOptions the_options)
      : workspace(the_workspace), options(the_options), index(the_workspace, exclusion) {}

  void refresh_index(const Document& current);
  /// Changes when the text of another document does, or when one comes or goes.
  uint64_t state_of_others(const Document& current);
  bool choice_is_current(const Choice& choice);
  std::vector<Candidate> rank(const Document& current, size_t offset);
  std::vector<Candidate> select(const Document& current, size_t offset, size_t budget,
                                std::vector<Candidate> ranked, const CountTokensFn& count);
  size_t cost(const Candidate& candidate, const CountTokensFn& count);
};

Gatherer::Gatherer(const Workspace* workspace, const Exclusion* exclusion, GathererOptions options)
    : state_(std::make_unique<State>(workspace, exclusion, options)) {}
Gatherer::~Gatherer() = default;

void Gatherer::State::refresh_index(const Document& current) {
  std::vector<DocumentPtr> others;
  for (const auto& list : {workspace->documents(), workspace->recently_closed()}) {
    for (const DocumentPtr& document : list) {
      if (others.size() >= options.max_documents) break;
      // The current document's own entry stays as it was: it changes with every keystroke and is
      // not asked. Its windows count in the frequencies, which does no harm.
      if (document->uri() == current.uri()) {
        const IndexedDocument* old = index.find(document->uri());
        if (old != nullptr) others.push_back(old->document);
        continue;
      }
      others.push_back(document);
    }
  }
  if (index.update(others)) index.weigh();
}

uint64_t Gatherer::State::state_of_others(const Document& current) {
  uint64_t state = 1;
  for (const auto& [uri, entry] : index.documents()) {
    if (uri != current.uri()) state = (state ^ entry.stamp) * 0x9E3779B97F4A7C15ULL;
  }
  return state;
}

bool Gatherer::State::choice_is_current(const Choice& choice) {
  const auto& documents = index.documents();
  return std::all_of(choice.snippets.begin(), choice.snippets.end(), [&](const Snippet& snippet) {
    const auto found = documents.find(snippet.uri);
    if (found == documents.end() || !found->second.usable) return false;
    const auto& windows = found->second.windows;
    return std::any_of(windows.begin(), windows.end(),
                       [&](const Window& window) { return window.text == snippet.text; });
  });
}

std::vector<Candidate> Gatherer::State::rank(const Document& current, size_t offset) {
  const size_t line = current.line_of(offset);
  const size_t half = options.cursor_window_lines / 2;
  const std::string_view near = lines_around(current, line, half + half / 2, half / 2);
  const std::vector<Term> terms = terms_of(near);
  std::vector<Term> names;
  for (const std::string_view word : identifiers(near)) {
    if (word.size() >= 3) names.push_back(term_of(word));
  }
  std::sort(names.begin(), names.end());
  double query_weight = 0;
  double max_idf = 0;
  std::vector<double> weights;
  weights.reserve(terms.size());
  for (const Term term : terms) {
    weights.push_back(index.idf(term));
    query_weight += weights.back();
    max_idf = std::max(max_idf, weights.back());
  }
  // Words of the first lines, where imports are, as far as they could be a file's name.
  const std::vector<std::string_view> head = identifiers(lines_around(current, 0, 0, 80));

  const std::string own_path = workspace->relative_path(current);
  const std::string_view own = stem(own_path);

  std::vector<Candidate> candidates;
  for (auto& [uri, entry] : index.documents()) {
    if (!entry.usable || uri == current.uri()) continue;
    const Document& other = *entry.document;
    double factor = other.language() == current.language() ? 1.0 : kOtherLanguage;
    if (workspace->find(uri) == nullptr) factor *= kClosed;
    const std::string_view module = stem(entry.path);
    // Imported, or the other half of a pair: lexer.h of lexer.cc, lexer_test.cc of lexer.cc.
    const bool imported =
        module.size() >= 3 && (std::find(head.begin(), head.end(), module) != head.end() ||
                               (own.size() >= 3 && (own.find(module) != std::string_view::npos ||
                                                    module.find(own) != std::string_view::npos)));
    for (Window& window : entry.windows) {
      double shared = 0;
      auto have = window.terms.begin();
      for (size_t i = 0; i < terms.size() && have != window.terms.end(); ++i) {
        have = std::lower_bound(have, window.terms.end(), terms[i]);
        if (have != window.terms.end() && *have == terms[i]) shared += weights[i];
      }
      const double both = query_weight + window.weight - shared;
      double score = both > 0 ? shared / both : 0;
      double defined = 0;
      for (const Term name : window.defines) {
        if (!std::binary_search(names.begin(), names.end(), name)) continue;
        const double rarity = max_idf > 0 ? std::min(1.0, index.idf(name) / max_idf) : 0;
        defined +=
            (kMaxDefinitionBonus - defined) * kDefinitionBonus / kMaxDefinitionBonus * rarity;
      }
      score = (score + defined + (imported && shared > 0 ? kImportedBonus : 0)) * factor;
      candidates.push_back({&entry, &window, score});
    }
  }
  // Places the user came from, the newest first.
  double decay = 1;
  const std::vector<Visit>& visits = workspace->visits();
  for (auto visit = visits.rbegin(); visit != visits.rend() && decay > 0.1; ++visit) {
    if (visit->uri == current.uri()) continue;
    for (Candidate& candidate : candidates) {
      const Window& window = *candidate.window;
      if (candidate.source->document->uri() == visit->uri && visit->line >= window.first_line &&
          visit->line < window.first_line + window.line_count) {
        candidate.score += decay * (visit->edited ? kEditedBonus : kVisitedBonus);
      }
    }
    decay *= 0.8;
  }
  std::erase_if(candidates, [](const Candidate& c) { return c.score < kMinScore; });
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    if (a.score != b.score) return a.score > b.score;
    if (a.source != b.source) return a.source->document->uri() < b.source->document->uri();
    return a.window->first_line < b.window->first_line;
  });
  return candidates;
}

size_t Gatherer::State::cost(const Candidate& candidate, const CountTokensFn& count) {
  Window& window = *candidate.window;
  if (!window.tokens) window.tokens = count(window.text);
  auto [path, fresh] = path_tokens.try_emplace(candidate.source->path, 0);
  if (fresh) path->second = count(candidate.source->path);
  return *window.tokens + path->second + options.tokens_per_snippet_overhead;
}

std::vector<Candidate> Gatherer::State::select(const Document& current, size_t offset,
                                               size_t budget, std::vector<Candidate> ranked,
                                               const CountTokensFn& count) {
  const std::vector<uint64_t> shown =
      line_hashes(lines_around(current, current.line_of(offset), kShownBefore, kShownBehind));
  std::vector<Candidate> chosen;
  size_t left = budget;
  size_t misses = 0;
  for (const Candidate& candidate : ranked) {
    // Token counting is the costly part: once the budget is nearly spent, stop looking.
    if (chosen.size() >= options.max_snippets || misses >= 8) break;
    const Window& window = *candidate.window;
    const bool repeats = containment(window.lines, shown) > kSameText ||
                         std::any_of(chosen.begin(), chosen.end(), [&](const Candidate& other) {
                           return containment(window.lines, other.window->lines) > kSameText ||
                                  containment(other.window->lines, window.lines) > kSameText;
                         });
    if (repeats) continue;
    // A token has few bytes: what is far too long need not be counted.
    if (window.text.size() > left * 12) {
      ++misses;
      continue;
    }
    const size_t tokens = cost(candidate, count);
    if (tokens > left) {
      ++misses;
      continue;
    }
    left -= tokens;
    chosen.push_back(candidate);
  }
  return chosen;
}

std::vector<Snippet> Gatherer::gather(const DocumentPtr& document, size_t offset,
                                      size_t budget_tokens, const CountTokensFn& count) {
  State& s = *state_;
  const Document& current = *document;
  offset = std::min(offset, current.text().size());
  s.refresh_index(current);
  auto [slot, fresh] = s.choices.try_emplace(current.uri());
  State::Choice& choice = slot->second;

  const size_t line = current.line_of(offset);
  const size_t moved = line > choice.line ? line - choice.line : choice.line - line;
  const std::string definition = enclosing_definition(current, offset);
  // A definition being typed has no name for a while: only a different name counts.
  const bool left_definition =
      !definition.empty() && !choice.definition.empty() && definition != choice.definition;
  const uint64_t others = s.state_of_others(current);
  const bool others_changed = choice.others != others;
  size_t spent = 0;
  for (const Snippet& snippet : choice.snippets) spent += snippet.tokens;
  const bool too_much = spent > budget_tokens;
  const bool more_room = budget_tokens > choice.budget + choice.budget / 4;
  const bool outdated = others_changed && !s.choice_is_current(choice);
  if (!fresh && !too_much && !more_room && !outdated && !left_definition && !others_changed &&
      moved <= s.options.moved_lines) {
    return choice.snippets;
  }

  const std::vector<Candidate> ranked = s.rank(current, offset);
  const std::vector<Candidate> chosen = s.select(current, offset, budget_tokens, ranked, count);
  double new_score = 0;
  for (const Candidate& candidate : chosen) new_score += candidate.score;
  double old_score = 0;
  for (const Candidate& candidate : ranked) {
    for (const Snippet& snippet : choice.snippets) {
      if (is_shown(snippet, candidate)) old_score += candidate.score;
    }
  }
  choice.line = line;
  if (!definition.empty()) choice.definition = definition;
  choice.budget = budget_tokens;
  choice.others = others;
  const bool worth_it = new_score > old_score * s.options.replace_gain;
  if (!fresh && !too_much && !outdated && !worth_it) return choice.snippets;

  // Least relevant first; but those that stay keep their place at the front, in their order, so
  // that the prompt's beginning stays the same as far as possible.
  std::vector<Snippet> next;
  for (const Snippet& snippet : choice.snippets) {
    const auto kept = std::find_if(chosen.begin(), chosen.end(), [&](const Candidate& candidate) {
      return is_shown(snippet, candidate);
    });
    if (kept == chosen.end()) continue;
    next.push_back(snippet);
    next.back().score = kept->score;
  }
  for (auto candidate = chosen.rbegin(); candidate != chosen.rend(); ++candidate) {
    const bool kept = std::any_of(next.begin(), next.end(), [&](const Snippet& snippet) {
      return is_shown(snippet, *candidate);
    });
    if (kept) continue;
    const Window& window = *candidate->window;
    next.push_back({candidate->source->path, window.text, candidate->source->document->uri(),
                    window.first_line, window.line_count, s.cost(*candidate, count),
                    candidate->score});
  }
  choice.snippets = std::move(next);
  return choice.snippets;
}

void Gatherer::forget(const std::string& uri) { state_->choices.erase(uri); }

void Gatherer::clear() {
  state_->choices.clear();
  state_->path_tokens.clear();
  state_->index.clear();
}

}  // namespace fimd
