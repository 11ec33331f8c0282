// Generations of a fixed length, for measurements that do not depend on what a model says.
//
// Owner: a benchmark. Thread: as Generator.
#pragma once

#include <memory>

#include "engine/generator.h"

namespace fimd::lsp {

/// Makes every request that generates run for exactly `tokens` new tokens (unless the model ends
/// the text), and replaces the text by letters that no stop rule minds.
std::unique_ptr<Generator> with_fixed_length(std::unique_ptr<Generator> generator, int tokens);

}  // namespace fimd::lsp
