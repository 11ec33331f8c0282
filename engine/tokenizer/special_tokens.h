// Special tokens that models' metadata often leaves out or types wrongly, known by their text.
#pragma once

#include <string_view>

namespace fimd {

/// A marker of fill-in-the-middle prompts whatever the file says its type is: text in which it
/// appears must never be read as the marker.
bool is_control_text(std::string_view text);

/// Ends a generation if it is a control token: end of text or of turn, or a marker that can only
/// begin something else (another file, another middle).
bool ends_generation(std::string_view text);

}  // namespace fimd
