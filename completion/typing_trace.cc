#include "completion/typing_trace.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "completion/completer.h"
#include "completion/task_queue.h"
#include "completion/text_util.h"
#include "context/workspace.h"

namespace fimd {
namespace {

struct Script {
  std::string text;                // the file without the lines to type
  size_t cursor = 0;               // where typing begins
  std::vector<std::string> lines;  // to type
};

Result<Script> make_script(const std::string& text, const TypingTraceOptions& options) {
  const std::string unix_text = with_unix_line_breaks(text);
  const std::vector<std::string_view> lines = split_lines(unix_text);
  const double share = std::clamp(options.place, 0.0, 1.0);
  auto first = static_cast<size_t>(share * static_cast<double>(lines.size()));
  first = std::min(first, lines.size() - 1);
  while (first < lines.size() && is_blank(lines[first])) ++first;
  if (first == lines.size()) {
    return Error{ErrorCode::kInvalidArgument, "there is nothing to type at that place of the file"};
  }
  Script script;
  size_t last = first;  // one past the lines that are typed
  for (size_t typed = 0; last < lines.size() && typed < options.lines; ++last) {
    script.lines.emplace_back(lines[last]);
    if (!is_blank(lines[last])) ++typed;
  }
  script.cursor = static_cast<size_t>(lines[first].data() - unix_text.data());
  const size_t end =
      static_cast<size_t>(lines[last - 1].data() - unix_text.data()) + lines[last - 1].size();
  script.text = unix_text;
  script.text.erase(script.cursor, end - script.cursor);
  return script;
}

class Typist {
 public:
  Typist(const std::shared_ptr<Generator>& generator, const TypingTraceOptions& options)
      : options_(options),
        completer_(make_completer([generator] { return generator; }, &workspace_, queue_.executor(),
                                  completion_options(options))) {}

  void open(const std::string& path, const std::string& language_id, const Script& script) {
    uri_ = "file://" + path;
    const size_t slash = path.rfind('/');
    if (slash != std::string::npos && slash > 0) workspace_.set_folders({path.substr(0, slash)});
    document_ = workspace_.open(uri_, language_id, 1, script.text);
    cursor_ = script.cursor;
  }

  Status type(const std::string& text) {
    const Position at = document_->position_at(cursor_, PositionEncoding::kUtf8);
    auto changed = workspace_.change(uri_, {{Range{at, at}, text}}, document_->version() + 1,
                                     PositionEncoding::kUtf8);
    if (!changed.ok()) return changed.error();
    document_ = *changed;
    cursor_ += text.size();
    completer_->document_changed(document_, cursor_);
    return {};
  }

  Result<TypingSample> request() {
    std::optional<Result<CompletionResult>> reply;
    CompletionRequest request;
    request.document = document_;
    request.offset = cursor_;
    completer_->complete(std::move(request), nullptr, [&reply](Result<CompletionResult> result) {
      reply.emplace(std::move(result));
    });
    // The completer itself gives up after its time limit.
    queue_.run_until([&reply] { return reply.has_value(); },
                     std::chrono::milliseconds(options_.timeout_ms + 10000));
    if (!reply) return Error{ErrorCode::kUnavailable, "no reply within the time limit"};
    if (!reply->ok()) return reply->error();
    const CompletionReport& report = (*reply)->report;
    TypingSample sample;
    sample.line = document_->line_of(cursor_);
    sample.typed = document_->text().substr(document_->line_start(sample.line),
                                            cursor_ - document_->line_start(sample.line));
    if (!(*reply)->suggestions.empty()) sample.shown = (*reply)->suggestions.front().text;
    sample.source = report.source;
    sample.prompt_tokens = report.stats.prompt_tokens;
    sample.cached_tokens = report.stats.cached_tokens;
    sample.computed_tokens = report.stats.prefilled_tokens;
    sample.decoded_tokens = report.stats.decoded_tokens;
    sample.first_text_ms = report.first_text_ms;
    sample.reply_ms = report.total_ms;
    return sample;
  }

