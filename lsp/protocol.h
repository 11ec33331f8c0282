// The LSP 3.18 structures that fimd uses (its own are in protocol_fimd.h). Decoding checks types
// and ignores what it does not know; JSON itself stays in protocol_decode.cc and
// protocol_encode.cc.
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
#include "lsp/protocol_commands.h"
#include "support/result.h"

namespace fimd::lsp {

struct WorkspaceFolder {
  std::string uri;
  std::string name;
};

struct ClientCapabilities {
  std::vector<std::string> position_encodings;  // in the client's order; empty: utf-16
  bool inline_completion = false;               // lsp-mode says null: the key counts
  bool completion = false;
  bool work_done_progress = false;
  bool configuration = false;                     // workspace/configuration
  bool dynamic_did_change_configuration = false;  // wants to be asked for the notification
  bool workspace_folders = false;
  bool fimd_status = false;    // experimental.fimdStatus
  bool fimd_commands = false;  // experimental.fimdCommands: shows the results of our commands
};

struct InitializeParams {
  std::optional<int64_t> process_id;
  std::string client_name;
  std::string client_version;
  ClientCapabilities capabilities;
  std::vector<WorkspaceFolder> folders;  // workspaceFolders, else rootUri, else rootPath
  std::string trace = "off";
  RawJson initialization_options;
};
Status decode(const Json& json, InitializeParams* out);

struct InitializeResult {
  PositionEncoding encoding = PositionEncoding::kUtf16;
  bool inline_completion = true;
  bool completion = false;
  std::vector<std::string> completion_triggers;
  std::vector<std::string> commands;
  std::vector<std::string> code_action_kinds;  // empty: no code actions
  std::string server_version;
};
std::string encode(const InitializeResult& result);

const char* encoding_name(PositionEncoding encoding);

struct DidOpenParams {
  std::string uri;
  std::string language_id;
  int64_t version = 0;
  std::string text;
};
Status decode(const Json& json, DidOpenParams* out);

struct DidChangeParams {
  std::string uri;
  std::optional<int64_t> version;
  std::vector<TextChange> changes;
};
Status decode(const Json& json, DidChangeParams* out);

/// didSave, didClose, didFocus: only the document matters.
struct DocumentParams {
  std::string uri;  // empty in didFocus: no document has the focus
};
Status decode(const Json& json, DocumentParams* out);

struct InlineCompletionParams {
  std::string uri;
  std::optional<int64_t> version;  // sent by clients made for Copilot's server
  Position position;
  bool invoked = false;  // triggerKind 1
  struct Selected {
    Range range;
    std::string text;
  };
  std::optional<Selected> selected;
  std::optional<RawJson> partial_result_token;
  std::optional<RawJson> work_done_token;
};
Status decode(const Json& json, InlineCompletionParams* out);

struct Command {
  std::string title;
  std::string command;
  std::string id;     // arguments[0]: the suggestion
  int64_t bytes = 0;  // arguments[1]: of its text
};

struct InlineCompletionItem {
  std::string insert_text;
  std::string filter_text;
  Range range;
  Command command;
};

/// A reply to textDocument/inlineCompletion; nothing to show is `null`, which every client takes
/// silently.
struct InlineCompletionList {
  std::vector<InlineCompletionItem> items;
  bool null_if_empty = true;
};
std::string encode(const InlineCompletionList& list);

struct PartialItems {
  RawJson token;
  std::vector<InlineCompletionItem> items;
};
std::string encode(const PartialItems& partial);

struct CompletionParams {
  std::string uri;
  Position position;
  bool invoked = true;  // triggerKind 1; 2 is a trigger character, 3 a re-trigger while incomplete
  bool trigger_character = false;
};
Status decode(const Json& json, CompletionParams* out);

struct CompletionItem {
  std::string label;
  std::string detail;
  std::string documentation;  // the whole text, if it is more than the label
  std::string language_id;    // of the documentation's code block
  std::string filter_text;
  std::string sort_text;
  Range range;
  std::string new_text;
  bool preselect = false;
  Command command;
};
struct CompletionList {
  std::vector<CompletionItem> items;
};
std::string encode(const CompletionList& list);

struct ExecuteCommandParams {
  std::string command;
  std::string id;     // arguments[0], if a string
  int64_t bytes = 0;  // arguments[1], if a number
  /// arguments[0], if an object, and what is wrong with it.
  std::optional<CommandParams> argument;
  Status argument_status;
  std::optional<RawJson> work_done_token;
};
Status decode(const Json& json, ExecuteCommandParams* out);

/// textDocument/didShowCompletion and didPartiallyAcceptCompletion.
struct ShownItemParams {
  std::string id;               // item.command.arguments[0]
  std::string insert_text;      // item.insertText
  int64_t accepted_length = 0;  // UTF-16 units of insertText
};
Status decode(const Json& json, ShownItemParams* out);

struct FoldersChange {
  std::vector<WorkspaceFolder> added;
  std::vector<WorkspaceFolder> removed;
};
Status decode(const Json& json, FoldersChange* out);

struct SettingsParams {
  RawJson settings;
};
Status decode(const Json& json, SettingsParams* out);

struct SetTraceParams {
  std::string value;
};
Status decode(const Json& json, SetTraceParams* out);

struct LogTraceParams {
  std::string message;
  std::string verbose;
};
std::string encode(const LogTraceParams& params);

enum class MessageType { kError = 1, kWarning = 2, kInfo = 3, kLog = 4 };
struct MessageParams {
  MessageType type = MessageType::kInfo;
  std::string message;
};
std::string encode(const MessageParams& params);

/// window/workDoneProgress/create, and $/progress with a WorkDoneProgress value.
struct ProgressToken {
  std::string token;
};
std::string encode(const ProgressToken& token);
struct WorkDoneProgress {
  std::string token;
  std::string kind;  // begin, report, end
  std::string title;
  std::string message;
  std::optional<int> percentage;
};
std::string encode(const WorkDoneProgress& progress);

/// workspace/configuration for one section.
struct ConfigurationParams {
  std::string section;
};
std::string encode(const ConfigurationParams& params);

/// client/registerCapability of one method.
struct Registration {
  std::string id;
  std::string method;
  std::string section;  // of didChangeConfiguration
};
std::string encode(const Registration& registration);

}  // namespace fimd::lsp
