#include "lsp/commands/commands.h"

namespace fimd::lsp {

std::vector<CommandSpec> all_commands() {
  return {lsp_command(),      daemon_command(),   complete_command(), explain_command(),
          review_command(),   refactor_command(), fix_command(),      document_command(),
          status_command(),   stop_command(),     doctor_command(),   bench_command(),
          tokenize_command(), config_command()};
}

}  // namespace fimd::lsp
