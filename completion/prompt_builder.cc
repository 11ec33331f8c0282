#include "completion/prompt_builder.h"

#include <algorithm>

#include "completion/text_util.h"

namespace fimd {
namespace {

// A CPU pays for every token of a cold prompt; accelerators read longer ones in the same time.
constexpr size_t kCpuPromptTokens = 2048;
constexpr size_t kPromptTokens = 8192;
// Markers, paths, and the typed part of an ordinary line.
constexpr size_t kOverheadTokens = 96;
// Text is never longer in tokens than in bytes, and practically never shorter than this.
constexpr size_t kMaxBytesPerToken = 16;
// The lines of a file are taken in groups of so many; those of the cursor's group that stand before
// the cursor's line follow the middle marker as well.
constexpr size_t kGroupLines = 8;
// Steps in which a long line is cut, unless its budget is even smaller.
constexpr size_t kLineStep = 256;
// What short files leave over goes to the snippets in steps, so that typing does not change it.
constexpr size_t kSpareStep = 256;
constexpr size_t kMaxCounts = 8192;
constexpr size_t kMaxRedacted = 64;

size_t step_bytes(size_t budget_tokens) { return std::max<size_t>(64, budget_tokens); }

size_t line_step(size_t budget_bytes) {
  return std::clamp<size_t>(budget_bytes / 2, 16, kLineStep);
}

size_t line_start_at_or_after(const Document& document, size_t offset) {
  if (offset >= document.text().size()) return document.text().size();
  const size_t line = document.line_of(offset);
  if (document.line_start(line) == offset) return offset;
  return line + 1 < document.line_count() ? document.line_start(line + 1) : document.text().size();
}

size_t line_start_at_or_before(const Document& document, size_t offset) {
  if (offset >= document.text().size()) return document.text().size();
  return document.line_start(document.line_of(offset));
}

size_t prefix_begin(const Document& document, size_t line_start, size_t budget,
                    const CountTokensFn& count) {
  const std::string_view text = document.text();
  const size_t step = step_bytes(budget);
  size_t begin = line_start;
  size_t used = 0;
  for (size_t k = line_start / step + 1; k-- > 0;) {
    const size_t anchor = std::min(line_start_at_or_after(document, k * step), line_start);
    if (anchor >= begin) continue;
    if (begin - anchor > budget * kMaxBytesPerToken) break;
    used += count(text.substr(anchor, begin - anchor));
    if (used > budget) break;
    begin = anchor;
  }
  return begin;
}

size_t suffix_end(const Document& document, size_t cursor, size_t budget,
                  const CountTokensFn& count) {
  const std::string_view text = document.text();
  const size_t step = step_bytes(budget);
  const size_t size = text.size();
  size_t end = cursor;
  size_t used = 0;
  for (size_t k = (size - cursor) / step + 1; k-- > 0;) {
    const size_t anchor = line_start_at_or_before(document, size - k * step);
    if (anchor <= end) continue;
    if (anchor - end > budget * kMaxBytesPerToken) break;
    used += count(text.substr(end, anchor - end));
    if (used > budget) break;
    end = anchor;
  }
  if (end > cursor || budget == 0) return end;
  // Not even the rest of the line fits: cut it, in steps from its end, so that typing before it
  // does not move the cut.
  const size_t line_end = document.line_end(document.line_of(cursor));
  const size_t rest = line_end - std::min(cursor, line_end);
  if (rest <= budget) return std::max(cursor, line_end);
  const size_t line_steps = (rest - budget + line_step(budget) - 1) / line_step(budget);
  if (line_steps * line_step(budget) >= rest) return cursor;
  return std::max(cursor, floor_to_code_point(text, line_end - line_steps * line_step(budget)));
}

}  // namespace

PromptBudget prompt_budget(const ModelInfo& model, const FimFormat& format,
                           const CompletionOptions& options) {
  const size_t context =
      model.context_length > 0 ? static_cast<size_t>(model.context_length) : kCpuPromptTokens;
  const bool asked =
      options.prefix_tokens > 0 || options.suffix_tokens > 0 || options.snippet_tokens > 0;
  const bool cpu = model.backend.rfind("cpu", 0) == 0 || model.backend.empty();
  const size_t whole = asked ? context : std::min(context, cpu ? kCpuPromptTokens : kPromptTokens);
  const int longest = std::max({options.max_tokens_single_line, options.max_tokens_multi_line, 1});
  const size_t reply = std::min(static_cast<size_t>(longest), whole / 3);
  const size_t overhead = std::min(kOverheadTokens, whole / 6);

  PromptBudget budget;
  budget.total = whole - reply;
  const size_t room = budget.total - overhead;
  const bool snippets = options.snippets && format.takes_snippets();
  budget.prefix = room * (snippets ? 55 : 80) / 100;
  budget.suffix = room * (snippets ? 15 : 20) / 100;
  // Only where the suffix stands between prefix and typed part does a new line cost its tokens.
  budget.group_lines = format.order == FimOrder::kPrefixSuffixMiddle ? kGroupLines : 1;
  if (!format.takes_suffix()) {
    budget.prefix += budget.suffix;
    budget.suffix = 0;
  }
  if (options.prefix_tokens > 0) budget.prefix = static_cast<size_t>(options.prefix_tokens);
  if (options.suffix_tokens > 0 && format.takes_suffix()) {
    budget.suffix = static_cast<size_t>(options.suffix_tokens);
  }
  budget.prefix = std::min(budget.prefix, room);
  budget.suffix = std::min(budget.suffix, room - budget.prefix);
  budget.snippets = snippets ? room - budget.prefix - budget.suffix : 0;
  if (snippets && options.snippet_tokens > 0) {
    budget.snippets = std::min(budget.snippets, static_cast<size_t>(options.snippet_tokens));
  }
  return budget;
}

PromptWindows prompt_windows(const Document& document, size_t cursor, const PromptBudget& budget,
                             const CountTokensFn& count) {
  const std::string_view text = document.text();
  cursor = floor_to_code_point(text, cursor);
  const size_t line = document.line_of(cursor);
  size_t line_start = document.line_start(line);
  const size_t group = std::max<size_t>(1, budget.group_lines);
  if (line >= group) {
    // The first group of a file stays in the prefix: a prompt needs one.
    const size_t group_start = document.line_start(line / group * group);
    if (cursor - group_start <= budget.prefix) line_start = group_start;
  }
  const size_t typed = cursor - line_start;

  PromptWindows windows;
  const size_t longest_typed = std::max<size_t>(budget.prefix, 64);
  if (typed > longest_typed) {
    const size_t step = line_step(longest_typed);
    const size_t cut = (typed - longest_typed + step - 1) / step * step;
    windows.typed_begin = floor_to_code_point(text, std::min(line_start + cut, cursor));
    windows.prefix_begin = windows.typed_begin;
  } else {
    // Room for the group's lines is always kept; a line longer than the overhead allows for is
    // taken from the prefix in steps.
    const size_t kept = group > 1 ? budget.prefix / 8 : 0;
    const size_t taken = (cursor - document.line_start(line)) / kLineStep * kLineStep / 2;
    windows.typed_begin = line_start;
    windows.prefix_begin = prefix_begin(
        document, line_start, budget.prefix - std::min(budget.prefix, kept + taken), count);
  }
  windows.suffix_end = suffix_end(document, cursor, budget.suffix, count);
  return windows;
}

void TokenCounter::use(const Generator* generator) {
  if (generator == generator_) return;
  generator_ = generator;
  counts_.clear();
}

size_t TokenCounter::operator()(std::string_view text) {
  if (text.empty() || generator_ == nullptr) return 0;
  const uint64_t key = hash_text(text);
  if (const auto it = counts_.find(key); it != counts_.end()) return it->second;
  if (counts_.size() >= kMaxCounts) counts_.clear();
  const size_t count = generator_->count_tokens(text);
  counts_.emplace(key, count);
  return count;
}

PromptBuilder::PromptBuilder(const Workspace* workspace, Gatherer* gatherer)
    : workspace_(workspace), gatherer_(gatherer) {}

size_t PromptBuilder::count_tokens(const Generator& generator, std::string_view text) {
  counter_.use(&generator);
  return counter_(text);
}

std::string PromptBuilder::redacted(std::string_view text) {
  const uint64_t key = hash_text(text);
  if (const auto it = redacted_.find(key); it != redacted_.end()) return it->second;
  if (redacted_.size() >= kMaxRedacted) redacted_.clear();
  std::string out = redact_secrets(text).value_or(std::string(text));
  return redacted_.emplace(key, std::move(out)).first->second;
}

BuiltPrompt PromptBuilder::build(const DocumentPtr& document, size_t cursor,
                                 const Generator& generator, const FimFormat& format,
                                 const CompletionOptions& options) {
  counter_.use(&generator);
  const CountTokensFn count = [this](std::string_view text) { return counter_(text); };
  const std::string_view text = document->text();
  cursor = floor_to_code_point(text, cursor);

  const size_t line_start = document->line_start(document->line_of(cursor));

  BuiltPrompt built;
  PromptBudget budget = prompt_budget(generator.info(), format, options);
  if (workspace_ != nullptr) {
    built.parts.repository = workspace_->folder_name(*document);
    built.parts.path = workspace_->relative_path(*document);
  }
  // The budgets are kept part by part; text whose parts tokenise worse together than apart could
  // still overflow a small context, and then everything shrinks.
  for (int attempt = 0; attempt < 8; ++attempt) {
    const PromptWindows windows = prompt_windows(*document, cursor, budget, count);
    const std::string_view prefix =
        text.substr(windows.prefix_begin, windows.typed_begin - windows.prefix_begin);
    const std::string_view typed = text.substr(windows.typed_begin, cursor - windows.typed_begin);
    const std::string_view suffix = text.substr(cursor, windows.suffix_end - cursor);
    built.parts.prefix = with_unix_line_breaks(redacted(prefix));
    const size_t current = typed.size() - std::min(typed.size(), cursor - line_start);
    built.parts.typed = with_unix_line_breaks(redacted(typed.substr(0, current))) +
                        with_unix_line_breaks(typed.substr(current));
    built.parts.suffix =
        format.takes_suffix() ? with_unix_line_breaks(redacted(suffix)) : std::string();

    built.snippets.clear();
    built.parts.snippets.clear();
    if (budget.snippets > 0 && gatherer_ != nullptr && format.takes_snippets()) {
      const size_t spare_prefix = budget.prefix - std::min(budget.prefix, count(prefix));
      const size_t spare_suffix = budget.suffix - std::min(budget.suffix, count(suffix));
      const size_t spare = (spare_prefix + spare_suffix) / kSpareStep * kSpareStep;
      built.snippets = gatherer_->gather(document, cursor, budget.snippets + spare, count);
      for (const Snippet& snippet : built.snippets) {
        built.parts.snippets.push_back({snippet.path, snippet.text});
      }
    }
    built.prompt = render_prompt(format, built.parts);
    built.heal = ends_in_text(built.prompt);

    size_t total = 0;
    for (const PromptSegment& segment : built.prompt) {
      total += segment.kind == PromptSegment::Kind::kControl ? 1 : count(segment.text);
    }
    if (total <= budget.total) break;
    budget.snippets = 0;
    budget.prefix = budget.prefix * 3 / 4;
    budget.suffix = budget.suffix * 3 / 4;
  }
  return built;
}

}  // namespace fimd
