#include "lsp/proxy_shadow.h"

#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "lsp/json_text.h"
#include "lsp/protocol.h"
#include "support/log.h"

namespace fimd::lsp {
namespace {

using nlohmann::json;

constexpr size_t kMaxPendingChanges = 256;
constexpr size_t kMaxPendingBytes = size_t{1} << 20;

std::string notification(const char* method, json params) {
  return dump_json({{"jsonrpc", "2.0"}, {"method", method}, {"params", std::move(params)}});
}

}  // namespace

struct Shadow::OpenDocument {
  std::string language_id;
  DocumentPtr text;  // without syntax: its language and path are not told
  int64_t version = 0;
  std::vector<std::pair<int64_t, std::vector<TextChange>>> changes;  // after `text`, by version
  size_t change_bytes = 0;
  bool lost = false;  // a change did not fit: only a new didOpen helps

  void settle(PositionEncoding encoding) {
    for (const auto& [to_version, list] : changes) {
      auto next = text->apply(list, to_version, encoding);
      if (!next.ok()) {
        lost = true;
        break;
      }
      text = *next;
    }
    changes.clear();
    change_bytes = 0;
  }
};

struct Shadow::State {
  std::optional<json> initialize;  // its parameters, folders kept up to date
  bool initialized = false;
  PositionEncoding encoding = PositionEncoding::kUtf16;
  std::optional<json> settings;  // of the last didChangeConfiguration
  std::optional<json> trace;
  std::map<std::string, OpenDocument, std::less<>> documents;

  void open(const json& params) {
    DidOpenParams open;
    if (!decode(params, &open).ok()) return;
    OpenDocument document;
    document.language_id = open.language_id;
    document.version = open.version;
    document.text = Document::open("shadow:", "plaintext", open.version, std::move(open.text));
    documents[open.uri] = std::move(document);
  }

  void change(const json& params) {
    DidChangeParams change;
    if (!decode(params, &change).ok()) return;
    const auto it = documents.find(change.uri);
    if (it == documents.end()) return;
    OpenDocument& document = it->second;
    document.version = change.version.value_or(document.version + 1);
    for (const TextChange& one : change.changes) document.change_bytes += one.text.size();
    document.changes.emplace_back(document.version, std::move(change.changes));
    if (document.changes.size() > kMaxPendingChanges || document.change_bytes > kMaxPendingBytes) {
      document.settle(encoding);
    }
  }

  void change_folders(const json& params) {
    FoldersChange change;
    if (!initialize || !decode(params, &change).ok()) return;
    json& folders = (*initialize)["workspaceFolders"];
    json kept = json::array();
    if (folders.is_array()) {
      for (const json& folder : folders) {
        bool removed = false;
        for (const auto& gone : change.removed) {
          removed = removed || string_member(folder, "uri") == gone.uri;
        }
        if (!removed) kept.push_back(folder);
      }
    }
    for (const auto& folder : change.added) {
      kept.push_back({{"uri", folder.uri}, {"name", folder.name}});
    }
    folders = std::move(kept);
  }
};

Shadow::Shadow() : state_(std::make_unique<State>()) {}
Shadow::~Shadow() = default;

void Shadow::editor_said(const std::string& method, const json& params) {
  if (method == "initialize") {
    if (!state_->initialize && params.is_object()) state_->initialize = params;
  } else if (method == "initialized") {
    state_->initialized = true;
  } else if (method == "textDocument/didOpen") {
    state_->open(params);
  } else if (method == "textDocument/didChange") {
    state_->change(params);
  } else if (method == "textDocument/didClose") {
    DocumentParams close;
    if (decode(params, &close).ok()) state_->documents.erase(close.uri);
  } else if (method == "workspace/didChangeConfiguration") {
    state_->settings = params;
  } else if (method == "workspace/didChangeWorkspaceFolders") {
    state_->change_folders(params);
  } else if (method == "$/setTrace") {
    state_->trace = params;
  }
}

void Shadow::initialized_with(const json& result) {
  if (!result.is_object() || !result.contains("capabilities")) return;
  const std::string name = string_member(result["capabilities"], "positionEncoding");
  for (const auto encoding :
       {PositionEncoding::kUtf8, PositionEncoding::kUtf16, PositionEncoding::kUtf32}) {
    if (name == encoding_name(encoding)) state_->encoding = encoding;
  }
}

bool Shadow::has_initialize() const { return state_->initialize.has_value(); }

std::vector<std::string> Shadow::replay(const std::string& init_id, bool fresh) {
  std::vector<std::string> out;
  if (!state_->initialize) return out;
  json params = *state_->initialize;
  if (!fresh) {
    // The editor goes on in the encoding that was agreed on, whatever a newer daemon prefers.
    json& capabilities = params["capabilities"];
    if (!capabilities.is_object()) capabilities = json::object();
    json& general = capabilities["general"];
    if (!general.is_object()) general = json::object();
    general["positionEncodings"] = {encoding_name(state_->encoding)};
  }
  out.push_back(R"({"jsonrpc":"2.0","id":)" + init_id + R"(,"method":"initialize","params":)" +
                dump_json(params) + "}");
  if (!state_->initialized) return out;
  out.push_back(notification("initialized", json::object()));
  if (state_->trace) out.push_back(notification("$/setTrace", *state_->trace));
  if (state_->settings) {
    out.push_back(notification("workspace/didChangeConfiguration", *state_->settings));
  }
  for (auto& [uri, document] : state_->documents) {
    document.settle(state_->encoding);
    if (document.lost) {
      log::warn("a document whose text is not known is left out");
      continue;
    }
    out.push_back(notification("textDocument/didOpen", {{"textDocument",
                                                         {{"uri", uri},
                                                          {"languageId", document.language_id},
                                                          {"version", document.version},
                                                          {"text", document.text->text()}}}}));
  }
  return out;
}

std::optional<int64_t> Shadow::version(std::string_view uri) const {
  const auto it = state_->documents.find(uri);
  if (it == state_->documents.end()) return std::nullopt;
  return it->second.version;
}

}  // namespace fimd::lsp
