// FimFormat: how a family of models wants a fill-in-the-middle prompt laid out.
//
// One table serves every family; a model's row is chosen from its own metadata (the control tokens
// in its vocabulary, then its architecture and name). Pure functions, any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/generator.h"

namespace fimd {

/// The text of a prompt before it is laid out, cut to its budgets.
struct PromptParts {
  struct File {
    std::string path;
    std::string text;  // whole lines, without the last line break

    friend bool operator==(const File&, const File&) = default;
  };
  std::string repository;      // name of the workspace folder; may be empty
  std::string path;            // of the current file, relative to that folder; may be empty
  std::vector<File> snippets;  // least relevant first
  std::string prefix;          // whole lines
  std::string typed;           // from there up to the cursor
  std::string suffix;          // from the cursor on

  friend bool operator==(const PromptParts&, const PromptParts&) = default;
};

enum class FimOrder {
  kPrefixSuffixMiddle,  // suffix between prefix and typed part
  kSuffixPrefixMiddle,  // suffix first
  kPrefixOnly,          // no infilling: the suffix is left out
};

/// Where paths and snippets go.
enum class FileHeader {
  kNone,           // the family documents no form for several files: snippets are left out
  kRepository,     // <repo>R\n<sep>path\ntext\n ... <sep>path\n then the markers
  kInsidePrefix,   // <repo>R<sep>path\ntext ... <sep> then the markers, path\n inside the prefix
  kSeparated,      // path\ntext<sep> ... path\n then the markers
  kFileNameToken,  // <sep>path\ntext\n ... <sep>path\n then the markers
  kHashComment,    // #path\ntext\n ... #path\n as text inside the prefix
  kPlusLine,       // +++++ path\ntext\n ... +++++ path\n as text inside the prefix
};

/// A row of the table, its spellings resolved against one model's vocabulary.
struct FimFormat {
  std::string name;  // the family
  FimOrder order = FimOrder::kPrefixOnly;
  FileHeader header = FileHeader::kNone;
  std::string begin;   // control token that starts every prompt; may be empty
  std::string prefix;  // control tokens
  std::string suffix;
  std::string middle;  // empty where the completion follows the prefix directly
  std::string repository;
  std::string separator;
  std::vector<std::string> stop_controls;  // those the model has

  bool takes_snippets() const { return header != FileHeader::kNone; }
  bool takes_suffix() const { return order != FimOrder::kPrefixOnly; }
};

/// The format of a model. One without infilling tokens gets the row "plain": left-to-right
/// completion of the prefix.
FimFormat choose_fim_format(const ModelInfo& model);

/// Names of all families in the table, for messages.
std::vector<std::string_view> fim_families();

/// Lays out a prompt, stable parts first. The last segment is the text that the model continues,
/// or a control token if nothing has been typed on the line.
Prompt render_prompt(const FimFormat& format, const PromptParts& parts);

/// What stands before the cursor and then `text`, to be read from left to right: it begins with the
/// same tokens as render_prompt() up to the suffix. Empty where the suffix comes first.
Prompt render_reading(const FimFormat& format, const PromptParts& parts, std::string text);

/// Whether `prompt` ends in text, so that token healing applies.
bool ends_in_text(const Prompt& prompt);

/// The prompt as one string, control tokens spelled out.
std::string spell_out(const Prompt& prompt);

}  // namespace fimd
