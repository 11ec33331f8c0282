// A pre-tokenizer step given by any regular expression, compiled by PCRE2. Immutable; any thread.
#pragma once

#include <memory>
#include <string_view>

#include "engine/tokenizer/pretokenizer.h"

namespace fimd {

/// Splits into what `pattern` matches and the gaps between. The syntax is that of PCRE2 with
/// Unicode classes, which is also what tokenizer.json files use but for corner cases. A text on
/// which matching gives up (a pattern that backtracks without end) is not split further from there.
Result<std::unique_ptr<PreTokenizer>> make_regex_splitter(std::string_view pattern);

}  // namespace fimd
