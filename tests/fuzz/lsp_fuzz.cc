// What a client sends: framing, JSON, every kind of parameters, and edits of a document.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "context/document.h"
#include "lsp/framing.h"
#include "lsp/json_text.h"
#include "lsp/protocol.h"

namespace fimd::lsp {
namespace {

constexpr FramingLimits kLimits = {
    .max_header_bytes = 256, .max_body_bytes = 4096, .max_errors_in_a_row = 4};

/// Events of `bytes` fed in pieces of the lengths that `seed` gives, or at once if it is 0.
std::vector<FrameEvent> frames(std::string_view bytes, uint32_t seed) {
  std::vector<FrameEvent> events;
  MessageFramer framer(kLimits);
  while (!bytes.empty()) {
    seed = seed * 1664525 + (seed == 0 ? 0 : 1013904223);
    const size_t n = seed == 0 ? bytes.size() : 1 + (seed >> 16) % 7;
    framer.feed(bytes.substr(0, n),
                [&events](FrameEvent event) { events.push_back(std::move(event)); });
    bytes.remove_prefix(std::min(n, bytes.size()));
  }
  return events;
}

template <class Params>
void decode_one(const Json& json) {
  Params params;
  (void)decode(json, &params);
}

template <class... Params>
void decode_as(const Json& json) {
  (decode_one<Params>(json), ...);
}

/// After any edit the document is what opening its text afresh gives.
void check_document(const Document& document) {
  const auto fresh = Document::open(document.uri(), document.language_id(), 0, document.text());
  if (fresh->text() != document.text() || fresh->line_count() != document.line_count()) {
    std::abort();
  }
  for (size_t line = 0; line < fresh->line_count(); ++line) {
    if (fresh->line_start(line) != document.line_start(line)) std::abort();
    if (fresh->line_end(line) < fresh->line_start(line)) std::abort();
  }
}

void handle(const Json& message, DocumentPtr* document) {
  if (!message.is_object()) return;
  const std::string method = string_member(message, "method");
  const auto found = message.find("params");
  const Json params = found == message.end() ? Json() : *found;
  decode_as<InitializeParams, DocumentParams, InlineCompletionParams, CompletionParams,
            ExecuteCommandParams, CommandParams, CodeActionParams, ShownItemParams, FoldersChange,
            SettingsParams, SetTraceParams>(params);
  DidOpenParams open;
  if (decode(params, &open).ok() && method == "textDocument/didOpen") {
    *document = Document::open(open.uri, open.language_id, open.version, open.text);
    check_document(**document);
  }
  DidChangeParams change;
  if (decode(params, &change).ok() && method == "textDocument/didChange" && *document != nullptr) {
    for (const auto encoding :
         {PositionEncoding::kUtf8, PositionEncoding::kUtf16, PositionEncoding::kUtf32}) {
      const auto changed = (*document)->apply(change.changes, 2, encoding);
      if (!changed.ok()) continue;
      check_document(**changed);
      *document = *changed;
    }
  }
  InlineCompletionParams request;
  if (decode(params, &request).ok() && *document != nullptr) {
    const auto offset = (*document)->offset_at(request.position, PositionEncoding::kUtf16);
    if (offset.ok() && *offset > (*document)->text().size()) std::abort();
  }
}

void run(std::string_view bytes) {
  const std::vector<FrameEvent> events = frames(bytes, 0);
  const std::vector<FrameEvent> split = frames(bytes, static_cast<uint32_t>(bytes.size()) | 1);
  if (events.size() != split.size()) std::abort();
  DocumentPtr document;
  for (size_t i = 0; i < events.size(); ++i) {
    if (events[i].kind != split[i].kind || events[i].text != split[i].text) std::abort();
    if (events[i].kind != FrameEvent::Kind::kMessage) continue;
    if (const auto message = parse_json(events[i].text); message.ok()) {
      handle(*message, &document);
      (void)dump_json(*message);
    }
  }
}

}  // namespace
}  // namespace fimd::lsp

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fimd::lsp::run({reinterpret_cast<const char*>(data), size});
  return 0;
}
