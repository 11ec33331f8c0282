#include "engine/model_file.h"

#include "engine/model_source.h"
#include "engine/tokenizer/load.h"
#include "kernels/cpu/isa.h"
#include "support/cpu_count.h"

namespace fimd {

Result<std::unique_ptr<Tokenizer>> open_tokenizer(const std::string& path) {
  if (path.ends_with(".json")) return load_tokenizer_json(path);
  // Nothing of the tokenizer points into the source: it may go.
  FIMD_ASSIGN_OR_RETURN(const auto source, open_model_source(path));
  return source->tokenizer();
}

std::string describe_cpu() {
  std::string text = cpu::isa_name(cpu::current_isa());
  std::string others;
  for (const cpu::Isa isa : cpu::supported_isas()) {
    if (isa == cpu::current_isa()) continue;
    if (!others.empty()) others += ", ";
    others += cpu::isa_name(isa);
  }
  if (!others.empty()) text += " (also possible: " + others + ")";
  return text + ", " + std::to_string(usable_physical_cores()) + " cores";
}

}  // namespace fimd
