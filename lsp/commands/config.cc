// `fimd config`: the effective settings and where they come from.
#include "lsp/config.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>

#include "lsp/commands/commands.h"

namespace fimd::lsp {

CommandSpec config_command() {
  struct Args {
    bool markdown = false;
    bool check = false;
  };
  auto args = std::make_shared<Args>();
  return {.name = "config",
          .summary = "Show every setting, its value and where it comes from",
          .examples =
              "  fimd config               what is in effect\n"
              "  fimd config --check       exit 1 if the file or the environment has mistakes\n"
              "  fimd config > ~/.config/fimd/config.toml    a file to start from",
          .declare =
              [args](Options& options) {
                options.flag("--check", &args->check, "Only look for mistakes");
                options.hidden_flag("--markdown", &args->markdown);
              },
          .run =
              [args](CommandContext& context) {
                if (args->check) return context.loaded.problems.empty() ? 0 : 1;
                if (args->markdown) {
                  std::fputs(config_markdown().c_str(), stdout);
                  return 0;
                }
                const Config& config = context.config();
                std::printf("# %s%s\n", context.loaded.file.c_str(),
                            context.loaded.file_exists ? "" : " (does not exist)");
                std::string section;
                for (const ConfigKey& key : config_keys()) {
                  const std::string name = key.name;
                  const size_t dot = name.find('.');
                  if (name.substr(0, dot) != section) {
                    section = name.substr(0, dot);
                    std::printf("\n[%s]\n", section.c_str());
                  }
                  const std::string line = name.substr(dot + 1) + " = " + config.value_text(name);
                  std::printf("%-44s # %s\n", line.c_str(), config.origin(name).c_str());
                }
                return 0;
              }};
}

}  // namespace fimd::lsp
