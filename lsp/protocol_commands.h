// The structures of fimd's commands: workspace/executeCommand with fimd.explain and its like, and
// textDocument/codeAction, which offers them. docs/protocol.md describes them.
//
// Thread: plain values.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "context/document.h"
#include "lsp/binder.h"
#include "support/result.h"

namespace fimd::lsp {

struct DiagnosticParams {
  Range range;
  int64_t severity = 0;  // 1 error, 2 warning, 3 information, 4 hint; 0: not told
  std::string message;
  std::string source;
  RawJson raw;  // as the client sent it
};

/// arguments[0] of a command.
struct CommandParams {
  std::string uri;
  std::optional<int64_t> version;
  Range range;
  std::string instruction;
  std::vector<DiagnosticParams> diagnostics;
  std::optional<RawJson> partial_result_token;
};
Status decode(const Json& json, CommandParams* out);

/// The result of a command.
struct CommandAnswer {
  bool is_edit = false;
  std::string text;  // Markdown, or newText
  bool truncated = false;
  std::string title;
  std::string uri;
  int64_t version = 0;
  Range range;
};
std::string encode(const CommandAnswer& answer);

/// $/progress with the partial result of a command: start, then text.
struct CommandProgress {
  RawJson token;
  std::string kind;
  std::string text;
};
std::string encode(const CommandProgress& progress);

/// $/progress for the work-done token of a request.
struct RequestProgress {
  RawJson token;
  std::string kind;  // begin, report, end
  std::string title;
  std::string message;
};
std::string encode(const RequestProgress& progress);

/// window/workDoneProgress/cancel.
struct CancelProgressParams {
  RawJson token;
};
Status decode(const Json& json, CancelProgressParams* out);

struct CodeActionParams {
  std::string uri;
  Range range;
  std::vector<DiagnosticParams> diagnostics;
  std::optional<std::vector<std::string>> only;
  bool automatic = false;  // triggerKind 2
};
Status decode(const Json& json, CodeActionParams* out);

struct CodeAction {
  std::string title;
  std::string kind;
  std::string command;
  std::string uri;
  Range range;
  std::vector<RawJson> diagnostics;
};
struct CodeActionList {
  std::vector<CodeAction> actions;
};
std::string encode(const CodeActionList& list);

}  // namespace fimd::lsp
