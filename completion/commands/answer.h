// What a model answered, made into text for the editor. Pure functions, any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "support/result.h"

namespace fimd {

/// `answer` without the thought some models put before it, and without outer blanks. While the
/// thought has not ended there is nothing.
std::string_view without_thought(std::string_view answer);

/// The first code block between ``` or ~~~ fences.
struct CodeBlock {
  std::string text;     // without the last line break
  bool closed = false;  // its closing fence was there
  size_t end = 0;       // in the answer, behind the closing fence
};
std::optional<CodeBlock> first_code_block(std::string_view answer);

/// Whether an answer that may still grow has a code block from fence to fence. Cheap unless the
/// answer ends in a fence or a line break.
bool has_whole_block(std::string_view answer);

/// What may be passed on of an answer as it grows: not the thought before it, nor what may become
/// one. Only ever grows itself.
std::string_view shown_so_far(std::string_view answer);

/// Where an answer begins to say the same over and over: what comes before, and the first time of
/// what is repeated. Looks at the end of the answer only.
std::optional<size_t> circling(std::string_view answer);

/// A fence that no line of `code` can close.
std::string fence_for(std::string_view code);

/// `code` moved to the indentation of `original` (which the model was shown), with its tabs or
/// blanks, by the first line of both.
std::string reindented(std::string_view code, std::string_view original);

/// The lines that shall stand in place of the lines `original`: the code block of `answer`,
/// re-indented, without blank lines around it. Line breaks are "\n". Errors are for the user: no
/// code, cut off at the limit, parts left out, nothing changed.
Result<std::string> replacement(std::string_view answer, std::string_view original, bool truncated);

}  // namespace fimd
