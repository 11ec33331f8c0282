// The table of commands: one row is all it takes to add one.
#include <array>

#include "completion/commands/command.h"
#include "completion/text_util.h"

namespace fimd {

std::span<const CodeCommand> all_code_commands() {
  static const std::array kSpecs = {explain_spec(), refactor_spec(), fix_spec(), document_spec(),
                                    review_spec()};
  return kSpecs;
}

const CodeCommand* find_code_command(std::string_view name) {
  for (const CodeCommand& spec : all_code_commands()) {
    if (spec.name == name) return &spec;
  }
  return nullptr;
}

std::string called(const CommandTarget& target) {
  return target.name.empty() ? "the code in question" : "`" + target.name + "`";
}

std::string one_line(std::string_view text, size_t limit) {
  std::string_view line = trim(text);
  line = line.substr(0, std::min(line.find('\n'), line.size()));
  std::string out(line.substr(0, floor_to_code_point(line, limit)));
  if (out.size() < line.size()) out += "…";
  return out;
}

}  // namespace fimd
