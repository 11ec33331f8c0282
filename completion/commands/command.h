// What a command of the daemon is asked and what it answers: explain, refactor, fix, document,
// review. One file per command in this folder and one row in registry.cc.
//
// Thread: plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "context/document.h"

namespace fimd {

/// What a compiler or linter of the editor says about the code.
struct Diagnostic {
  size_t line = 0;       // zero-based
  std::string severity;  // "error", "warning", ...; may be empty
  std::string message;
  std::string source;  // "pyright"; may be empty
};

struct CommandRequest {
  std::string command;  // "explain"
  DocumentPtr document;
  /// Bytes of the document. Empty: the code around it.
  size_t begin = 0;
  size_t end = 0;
  std::string instruction;
  std::vector<Diagnostic> diagnostics;
};

/// Markdown to read, or new text for the lines that bytes [begin, end) of the request's document
/// cover.
struct CommandResult {
  enum class Kind { kMarkdown, kEdit };
  Kind kind = Kind::kMarkdown;
  std::string text;        // the Markdown, or the new text with the document's line breaks
  bool truncated = false;  // the Markdown reached its limit
  std::string title;       // of the edit
  size_t begin = 0;
  size_t end = 0;
};

/// The code a command is about, as its task is told.
struct CommandTarget {
  std::string name;           // of the function or class, if it is one
  std::string_view language;  // "python"; "" if unknown
  size_t first_line = 0;      // zero-based
  size_t last_line = 0;
};

/// A row of the table.
struct CodeCommand {
  enum class Answer {
    kMarkdown,  // as the model writes it
    kCode,      // a code block that replaces the code in question
    kComment,   // documentation, put where the language has it
  };
  std::string_view name;   // the LSP command is "fimd." + name
  std::string_view title;  // of the code action
  std::string_view kind;   // of the code action, as LSP names them; may be empty
  Answer answer = Answer::kMarkdown;
  bool needs_instruction = false;
  int max_tokens = 1024;  // of an answer that is not code
  /// The end of the prompt: what to do.
  std::string (*task)(const CommandRequest& request, const CommandTarget& target) = nullptr;
  /// Of the edit, in a menu or a diff's head line.
  std::string (*edit_title)(const CommandRequest& request, const CommandTarget& target) = nullptr;
};

std::span<const CodeCommand> all_code_commands();
/// Null if there is none of that name.
const CodeCommand* find_code_command(std::string_view name);

// One function per command; each lives in a file of its own name.
CodeCommand explain_spec();
CodeCommand refactor_spec();
CodeCommand fix_spec();
CodeCommand document_spec();
CodeCommand review_spec();

/// "`name`" or "the code", to speak of it.
std::string called(const CommandTarget& target);
/// `text` cut to one short line.
std::string one_line(std::string_view text, size_t limit = 60);

}  // namespace fimd
