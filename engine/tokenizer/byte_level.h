// The byte <-> character map of byte-level BPE: every byte has a printable character, so that
// vocabularies can be written as text.
#pragma once

#include <string>
#include <string_view>

namespace fimd {

/// The bytes that `text` stands for. Text with a character that stands for none is returned as it
/// is: some vocabularies hold added tokens in clear.
std::string decode_byte_level(std::string_view text);

/// The text that stands for `bytes`.
std::string encode_byte_level(std::string_view bytes);

}  // namespace fimd