 private:
  static CompletionOptions completion_options(const TypingTraceOptions& options) {
    CompletionOptions out;
    if (options.new_tokens > 0) {
      out.max_tokens_single_line = options.new_tokens;
      out.max_tokens_multi_line = std::max(options.new_tokens, out.max_tokens_multi_line);
    }
    out.multi_line = options.multi_line;
    out.typing_through = options.reuse_suggestions;
    out.speculate = options.reuse_suggestions;
    out.prefill_on_change = options.prefill_on_change;
    out.timeout_ms = options.timeout_ms;
    out.min_mean_logprob = -1e9;
    return out;
  }

  TypingTraceOptions options_;
  TaskQueue queue_;
  Workspace workspace_;
  std::unique_ptr<Completer> completer_;
  std::string uri_;
  DocumentPtr document_;
  size_t cursor_ = 0;
};

TypingSummary summarise(const std::vector<TypingSample>& samples, bool new_line) {
  std::vector<double> computed;
  std::vector<double> cached;
  std::vector<double> first_text;
  std::vector<double> reply;
  TypingSummary summary;
  for (const TypingSample& sample : samples) {
    if (sample.new_line != new_line) continue;
    ++summary.requests;
    computed.push_back(sample.computed_tokens);
    cached.push_back(sample.cached_tokens);
    first_text.push_back(sample.first_text_ms > 0 ? sample.first_text_ms : -1);
    reply.push_back(sample.reply_ms);
  }
  summary.computed_tokens = quantiles(std::move(computed));
  summary.cached_tokens = quantiles(std::move(cached));
  summary.first_text_ms = quantiles(std::move(first_text));
  summary.reply_ms = quantiles(std::move(reply));
  return summary;
}

size_t next_character(const std::string& line, size_t at) {
  size_t next = at + 1;
  while (next < line.size() && floor_to_code_point(line, next) != next) ++next;
  return next;
}

}  // namespace

Quantiles quantiles(std::vector<double> values) {
  std::erase_if(values, [](double value) { return value < 0; });
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {  // nearest rank
    const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
    return values[std::clamp<size_t>(rank, 1, values.size()) - 1];
  };
  return {at(0.5), at(0.95)};
}

Result<TypingTraceReport> run_typing_trace(
    const std::shared_ptr<Generator>& generator, const std::string& path,
    const std::string& language_id, const std::string& text, const TypingTraceOptions& options,
    const std::function<void(const TypingSample&)>& on_sample) {
  if (generator == nullptr) return Error{ErrorCode::kUnavailable, "no model is loaded"};
  FIMD_ASSIGN_OR_RETURN(const Script script, make_script(text, options));
  Typist typist(generator, options);
  typist.open(path, language_id, script);

  TypingTraceReport report;
  bool cold = true;
  const auto ask = [&](bool new_line) -> Status {
    FIMD_ASSIGN_OR_RETURN(TypingSample sample, typist.request());
    sample.new_line = new_line;
    if (on_sample) on_sample(sample);
    if (cold) {
      report.cold = std::move(sample);
      cold = false;
    } else {
      report.samples.push_back(std::move(sample));
    }
    return {};
  };

  const size_t every = std::max<size_t>(1, options.every);
  for (size_t i = 0; i < script.lines.size(); ++i) {
    const std::string& line = script.lines[i];
    if (i > 0) FIMD_RETURN_IF_ERROR(typist.type("\n"));
    if (is_blank(line)) continue;
    // Editors insert the indentation with the line break.
    size_t at = leading_blanks(line).size();
    if (at > 0) FIMD_RETURN_IF_ERROR(typist.type(line.substr(0, at)));
    FIMD_RETURN_IF_ERROR(ask(true));
    for (size_t typed = 0; at < line.size();) {
      const size_t next = next_character(line, at);
      FIMD_RETURN_IF_ERROR(typist.type(line.substr(at, next - at)));
      at = next;
      if (++typed % every == 0) FIMD_RETURN_IF_ERROR(ask(false));
    }
  }
  report.keys = summarise(report.samples, false);
  report.new_lines = summarise(report.samples, true);
  return report;
}

}  // namespace fimd
