#include "completion/fim_format.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <span>

namespace fimd {
namespace {

// Empty entries end a list.
using Spellings = std::array<std::string_view, 3>;
using Names = std::array<std::string_view, 10>;

struct Row {
  std::string_view name;
  FimOrder order;
  FileHeader header;
  Spellings prefix;  // the model must have one spelling of each non-empty marker
  Spellings suffix;
  Spellings middle;
  std::string_view repository;  // must exist if not empty
  std::string_view separator;   // must exist if not empty
  Names hints;                  // one must occur in the name or architecture, if there are any
  Names stops;                  // besides the markers above and the model's own end tokens
};

constexpr Spellings kBarPrefix = {"<|fim_prefix|>"};
constexpr Spellings kBarSuffix = {"<|fim_suffix|>"};
constexpr Spellings kBarMiddle = {"<|fim_middle|>"};
constexpr Spellings kStarPrefix = {"<fim_prefix>", "<fim-prefix>"};
constexpr Spellings kStarSuffix = {"<fim_suffix>", "<fim-suffix>"};
constexpr Spellings kStarMiddle = {"<fim_middle>", "<fim-middle>"};
constexpr Spellings kDeepPrefix = {"<｜fim▁begin｜>"};
constexpr Spellings kDeepSuffix = {"<｜fim▁hole｜>"};
constexpr Spellings kDeepMiddle = {"<｜fim▁end｜>"};
constexpr Names kNoHints = {};

constexpr auto kPsm = FimOrder::kPrefixSuffixMiddle;
constexpr auto kSpm = FimOrder::kSuffixPrefixMiddle;

// Families that share tokens are told apart by the rows' order: the one that asks for more comes
// first. Sources: the families' model cards and tokenizer configurations.
constexpr Row kRows[] = {
    // Qwen2.5-Coder, Qwen3-Coder and fimd's own models.
    {"qwen-coder",
     kPsm,
     FileHeader::kRepository,
     kBarPrefix,
     kBarSuffix,
     kBarMiddle,
     "<|repo_name|>",
     "<|file_sep|>",
     kNoHints,
     {"<|endoftext|>", "<|im_end|>", "<|fim_pad|>"}},
    {"codegemma",
     kPsm,
     FileHeader::kSeparated,
     kBarPrefix,
     kBarSuffix,
     kBarMiddle,
     "",
     "<|file_separator|>",
     kNoHints,
     {"<eos>", "<end_of_turn>"}},
    {"granite-4",
     kPsm,
     FileHeader::kNone,
     kBarPrefix,
     kBarSuffix,
     kBarMiddle,
     "",
     "",
     kNoHints,
     {"<|end_of_text|>", "<|endoftext|>", "<|fim_pad|>", "<|filename|>", "<|reponame|>"}},
    {"deepseek-coder-v2",
     kPsm,
     FileHeader::kNone,
     kDeepPrefix,
     kDeepSuffix,
     kDeepMiddle,
     "",
     "",
     {"deepseek2", "coder-v2", "coder v2"},
     {"<｜end▁of▁sentence｜>", "<|EOT|>"}},
    {"deepseek-coder",
     kPsm,
     FileHeader::kHashComment,
     kDeepPrefix,
     kDeepSuffix,
     kDeepMiddle,
     "",
     "",
     kNoHints,
     {"<｜end▁of▁sentence｜>", "<|EOT|>"}},
    {"codellama",
     kPsm,
     FileHeader::kNone,
     {"▁<PRE>", "<PRE>"},
     {"▁<SUF>", "<SUF>"},
     {"▁<MID>", "<MID>"},
     "",
     "",
     kNoHints,
     {"▁<EOT>", "<EOT>", "</s>"}},
    {"mellum",
     kSpm,
     FileHeader::kFileNameToken,
     kStarPrefix,
     kStarSuffix,
     kStarMiddle,
     "",
     "<filename>",
     {"mellum"},
     {"<|endoftext|>", "<reponame>"}},
    {"granite-code",
     kPsm,
     FileHeader::kNone,
     kStarPrefix,
     kStarSuffix,
     kStarMiddle,
     "",
     "",
     {"granite"},
     {"<|endoftext|>", "<filename>", "<reponame>", "<fim_pad>"}},
    {"stable-code",
     kPsm,
     FileHeader::kNone,
     kStarPrefix,
     kStarSuffix,
     kStarMiddle,
     "",
     "",
     {"stablelm", "stable-code", "stable code"},
     {"<|endoftext|>", "<filename>", "<reponame>"}},
    {"starcoder2",
     kPsm,
     FileHeader::kInsidePrefix,
     kStarPrefix,
     kStarSuffix,
     kStarMiddle,
     "<repo_name>",
     "<file_sep>",
     kNoHints,
     {"<|endoftext|>", "<fim_pad>"}},
    {"starcoder",
     kPsm,
     FileHeader::kNone,
     kStarPrefix,
     kStarSuffix,
     kStarMiddle,
     "",
     "",
     kNoHints,
     {"<|endoftext|>", "<filename>", "<reponame>", "<fim_pad>"}},
    {"codestral",
     kSpm,
     FileHeader::kPlusLine,
     {"[PREFIX]"},
     {"[SUFFIX]"},
     {},
     "",
     "",
     kNoHints,
     {"</s>", "[MIDDLE]"}},
    {"seed-coder",
     kSpm,
     FileHeader::kNone,
     {"<[fim-prefix]>"},
     {"<[fim-suffix]>"},
     {"<[fim-middle]>"},
     "",
     "",
     kNoHints,
     {"<[end▁of▁sentence]>"}},
    {"plain",
     FimOrder::kPrefixOnly,
     FileHeader::kNone,
     {},
     {},
     {},
     "",
     "",
     kNoHints,
     {"<|endoftext|>", "</s>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>"}},
};

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

class Vocabulary {
 public:
  explicit Vocabulary(const std::vector<std::string>& tokens) : tokens_(tokens) {}

