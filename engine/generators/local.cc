#include "engine/generators/local.h"

#include <algorithm>

namespace fimd {

LocalGenerator::LocalGenerator(Parts parts, const SchedulerOptions& options)
    : parts_(std::move(parts)),
      encoder_(*parts_.tokenizer),
      scheduler_(*parts_.backend, *parts_.tokenizer, encoder_, options) {
  const ModelSpec& spec = *parts_.spec;
  const Tokenizer& tokenizer = *parts_.tokenizer;
  info_.name = spec.name;
  info_.architecture = spec.architecture;
  info_.backend = parts_.backend->name();
  info_.path = parts_.source->path();
  info_.quantization = spec.quantization;
  info_.parameters = spec.parameters;
  info_.weight_bytes = spec.weight_bytes;
  info_.context_length = scheduler_.context_length();
  info_.control_tokens = tokenizer.control_tokens();
  if (const auto chat = parts_.source->string_or("tokenizer.chat_template", ""); chat.ok()) {
    info_.chat_template = *chat;
  }
  info_.add_bos = tokenizer.add_bos();
  if (const auto bos = tokenizer.bos()) {
    const auto is_bos = [&](const std::string& name) { return tokenizer.control_id(name) == bos; };
    const auto found =
        std::find_if(info_.control_tokens.begin(), info_.control_tokens.end(), is_bos);
    if (found != info_.control_tokens.end()) info_.bos_token = *found;
  }
  info_.beam_search = scheduler_.can_search();
  thread_ = std::thread([this] { run(); });
}

LocalGenerator::~LocalGenerator() {
  stopping_ = true;
  scheduler_.interrupt();
  thread_.join();
}

void LocalGenerator::run() {
  while (!stopping_) {
    if (!scheduler_.step()) scheduler_.wait();
    if (parts_.backend->lost()) {
      std::function<void()> callback;
      {
        const std::lock_guard lock(lost_mutex_);
        callback.swap(when_lost_);
      }
      if (callback) callback();
    }
  }
  scheduler_.stop();
}

GenerationId LocalGenerator::submit(GenerationRequest request) {
  return scheduler_.submit(std::move(request));
}

void LocalGenerator::cancel(GenerationId id) { scheduler_.cancel(id); }

size_t LocalGenerator::count_tokens(std::string_view text) const { return encoder_.count(text); }

void LocalGenerator::when_lost(std::function<void()> callback) {
  const std::lock_guard lock(lost_mutex_);
  when_lost_ = std::move(callback);
}

EngineStatus LocalGenerator::status() const { return scheduler_.status(); }

}  // namespace fimd
