#include "engine/models/registry.h"

#include <array>

namespace fimd::models {

namespace {
// build_qwen35 says of qwen35moe's files that it cannot run experts.
constexpr std::array kFamilies = {
    Family{"llama", build_llama},   Family{"qwen2", build_qwen2},      Family{"qwen3", build_qwen3},
    Family{"qwen35", build_qwen35}, Family{"qwen35moe", build_qwen35},
};
}  // namespace

std::span<const Family> families() { return kFamilies; }

}  // namespace fimd::models

namespace fimd {

Result<ModelSpec> read_model_spec(const ModelSource& file) {
  FIMD_ASSIGN_OR_RETURN(const std::string_view architecture, file.string("general.architecture"));
  std::string known;
  for (const models::Family& family : models::families()) {
    if (architecture == family.architecture) return family.build(file);
    known += known.empty() ? "" : ", ";
    known += family.architecture;
  }
  return Error{ErrorCode::kUnsupported, "'" + file.path() + "' is a model of architecture '" +
                                            std::string(architecture.substr(0, 40)) +
                                            "', which fimd cannot run; it runs " + known};
}

}  // namespace fimd
