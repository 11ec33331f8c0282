#include <nlohmann/json.hpp>

#include "lsp/json_reader.h"
#include "lsp/json_text.h"
#include "lsp/protocol.h"

namespace fimd::lsp {
namespace {

std::vector<WorkspaceFolder> folders(const Json* list) {
  std::vector<WorkspaceFolder> out;
  if (list == nullptr || !list->is_array()) return out;
  for (const Json& entry : *list) {
    Reader reader(entry, "folder");
    WorkspaceFolder folder;
    reader.string("uri", &folder.uri);
    reader.string("name", &folder.name, false);
    if (reader.status().ok()) out.push_back(std::move(folder));
  }
  return out;
}

// capabilities.a.b.c, or null.
const Json* at_path(const Json* json, std::initializer_list<const char*> path) {
  for (const char* key : path) {
    if (json == nullptr || !json->is_object()) return nullptr;
    const auto it = json->find(key);
    if (it == json->end()) return nullptr;
    json = &*it;
  }
  return json;
}

bool flag_at(const Json* json, std::initializer_list<const char*> path) {
  const Json* value = at_path(json, path);
  return value != nullptr && value->is_boolean() && value->get<bool>();
}

ClientCapabilities capabilities(const Json* json) {
  ClientCapabilities out;
  const Json* encodings = at_path(json, {"general", "positionEncodings"});
  if (encodings != nullptr && encodings->is_array()) {
    for (const Json& name : *encodings) {
      if (name.is_string()) out.position_encodings.push_back(name.get<std::string>());
    }
  }
  out.inline_completion = at_path(json, {"textDocument", "inlineCompletion"}) != nullptr;
  out.completion = at_path(json, {"textDocument", "completion"}) != nullptr;
  out.work_done_progress = flag_at(json, {"window", "workDoneProgress"});
  out.configuration = flag_at(json, {"workspace", "configuration"});
  out.dynamic_did_change_configuration =
      flag_at(json, {"workspace", "didChangeConfiguration", "dynamicRegistration"});
  out.workspace_folders = flag_at(json, {"workspace", "workspaceFolders"});
  out.fimd_status = flag_at(json, {"experimental", "fimdStatus"});
  out.fimd_commands = flag_at(json, {"experimental", "fimdCommands"});
  return out;
}

// arguments[0] and [1] of one of our commands.
void command_arguments(const Json* arguments, std::string* id, int64_t* bytes) {
  if (arguments == nullptr || !arguments->is_array()) return;
  if (!arguments->empty() && (*arguments)[0].is_string()) *id = (*arguments)[0].get<std::string>();
  if (bytes != nullptr && arguments->size() > 1 && (*arguments)[1].is_number_integer()) {
    *bytes = (*arguments)[1].get<int64_t>();
  }
}

RawJson raw(const Json& json) { return {dump_json(json)}; }

}  // namespace

Status decode(const Json& json, InitializeParams* out) {
  Reader reader(json, "params");
  const Json* capability_json = reader.need("capabilities");
  if (capability_json != nullptr && !capability_json->is_object()) {
    reader.fail("params.capabilities must be an object");
  }
  reader.optional_integer("processId", &out->process_id);
  if (const Json* info = reader.find("clientInfo"); info != nullptr && info->is_object()) {
    Reader client(*info, "params.clientInfo");
    client.string("name", &out->client_name, false);
    client.string("version", &out->client_version, false);
  }
  out->capabilities = capabilities(capability_json);
  out->folders = folders(reader.find("workspaceFolders"));
  if (out->folders.empty()) {
    WorkspaceFolder root;
    reader.string("rootUri", &root.uri, false);
    if (root.uri.empty()) {
      std::string path;
      reader.string("rootPath", &path, false);
      if (!path.empty()) root.uri = "file://" + path;
    }
    if (!root.uri.empty()) out->folders.push_back(std::move(root));
  }
  reader.string("trace", &out->trace, false);
  if (const Json* options = reader.find("initializationOptions")) {
    out->initialization_options = raw(*options);
  }
  return reader.status();
}

Status decode(const Json& json, DidOpenParams* out) {
  Reader reader(json, "params");
  if (const Json* document = reader.need("textDocument")) {
    Reader inner(*document, "params.textDocument");
    inner.string("uri", &out->uri);
    inner.string("languageId", &out->language_id, false);
    inner.integer("version", &out->version, false);
    inner.string("text", &out->text);
    reader.merge(inner.status());
  }
  return reader.status();
}

Status decode(const Json& json, DidChangeParams* out) {
  Reader reader(json, "params");
  if (const Json* document = reader.need("textDocument")) {
    Reader inner(*document, "params.textDocument");
    inner.string("uri", &out->uri);
    inner.optional_integer("version", &out->version);
    reader.merge(inner.status());
  }
  const Json* changes = reader.need("contentChanges");
  if (changes != nullptr && !changes->is_array()) {
    reader.fail("params.contentChanges must be an array");
  } else if (changes != nullptr) {
    for (const Json& entry : *changes) {
      Reader change(entry, "params.contentChanges[]");
      TextChange next;
      change.string("text", &next.text);
      if (change.find("range") != nullptr) change.object("range", &next.range.emplace());
      reader.merge(change.status());
      out->changes.push_back(std::move(next));
    }
  }
  return reader.status();
}

Status decode(const Json& json, DocumentParams* out) {
  Reader reader(json, "params");
  if (reader.find("textDocument") != nullptr) {
    reader.document(&out->uri);
  } else {
    reader.string("uri", &out->uri, false);
  }
  return reader.status();
}

Status decode(const Json& json, InlineCompletionParams* out) {
  Reader reader(json, "params");
  reader.document(&out->uri);
  if (const Json* document = reader.find("textDocument")) {
    Reader(*document, "params.textDocument").optional_integer("version", &out->version);
  }
  reader.object("position", &out->position);
  if (const Json* context = reader.find("context")) {
    Reader inner(*context, "params.context");
    int64_t kind = 2;
    inner.integer("triggerKind", &kind, false);
    // LSP 3.18: Invoked = 1, Automatic = 2 (drafts had 0 and 1 the other way round).
    out->invoked = kind == 1;
    if (const Json* selected = inner.find("selectedCompletionInfo")) {
      Reader info(*selected, "params.context.selectedCompletionInfo");
      auto& target = out->selected.emplace();
      info.object("range", &target.range);
      info.string("text", &target.text);
      inner.merge(info.status());
    }
    reader.merge(inner.status());
  }
  if (const Json* token = reader.find("partialResultToken"))
    out->partial_result_token = raw(*token);
  if (const Json* token = reader.find("workDoneToken")) out->work_done_token = raw(*token);
  return reader.status();
}

Status decode(const Json& json, CompletionParams* out) {
  Reader reader(json, "params");
  reader.document(&out->uri);
  reader.object("position", &out->position);
  if (const Json* context = reader.find("context")) {
    Reader inner(*context, "params.context");
    int64_t kind = 1;
    inner.integer("triggerKind", &kind, false);
    out->invoked = kind == 1;
    out->trigger_character = kind == 2;
    reader.merge(inner.status());
  }
  return reader.status();
}

Status decode(const Json& json, ExecuteCommandParams* out) {
  Reader reader(json, "params");
  reader.string("command", &out->command);
  const Json* arguments = reader.find("arguments");
  command_arguments(arguments, &out->id, &out->bytes);
  if (arguments != nullptr && arguments->is_array() && !arguments->empty() &&
      arguments->front().is_object()) {
    out->argument_status = decode(arguments->front(), &out->argument.emplace());
  }
  if (const Json* token = reader.find("workDoneToken")) out->work_done_token = raw(*token);
  return reader.status();
}

Status decode(const Json& json, ShownItemParams* out) {
  Reader reader(json, "params");
  reader.integer("acceptedLength", &out->accepted_length, false);
  if (const Json* item = reader.need("item")) {
    Reader inner(*item, "params.item");
    if (const Json* text = inner.find("insertText"); text != nullptr && text->is_string()) {
      out->insert_text = text->get<std::string>();
    }
    if (const Json* command = inner.need("command"); command != nullptr && command->is_object()) {
      const auto arguments = command->find("arguments");
      command_arguments(arguments == command->end() ? nullptr : &*arguments, &out->id, nullptr);
    }
    if (out->id.empty()) inner.fail("params.item.command.arguments[0] must be the item's id");
    reader.merge(inner.status());
  }
  return reader.status();
}

Status decode(const Json& json, FoldersChange* out) {
  Reader reader(json, "params");
  if (const Json* event = reader.need("event")) {
    Reader inner(*event, "params.event");
    out->added = folders(inner.find("added"));
    out->removed = folders(inner.find("removed"));
    reader.merge(inner.status());
  }
  return reader.status();
}

Status decode(const Json& json, SettingsParams* out) {
  Reader reader(json, "params");
  if (const Json* settings = reader.find("settings")) out->settings = raw(*settings);
  return reader.status();
}

Status decode(const Json& json, SetTraceParams* out) {
  Reader reader(json, "params");
  reader.string("value", &out->value);
  return reader.status();
}

}  // namespace fimd::lsp
