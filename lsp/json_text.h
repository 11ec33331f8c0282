// JSON text in and out without exceptions, safe for any bytes a peer may send.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "support/result.h"

namespace fimd::lsp {

/// Refuses nesting deeper than 200 (other code recurses over values). Escaped lone surrogates,
/// which editors send for half an emoji, become U+FFFD.
Result<nlohmann::json> parse_json(std::string_view text);

/// Compact, or in lines with so many spaces for each level; invalid UTF-8 becomes U+FFFD.
std::string dump_json(const nlohmann::json& json, int indent = -1);

/// The member `key` if `json` is an object and the member a string, else "".
std::string string_member(const nlohmann::json& json, const char* key);

/// A string as a JSON string, with its quotes.
std::string quote_json(std::string_view text);

}  // namespace fimd::lsp
