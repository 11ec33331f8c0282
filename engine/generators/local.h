// The local generator: a resident model behind the Generator interface.
//
// Owns the model's source, tokenizer, backend, scheduler and the engine thread. Which backend is
// the only thing that differs between CPU and GPU.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "engine/backend.h"
#include "engine/model_source.h"
#include "engine/model_spec.h"
#include "engine/prompt_encoder.h"
#include "engine/scheduler.h"

namespace fimd {

class LocalGenerator final : public Generator {
 public:
  struct Parts {
    std::unique_ptr<ModelSource> source;
    std::unique_ptr<ModelSpec> spec;  // points into the source
    std::unique_ptr<Tokenizer> tokenizer;
    std::unique_ptr<Backend> backend;  // may point into spec and source
  };

  LocalGenerator(Parts parts, const SchedulerOptions& options);
  /// Cancels what is unfinished and joins the engine thread; so never from a sink.
  ~LocalGenerator() override;

  const ModelInfo& info() const override { return info_; }
  GenerationId submit(GenerationRequest request) override;
  void cancel(GenerationId id) override;
  size_t count_tokens(std::string_view text) const override;
  EngineStatus status() const override;
  void when_lost(std::function<void()> callback) override;

 private:
  void run();

  Parts parts_;
  ModelInfo info_;
  mutable PromptEncoder encoder_;
  Scheduler scheduler_;
  std::atomic<bool> stopping_ = false;
  std::mutex lost_mutex_;  // guards when_lost_
  std::function<void()> when_lost_;
  std::thread thread_;
};

}  // namespace fimd
