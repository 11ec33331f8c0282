// fix: repairs a piece of code, guided by what the editor's other servers say about it.
#include "completion/commands/command.h"

namespace fimd {
namespace {

constexpr size_t kMaxDiagnostics = 20;
constexpr size_t kMaxMessage = 400;

/// Compilers like to go on over several lines.
std::string flat(std::string_view message) {
  std::string out;
  for (const char c : message) {
    const bool blank = c == ' ' || c == '\t' || c == '\n' || c == '\r';
    if (!blank) {
      out += c;
    } else if (!out.ends_with(' ')) {
      out += ' ';
    }
  }
  return one_line(out, kMaxMessage);
}

std::string described(const Diagnostic& diagnostic, const Document& document) {
  std::string text = "- line " + std::to_string(diagnostic.line + 1);
  if (diagnostic.line < document.line_count()) {
    if (const std::string line = one_line(document.line_text(diagnostic.line), 120); !line.empty())
      text += ", `" + line + "`";
  }
  text += ": ";
  if (!diagnostic.severity.empty()) text += diagnostic.severity + ": ";
  text += flat(diagnostic.message);
  if (!diagnostic.source.empty()) text += " (" + one_line(diagnostic.source) + ")";
  return text;
}

std::string task(const CommandRequest& request, const CommandTarget& target) {
  std::string text;
  if (request.diagnostics.empty()) {
    text = "There is a mistake in " + called(target) + ". Find and correct it.";
  } else {
    text = "These problems were reported in " + called(target) + ":\n";
    size_t listed = 0;
    for (const Diagnostic& diagnostic : request.diagnostics) {
      if (listed++ == kMaxDiagnostics) break;
      text += described(diagnostic, *request.document) + "\n";
    }
    text += "\nCorrect them.";
  }
  if (!request.instruction.empty()) text += " " + request.instruction;
  return text +
         "\n\nChange no more than that takes. Answer with the whole of the code in question, "
         "corrected, in one code block, and nothing else. Leave nothing out.";
}

std::string edit_title(const CommandRequest& request, const CommandTarget& target) {
  if (!request.diagnostics.empty()) return "Fix: " + one_line(request.diagnostics.front().message);
  if (!request.instruction.empty()) return "Fix: " + one_line(request.instruction);
  return target.name.empty() ? "Fix" : "Fix " + target.name;
}

}  // namespace

CodeCommand fix_spec() {
  return {.name = "fix",
          .title = "Fix with fimd",
          .kind = "quickfix",
          .answer = CodeCommand::Answer::kCode,
          .task = task,
          .edit_title = edit_title};
}

}  // namespace fimd
