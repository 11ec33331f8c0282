// PromptBuilder: which text of the document (and of other open ones) goes into a prompt.
//
// The windows are a pure function of the text, the cursor and the budgets, and they move in steps:
// the prefix begins at one of the line starts nearest to multiples of a step counted from the start
// of the file, the suffix ends at one counted from the end of the file. Typing on the cursor's line
// therefore moves neither, and typing further lines moves the prefix's start only once per step,
// when the budget is used up. Cached prompts stay valid in between.
//
// Owner: one per editor session. Thread: the io thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <unordered_map>

#include "completion/completer.h"
#include "completion/fim_format.h"
#include "context/gatherer.h"

namespace fimd {

/// In tokens.
struct PromptBudget {
  size_t prefix = 0;
  size_t suffix = 0;
  size_t snippets = 0;
  size_t total = 0;  // everything before the first generated token
  /// Lines in a group: those of the cursor's group count as typed, see PromptWindows.
  size_t group_lines = 1;

  friend bool operator==(const PromptBudget&, const PromptBudget&) = default;
};

/// Splits a model's context, less the room for the reply, between the parts of a prompt. Numbers
/// given in the options are taken as they are, as far as the context allows.
PromptBudget prompt_budget(const ModelInfo& model, const FimFormat& format,
                           const CompletionOptions& options);

/// The windows of a prompt as byte offsets: prefix [prefix_begin, typed_begin), typed part
/// [typed_begin, cursor), suffix [cursor, suffix_end). The typed part is the cursor's line up to
/// the cursor and the lines of its group before it: what follows the middle marker is only appended
/// to while a group of lines is typed, so that a new line costs no more than a key. Where the
/// cursor's line had to be cut, the prefix is empty.
struct PromptWindows {
  size_t prefix_begin = 0;
  size_t typed_begin = 0;
  size_t suffix_end = 0;

  friend bool operator==(const PromptWindows&, const PromptWindows&) = default;
};

PromptWindows prompt_windows(const Document& document, size_t cursor, const PromptBudget& budget,
                             const CountTokensFn& count);

/// Token counts of texts seen before; forgets everything when it has grown too large.
class TokenCounter {
 public:
  /// Counts with `generator`; another one than before starts from nothing.
  void use(const Generator* generator);
  size_t operator()(std::string_view text);

 private:
  const Generator* generator_ = nullptr;
  std::unordered_map<uint64_t, size_t> counts_;
};

struct BuiltPrompt {
  PromptParts parts;
  std::vector<Snippet> snippets;
  Prompt prompt;
  bool heal = false;
};

class PromptBuilder {
 public:
  /// All must outlive the builder.
  PromptBuilder(const Workspace* workspace, Gatherer* gatherer);

  /// The prompt for a cursor of `document`. `format` is the generator's.
  BuiltPrompt build(const DocumentPtr& document, size_t cursor, const Generator& generator,
                    const FimFormat& format, const CompletionOptions& options);

  size_t count_tokens(const Generator& generator, std::string_view text);
  /// Drops the counts made with an earlier generator.
  void forget() { counter_.use(nullptr); }

 private:
  std::string redacted(std::string_view text);

  const Workspace* workspace_;
  Gatherer* gatherer_;
  TokenCounter counter_;
  std::unordered_map<uint64_t, std::string> redacted_;  // by hash of the text that went in
};

}  // namespace fimd