  bool has(std::string_view token) const {
    return std::find(tokens_.begin(), tokens_.end(), token) != tokens_.end();
  }
  /// The spelling the model has; empty if none.
  std::string_view resolve(std::span<const std::string_view> spellings) const {
    for (std::string_view spelling : spellings) {
      if (!spelling.empty() && has(spelling)) return spelling;
    }
    return {};
  }
  /// A marker the row does not use, or one the model has.
  bool satisfies(std::span<const std::string_view> spellings) const {
    return spellings.front().empty() || !resolve(spellings).empty();
  }

 private:
  const std::vector<std::string>& tokens_;
};

bool fits(const Row& row, const Vocabulary& vocabulary, std::string_view identity) {
  if (!vocabulary.satisfies(row.prefix) || !vocabulary.satisfies(row.suffix) ||
      !vocabulary.satisfies(row.middle)) {
    return false;
  }
  if (!row.repository.empty() && !vocabulary.has(row.repository)) return false;
  if (!row.separator.empty() && !vocabulary.has(row.separator)) return false;
  if (row.hints.front().empty()) return true;
  return std::any_of(row.hints.begin(), row.hints.end(), [&](std::string_view hint) {
    return !hint.empty() && identity.find(hint) != std::string_view::npos;
  });
}

FimFormat resolve(const Row& row, const Vocabulary& vocabulary, const ModelInfo& model) {
  FimFormat format;
  format.name = row.name;
  format.order = row.order;
  format.header = row.header;
  if (model.add_bos) format.begin = model.bos_token;
  format.prefix = vocabulary.resolve(row.prefix);
  format.suffix = vocabulary.resolve(row.suffix);
  format.middle = vocabulary.resolve(row.middle);
  format.repository = row.repository;
  format.separator = row.separator;
  for (const std::string& marker :
       {format.prefix, format.suffix, format.middle, format.repository, format.separator}) {
    if (!marker.empty()) format.stop_controls.push_back(marker);
  }
  for (std::string_view stop : row.stops) {
    if (!stop.empty() && vocabulary.has(stop)) format.stop_controls.emplace_back(stop);
  }
  return format;
}

/// Builds a prompt; text that follows text joins it, so that it is tokenised as one.
class Layout {
 public:
  void control(const std::string& name) {
    if (!name.empty()) prompt_.push_back(control_segment(name));
  }
  void text(std::string_view piece) {
    if (piece.empty()) return;
    if (ends_in_text(prompt_)) {
      prompt_.back().text += piece;
    } else {
      prompt_.push_back(text_segment(std::string(piece)));
    }
  }
  Prompt take() { return std::move(prompt_); }

