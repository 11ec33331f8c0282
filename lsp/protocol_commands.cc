#include "lsp/protocol_commands.h"

#include <nlohmann/json.hpp>

#include "lsp/json_reader.h"
#include "lsp/json_text.h"

namespace fimd::lsp {
namespace {

constexpr size_t kMaxDiagnostics = 100;

Json to_json(const Position& p) { return {{"line", p.line}, {"character", p.character}}; }
Json to_json(const Range& r) { return {{"start", to_json(r.start)}, {"end", to_json(r.end)}}; }

void read_diagnostics(Reader* reader, std::vector<DiagnosticParams>* out) {
  const Json* list = reader->find("diagnostics");
  if (list == nullptr) return;
  if (!list->is_array()) return reader->fail(reader->name("diagnostics") + " must be an array");
  for (const Json& entry : *list) {
    if (out->size() == kMaxDiagnostics) return;
    Reader inner(entry, reader->name("diagnostics") + "[]");
    DiagnosticParams diagnostic;
    inner.object("range", &diagnostic.range);
    inner.integer("severity", &diagnostic.severity, false);
    if (const Json* message = inner.find("message"); message != nullptr && message->is_object()) {
      Reader(*message, "message").string("value", &diagnostic.message);  // LSP 3.18's markup
    } else {
      inner.string("message", &diagnostic.message);
    }
    inner.string("source", &diagnostic.source, false);
    diagnostic.raw.text = dump_json(entry);
    reader->merge(inner.status());
    out->push_back(std::move(diagnostic));
  }
}

}  // namespace

Status decode(const Json& json, CommandParams* out) {
  Reader reader(json, "arguments[0]");
  reader.document(&out->uri);
  if (const Json* document = reader.find("textDocument"); document && document->is_object()) {
    Reader inner(*document, "arguments[0].textDocument");
    inner.optional_integer("version", &out->version);
    reader.merge(inner.status());
  }
  reader.object("range", &out->range);
  reader.string("instruction", &out->instruction, false);
  read_diagnostics(&reader, &out->diagnostics);
  if (const Json* token = reader.find("partialResultToken")) {
    if (token->is_string() || token->is_number_integer()) {
      out->partial_result_token = RawJson{dump_json(*token)};
    } else {
      reader.fail("arguments[0].partialResultToken must be a string or an integer");
    }
  }
  return reader.status();
}

std::string encode(const CommandAnswer& answer) {
  if (!answer.is_edit) {
    return dump_json(
        {{"kind", "markdown"}, {"text", answer.text}, {"truncated", answer.truncated}});
  }
  return dump_json({{"kind", "edit"},
                    {"title", answer.title},
                    {"textDocument", {{"uri", answer.uri}, {"version", answer.version}}},
                    {"range", to_json(answer.range)},
                    {"newText", answer.text}});
}

std::string encode(const CommandProgress& progress) {
  Json value = {{"kind", progress.kind}};
  if (progress.kind == "text") value["text"] = progress.text;
  return R"({"token":)" + progress.token.text + R"(,"value":)" + dump_json(value) + "}";
}

std::string encode(const RequestProgress& progress) {
  Json value = {{"kind", progress.kind}};
  if (!progress.title.empty()) value["title"] = progress.title;
  if (!progress.message.empty()) value["message"] = progress.message;
  if (progress.kind == "begin") value["cancellable"] = true;
  return R"({"token":)" + progress.token.text + R"(,"value":)" + dump_json(value) + "}";
}

Status decode(const Json& json, CancelProgressParams* out) {
  Reader reader(json, "params");
  if (const Json* token = reader.need("token")) out->token.text = dump_json(*token);
  return reader.status();
}

Status decode(const Json& json, CodeActionParams* out) {
  Reader reader(json, "params");
  reader.document(&out->uri);
  reader.object("range", &out->range);
  if (const Json* context = reader.find("context")) {
    Reader inner(*context, "params.context");
    read_diagnostics(&inner, &out->diagnostics);
    if (const Json* only = inner.find("only"); only != nullptr && only->is_array()) {
      out->only.emplace();
      for (const Json& kind : *only) {
        if (kind.is_string()) out->only->push_back(kind.get<std::string>());
      }
    }
    int64_t trigger = 1;
    inner.integer("triggerKind", &trigger, false);
    out->automatic = trigger == 2;
    reader.merge(inner.status());
  }
  return reader.status();
}

std::string encode(const CodeActionList& list) {
  std::string out = "[";
  for (const CodeAction& action : list.actions) {
    std::string diagnostics;
    for (const RawJson& diagnostic : action.diagnostics) {
      diagnostics += (diagnostics.empty() ? "" : ",") + diagnostic.text;
    }
    const std::string with_diagnostics =
        action.diagnostics.empty() ? "" : R"(,"diagnostics":[)" + diagnostics + "]";
    const std::string argument = R"({"textDocument":{"uri":)" + quote_json(action.uri) +
                                 R"(},"range":)" + dump_json(to_json(action.range)) +
                                 with_diagnostics + "}";
    if (out.size() > 1) out += ",";
    out += R"({"title":)" + quote_json(action.title) + R"(,"kind":)" + quote_json(action.kind) +
           with_diagnostics + R"(,"command":{"title":)" + quote_json(action.title) +
           R"(,"command":)" + quote_json(action.command) + R"(,"arguments":[)" + argument + "]}}";
  }
  return out + "]";
}

}  // namespace fimd::lsp
