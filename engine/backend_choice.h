// Which device computes: the rows of the table of backends, and how each likes its prompts cut up.
//
// Thread: the loading thread.
#pragma once

#include <functional>
#include <memory>

#include "engine/backend.h"
#include "engine/load.h"
#include "engine/model_spec.h"
#include "engine/scheduler.h"
#include "support/result.h"

namespace fimd {

struct ChosenBackend {
  std::unique_ptr<Backend> backend;
  SchedulerOptions scheduler;  // without context_length and ms_per_token
  int warm_up_tokens = 16;     // of the pass that measures how fast prompts are read
};

/// "auto, cpu, cuda": the values of EngineOptions::backend.
bool is_backend(const std::string& name);
std::string backend_names();

/// The backend that is asked for, or with "auto" the best that works for this model here.
Result<ChosenBackend> choose_backend(const EngineOptions& options, const ModelSpec& spec,
                                     const TokenMask& mask,
                                     const std::function<void(double)>& progress);

}  // namespace fimd