 private:
  Prompt prompt_;
};

void add_snippets(const FimFormat& format, const PromptParts& parts, Layout* layout) {
  switch (format.header) {
    case FileHeader::kNone:
      break;
    case FileHeader::kRepository:
      if (!parts.repository.empty()) {
        layout->control(format.repository);
        layout->text(parts.repository);
        layout->text("\n");
      }
      [[fallthrough]];
    case FileHeader::kFileNameToken:
      for (const auto& file : parts.snippets) {
        layout->control(format.separator);
        layout->text(file.path + "\n" + file.text + "\n");
      }
      if (!parts.path.empty()) {
        layout->control(format.separator);
        layout->text(parts.path + "\n");
      }
      break;
    case FileHeader::kInsidePrefix:
      if (!parts.repository.empty()) {
        layout->control(format.repository);
        layout->text(parts.repository);
      }
      for (const auto& file : parts.snippets) {
        layout->control(format.separator);
        layout->text(file.path + "\n" + file.text);
      }
      if (!parts.path.empty()) layout->control(format.separator);
      break;
    case FileHeader::kSeparated:
      for (const auto& file : parts.snippets) {
        layout->text(file.path + "\n" + file.text);
        layout->control(format.separator);
      }
      if (!parts.path.empty()) layout->text(parts.path + "\n");
      break;
    case FileHeader::kHashComment:
    case FileHeader::kPlusLine:
      break;  // part of the prefix
  }
}

void add_prefix(const FimFormat& format, const PromptParts& parts, Layout* layout) {
  layout->control(format.prefix);
  const std::string_view mark = format.header == FileHeader::kHashComment ? "#" : "+++++ ";
  switch (format.header) {
    case FileHeader::kInsidePrefix:
      if (!parts.path.empty()) layout->text(parts.path + "\n");
      break;
    case FileHeader::kHashComment:
    case FileHeader::kPlusLine:
      for (const auto& file : parts.snippets) {
        layout->text(mark);
        layout->text(file.path + "\n" + file.text + "\n");
      }
      if (!parts.path.empty()) {
        layout->text(mark);
        layout->text(parts.path + "\n");
      }
      break;
    default:
      break;
  }
  layout->text(parts.prefix);
}

void add_suffix(const FimFormat& format, const PromptParts& parts, Layout* layout) {
  layout->control(format.suffix);
  layout->text(parts.suffix);
}

}  // namespace

FimFormat choose_fim_format(const ModelInfo& model) {
  const Vocabulary vocabulary(model.control_tokens);
  const std::string identity = lower(model.name) + "\n" + lower(model.architecture);
  for (const Row& row : kRows) {
    if (fits(row, vocabulary, identity)) return resolve(row, vocabulary, model);
  }
  return {};  // not reached: the last row fits every model
}

std::vector<std::string_view> fim_families() {
  std::vector<std::string_view> names;
  for (const Row& row : kRows) names.push_back(row.name);
  return names;
}

Prompt render_prompt(const FimFormat& format, const PromptParts& parts) {
  Layout layout;
  layout.control(format.begin);
  add_snippets(format, parts, &layout);
  switch (format.order) {
    case FimOrder::kPrefixSuffixMiddle:
      add_prefix(format, parts, &layout);
      add_suffix(format, parts, &layout);
      break;
    case FimOrder::kSuffixPrefixMiddle:
      add_suffix(format, parts, &layout);
      add_prefix(format, parts, &layout);
      break;
    case FimOrder::kPrefixOnly:
      add_prefix(format, parts, &layout);
      break;
  }
  layout.control(format.middle);
  layout.text(parts.typed);
  return layout.take();
}

Prompt render_reading(const FimFormat& format, const PromptParts& parts, std::string text) {
  if (format.order == FimOrder::kSuffixPrefixMiddle) return {};
  Layout layout;
  layout.control(format.begin);
  add_snippets(format, parts, &layout);
  add_prefix(format, parts, &layout);
  Prompt prompt = layout.take();
  prompt.push_back(
      text_segment(std::move(text)));  // apart from the prefix, whose tokens are shared
  return prompt;
}

bool ends_in_text(const Prompt& prompt) {
  return !prompt.empty() && prompt.back().kind == PromptSegment::Kind::kText;
}

std::string spell_out(const Prompt& prompt) {
  std::string out;
  for (const PromptSegment& segment : prompt) out += segment.text;
  return out;
}

}  // namespace fimd
