#include "lsp/protocol_fimd.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "completion/commands/chat_format.h"
#include "lsp/json_reader.h"
#include "lsp/json_text.h"

namespace fimd::lsp {
namespace {

Json to_json(const CompletionReport& report) {
  const GenerationStats& stats = report.stats;
  return {{"source", report.source},
          {"outcome", report.outcome},
          {"promptTokens", stats.prompt_tokens},
          {"cachedTokens", stats.cached_tokens},
          {"computedTokens", stats.prefilled_tokens},
          {"decodedTokens", stats.decoded_tokens},
          {"scoredTokens", stats.scored_tokens},
          {"gatherMs", report.gather_ms},
          {"queueMs", stats.queue_ms},
          {"tokenizeMs", stats.tokenize_ms},
          {"prefillMs", stats.prefill_ms},
          {"firstTextMs", report.first_text_ms},
          {"totalMs", report.total_ms}};
}

Json to_json(const PromptExplanation& explanation) {
  Json parts = Json::array();
  for (const auto& part : explanation.parts) {
    parts.push_back({{"name", part.name}, {"text", part.text}, {"tokens", part.tokens}});
  }
  return {{"parts", std::move(parts)},
          {"rendered", explanation.rendered},
          {"fimFormat", explanation.fim_format},
          {"multiLine", explanation.multi_line},
          {"modeReason", explanation.mode_reason}};
}

}  // namespace

std::string encode(const StatusParams& params) {
  Json json = {{"state", params.state},
               {"message", params.message},
               {"model", params.model},
               {"backend", params.backend},
               {"tokensPerSecond", params.tokens_per_second},
               {"cacheHitRate", params.cache_hit_rate},
               {"canChat", params.can_chat}};
  if (params.percent) json["percent"] = *params.percent;
  return dump_json(json);
}

std::string encode(const CopilotStatusParams& params) {
  return dump_json({{"busy", params.busy}, {"message", params.message}, {"kind", params.kind}});
}

std::string encode(const HelloResult& result) {
  return dump_json({{"version", result.version},
                    {"build", result.build},
                    {"protocol", result.protocol},
                    {"pid", result.pid},
                    {"editors", result.editors}});
}

std::string encode(const FimdCompleteParams& params) {
  return dump_json({{"path", params.path},
                    {"folder", params.folder},
                    {"languageId", params.language_id},
                    {"text", params.text},
                    {"offset", params.offset},
                    {"explain", params.explain},
                    {"candidates", params.candidates}});
}

Status decode(const Json& json, HelloResult* out) {
  Reader reader(json, "hello");
  int64_t protocol = 0;
  int64_t editors = 0;
  reader.string("version", &out->version);
  reader.string("build", &out->build, false);
  reader.integer("protocol", &protocol);
  reader.integer("pid", &out->pid);
  reader.integer("editors", &editors, false);
  out->protocol = static_cast<int>(protocol);
  out->editors = static_cast<int>(editors);
  return reader.status();
}

Status decode(const Json& json, FimdCompleteParams* out) {
  Reader reader(json, "params");
  int64_t candidates = 1;
  reader.string("path", &out->path, false);
  reader.string("folder", &out->folder, false);
  reader.string("languageId", &out->language_id, false);
  reader.string("text", &out->text);
  reader.integer("offset", &out->offset);
  reader.boolean("explain", &out->explain);
  reader.integer("candidates", &candidates, false);
  out->candidates = static_cast<int>(std::clamp<int64_t>(candidates, 1, 10));
  return reader.status();
}

std::string encode(const FimdCompleteResult& result) {
  Json suggestions = Json::array();
  for (const Suggestion& s : result.suggestions) {
    suggestions.push_back({{"text", s.text}, {"begin", s.begin}, {"end", s.end}});
  }
  Json json = {{"suggestions", std::move(suggestions)}, {"report", to_json(result.report)}};
  if (result.explanation) json["explanation"] = to_json(*result.explanation);
  return dump_json(json);
}

Status decode(const Json& json, PromptParams* out) {
  Reader reader(json, "params");
  reader.document(&out->uri);
  reader.object("position", &out->position);
  return reader.status();
}

std::string encode(const PromptResult& result) { return dump_json(to_json(result.explanation)); }

std::string encode(const ReportParams& params) {
  Json json = to_json(params.report);
  json["uri"] = params.uri;
  json["version"] = params.version;
  return dump_json(json);
}

std::string encode(const DaemonStatus& status) {
  Json editors = Json::array();
  for (const auto& editor : status.editors) {
    editors.push_back({{"client", editor.client}, {"documents", editor.documents}});
  }
  Json json = {{"version", status.version},
               {"build", status.build},
               {"pid", status.pid},
               {"uptimeS", status.uptime_s},
               {"socket", status.socket},
               {"state", status.state},
               {"message", status.message},
               {"progress", status.progress},
               {"editors", std::move(editors)},
               {"suggestions",
                {{"shown", status.usage.shown},
                 {"accepted", status.usage.accepted},
                 {"acceptedBytes", status.usage.accepted_bytes}}},
               {"engine",
                {{"activeRequests", status.engine.active_requests},
                 {"queuedRequests", status.engine.queued_requests},
                 {"kvBytesUsed", status.engine.kv_bytes_used},
                 {"kvBytesBudget", status.engine.kv_bytes_budget},
                 {"stateBytesUsed", status.engine.state_bytes_used},
                 {"stateBytesBudget", status.engine.state_bytes_budget},
                 {"promptTokens", status.engine.prompt_tokens},
                 {"cachedTokens", status.engine.cached_tokens},
                 {"decodedTokens", status.engine.decoded_tokens},
                 {"tokensPerSecond", status.engine.decode_tokens_per_second}}}};
  if (status.model) {
    json["model"] = {{"name", status.model->name},
                     {"architecture", status.model->architecture},
                     {"backend", status.model->backend},
                     {"path", status.model->path},
                     {"quantization", status.model->quantization},
                     {"parameters", status.model->parameters},
                     {"weightBytes", status.model->weight_bytes},
                     {"contextLength", status.model->context_length},
                     {"canChat", choose_chat_format(*status.model).has_value()}};
  }
  return dump_json(json);
}

}  // namespace fimd::lsp
