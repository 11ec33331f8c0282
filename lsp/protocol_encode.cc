#include <nlohmann/json.hpp>

#include "lsp/json_text.h"
#include "lsp/protocol.h"

namespace fimd::lsp {
namespace {

Json to_json(const Position& p) { return {{"line", p.line}, {"character", p.character}}; }
Json to_json(const Range& r) { return {{"start", to_json(r.start)}, {"end", to_json(r.end)}}; }

Json to_json(const Command& c) {
  return {{"title", c.title}, {"command", c.command}, {"arguments", {c.id, c.bytes}}};
}

Json to_json(const InlineCompletionItem& item) {
  Json json = {{"insertText", item.insert_text}, {"range", to_json(item.range)}};
  if (!item.filter_text.empty()) json["filterText"] = item.filter_text;
  if (!item.command.command.empty()) json["command"] = to_json(item.command);
  return json;
}

Json to_json(const std::vector<InlineCompletionItem>& items) {
  Json list = Json::array();
  for (const auto& item : items) list.push_back(to_json(item));
  return list;
}

}  // namespace

const char* encoding_name(PositionEncoding encoding) {
  switch (encoding) {
    case PositionEncoding::kUtf8:
      return "utf-8";
    case PositionEncoding::kUtf16:
      return "utf-16";
    case PositionEncoding::kUtf32:
      return "utf-32";
  }
  return "utf-16";
}

std::string encode(const InitializeResult& result) {
  Json capabilities = {
      {"positionEncoding", encoding_name(result.encoding)},
      {"textDocumentSync",
       {{"openClose", true}, {"change", 2}, {"save", {{"includeText", false}}}}},
      {"executeCommandProvider", {{"commands", result.commands}, {"workDoneProgress", true}}},
      {"workspace", {{"workspaceFolders", {{"supported", true}, {"changeNotifications", true}}}}}};
  if (result.inline_completion) capabilities["inlineCompletionProvider"] = Json::object();
  if (!result.code_action_kinds.empty()) {
    capabilities["codeActionProvider"] = {{"codeActionKinds", result.code_action_kinds}};
  }
  if (result.completion) {
    capabilities["completionProvider"] = {{"triggerCharacters", result.completion_triggers},
                                          {"resolveProvider", false}};
  }
  return dump_json({{"capabilities", std::move(capabilities)},
                    {"serverInfo", {{"name", "fimd"}, {"version", result.server_version}}}});
}

std::string encode(const InlineCompletionList& list) {
  if (list.items.empty() && list.null_if_empty) return "null";
  return dump_json({{"items", to_json(list.items)}});
}

std::string encode(const PartialItems& partial) {
  return R"({"token":)" + partial.token.text + R"(,"value":)" + dump_json(to_json(partial.items)) +
         "}";
}

std::string encode(const CompletionList& list) {
  constexpr int kSnippetKind = 15;
  constexpr int kAsIs = 1;  // InsertTextMode: do not re-indent further lines
  Json items = Json::array();
  for (const auto& item : list.items) {
    Json json = {{"label", item.label},
                 {"kind", kSnippetKind},
                 {"detail", item.detail},
                 {"filterText", item.filter_text},
                 {"sortText", item.sort_text},
                 {"preselect", item.preselect},
                 {"insertTextMode", kAsIs},
                 {"textEdit", {{"range", to_json(item.range)}, {"newText", item.new_text}}}};
    if (!item.documentation.empty()) {
      json["documentation"] = {{"kind", "markdown"}, {"value", item.documentation}};
    }
    if (!item.command.command.empty()) json["command"] = to_json(item.command);
    items.push_back(std::move(json));
  }
  // Incomplete: the next character typed deserves a new look.
  return dump_json({{"isIncomplete", true}, {"items", std::move(items)}});
}

std::string encode(const LogTraceParams& params) {
  Json json = {{"message", params.message}};
  if (!params.verbose.empty()) json["verbose"] = params.verbose;
  return dump_json(json);
}

std::string encode(const MessageParams& params) {
  return dump_json({{"type", static_cast<int>(params.type)}, {"message", params.message}});
}

std::string encode(const ProgressToken& token) { return dump_json({{"token", token.token}}); }

std::string encode(const WorkDoneProgress& progress) {
  Json value = {{"kind", progress.kind}};
  if (!progress.title.empty()) value["title"] = progress.title;
  if (!progress.message.empty()) value["message"] = progress.message;
  if (progress.percentage) value["percentage"] = *progress.percentage;
  if (progress.kind == "begin") value["cancellable"] = false;
  return dump_json({{"token", progress.token}, {"value", std::move(value)}});
}

std::string encode(const ConfigurationParams& params) {
  return dump_json({{"items", Json::array({{{"section", params.section}}})}});
}

std::string encode(const Registration& registration) {
  Json entry = {{"id", registration.id}, {"method", registration.method}};
  if (!registration.section.empty()) {
    entry["registerOptions"] = {{"section", registration.section}};
  }
  return dump_json({{"registrations", Json::array({std::move(entry)})}});
}

}  // namespace fimd::lsp
