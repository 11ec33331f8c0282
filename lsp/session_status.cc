// What a session tells its editor without being asked: settings problems, status, progress.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "completion/commands/chat_format.h"
#include "lsp/json_text.h"
#include "lsp/paths.h"
#include "lsp/session.h"
#include "support/log.h"

namespace fimd::lsp {

void Session::pull_configuration() {
  const std::weak_ptr<Session> weak = weak_from_this();
  rpc_.call("workspace/configuration", ConfigurationParams{"fimd"},
            [weak](const Result<RawJson>& answer) {
              const auto self = weak.lock();
              if (!self || self->phase_ != Phase::kRunning) return;
              if (!answer.ok()) {
                log::debug("session {}: no configuration: {}", self->id_, answer.error().message);
                return;
              }
              self->pulled_settings_ = *answer;
              self->apply_settings(true);
            });
}

void Session::apply_settings(bool report_problems) {
  std::vector<ConfigProblem> problems;
  config_ = host_->base_config().config;
  const auto merge = [&](const RawJson& raw, const char* where) {
    const auto json = parse_json(raw.text);
    if (!json.ok()) return;
    // workspace/configuration answers with a list of one item.
    const bool listed = json->is_array() && json->size() == 1;
    config_.merge_json(listed ? json->front() : *json, where, &problems);
  };
  merge(client_.initialization_options, "initializationOptions");
  merge(pulled_settings_, "the editor's settings");
  if (report_problems) report_config_problems(problems);
  if (completer_) completer_->set_options(config_.completion_options());
  if (commander_) commander_->set_options(config_.completion_options());
  if (report_problems) {
    // Engine settings are the daemon's; an editor that sets them itself has a say.
    const bool chosen =
        std::any_of(config_keys().begin(), config_keys().end(), [this](const ConfigKey& key) {
          const std::string_view name = key.name;
          const std::string& origin = config_.origin(name);
          return (name.starts_with("model.") || name.starts_with("engine.")) &&
                 (origin == "initializationOptions" || origin == "the editor's settings");
        });
    if (chosen) {
      if (auto options = engine_options(config_); options.ok()) {
        host_->use_engine(*options);
      } else {
        show(MessageType::kError, options.error().message);
      }
    }
  }
}

void Session::report_config_problems(const std::vector<ConfigProblem>& problems) {
  for (const ConfigProblem& problem : problems) {
    if (!reported_problems_.insert(problem.text()).second) continue;
    log::warn("session {}: {}", id_, problem.text());
    show(MessageType::kWarning, "fimd: " + problem.text());
  }
}

void Session::show(MessageType type, const std::string& message) {
  rpc_.notify("window/showMessage", MessageParams{type, message});
}

void Session::model_changed() {
  if (host_->model().phase != ModelState::Phase::kLoading) {
    auto waiting = std::move(waiting_for_model_);
    waiting_for_model_.clear();
    for (const auto& task : waiting) task();
    release_held();
  }
  if (phase_ != Phase::kRunning) return;
  update_progress();
  send_status();
  const ModelState& model = host_->model();
  if (model.phase == ModelState::Phase::kFailed && failure_shown_ != model.serial + 1) {
    failure_shown_ = model.serial + 1;
    show(MessageType::kError, "fimd: " + model.message + "\nRun `fimd doctor` to see what to do.");
  }
  if (model.phase == ModelState::Phase::kReady) {
    const ModelInfo& info = model.generator->info();
    rpc_.notify("window/logMessage",
                MessageParams{MessageType::kInfo, "fimd: " + info.name + " on " + info.backend});
  }
}

void Session::update_progress() {
  if (!client_.capabilities.work_done_progress) return;
  const ModelState& model = host_->model();
  const bool loading = model.phase == ModelState::Phase::kLoading;
  const int percent = static_cast<int>(std::lround(std::clamp(model.progress, 0.0, 1.0) * 100));
  if (loading && progress_ == Progress::kNone) {
    progress_ = Progress::kAsked;
    progress_percent_ = -1;
    progress_token_ = "fimd-load-" + std::to_string(::getpid()) + "-" + std::to_string(id_) + "-" +
                      std::to_string(model.serial);
    const std::weak_ptr<Session> weak = weak_from_this();
    rpc_.call("window/workDoneProgress/create", ProgressToken{progress_token_},
              [weak](const Result<RawJson>& answer) {
                const auto self = weak.lock();
                if (!self || self->phase_ != Phase::kRunning) return;
                const bool still = self->host_->model().phase == ModelState::Phase::kLoading;
                if (!answer.ok() || !still) {
                  self->progress_ = Progress::kNone;
                  return;
                }
                self->progress_ = Progress::kShown;
                self->rpc_.notify("$/progress", WorkDoneProgress{self->progress_token_, "begin",
                                                                 "fimd: loading the model",
                                                                 self->host_->model().message, 0});
                self->update_progress();
              });
  } else if (loading && progress_ == Progress::kShown && percent != progress_percent_) {
    progress_percent_ = percent;
    rpc_.notify("$/progress",
                WorkDoneProgress{progress_token_, "report", "", model.message, percent},
                Delivery::kDroppable);
  } else if (!loading && progress_ == Progress::kShown) {
    progress_ = Progress::kNone;
    rpc_.notify("$/progress",
                WorkDoneProgress{progress_token_, "end", "",
                                 model.phase == ModelState::Phase::kReady ? "ready" : "failed",
                                 std::nullopt});
  }
}

void Session::send_status() {
  if (phase_ != Phase::kRunning || !sends_status()) return;
  const ModelState& model = host_->model();
  StatusParams status;
  CopilotStatusParams copilot;
  switch (model.phase) {
    case ModelState::Phase::kLoading:
      status.state = "loading";
      status.message = model.message;
      status.percent = static_cast<int>(std::lround(std::clamp(model.progress, 0.0, 1.0) * 100));
      copilot.busy = true;
      break;
    case ModelState::Phase::kFailed:
      status.state = "error";
      status.message = model.message;
      copilot.kind = "Error";
      break;
    case ModelState::Phase::kReady:
      status.state = active_requests_ > 0 ? "generating" : "idle";
      copilot.busy = active_requests_ > 0;
      if (!config_.flag("completion.enabled")) {
        copilot.kind = "Inactive";
        status.message = "switched off";
      }
      break;
  }
  copilot.message = status.message;
  if (model.generator) {
    status.model = model.generator->info().name;
    status.backend = model.generator->info().backend;
    status.can_chat = choose_chat_format(model.generator->info()).has_value();
    const EngineStatus engine = model.generator->status();
    status.tokens_per_second = engine.decode_tokens_per_second;
    status.cache_hit_rate = engine.prompt_tokens > 0 ? static_cast<double>(engine.cached_tokens) /
                                                           static_cast<double>(engine.prompt_tokens)
                                                     : 0;
  }
  std::string text = encode(status);
  if (text == last_status_) return;
  last_status_ = std::move(text);
  rpc_.notify_raw("fimd/status", last_status_, Delivery::kDroppable);
  rpc_.notify("didChangeStatus", copilot, Delivery::kDroppable);
}

}  // namespace fimd::lsp
