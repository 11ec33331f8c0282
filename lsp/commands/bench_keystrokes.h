// `fimd bench keystrokes`: a whole session as an editor has it, measured from the editor's side.
#pragma once

#include <string>
#include <vector>

#include "lsp/commands/commands.h"

namespace fimd::lsp {

struct KeystrokeArgs {
  std::string file;  // empty: a text made up
  int lines = 8;
  int jumps = 16;
  int switches = 8;
  bool plain = false;
  int new_tokens = 0;  // of every reply, exactly; 0: as many as the text takes
};

int run_keystrokes(const KeystrokeArgs& args, CommandContext& context);

/// The value below which `share` of the values are; 0 if there are none.
double percentile(std::vector<double> values, double share);

}  // namespace fimd::lsp
