#include "lsp/json_text.h"

#include <nlohmann/json.hpp>

namespace fimd::lsp {
namespace {

constexpr int kMaxDepth = 200;

bool too_deep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

// The value of the four hexadecimal digits at `at`, or -1.
int hex4(std::string_view text, size_t at) {
  if (at + 4 > text.size()) return -1;
  int value = 0;
  for (size_t i = at; i < at + 4; ++i) {
    const char c = text[i];
    int digit = 0;
    if (c >= '0' && c <= '9') {
      digit = c - '0';
    } else if (c >= 'a' && c <= 'f') {
      digit = c - 'a' + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = c - 'A' + 10;
    } else {
      return -1;
    }
    value = value * 16 + digit;
  }
  return value;
}

bool is_escape(std::string_view text, size_t at, int low, int high) {
  if (at + 6 > text.size() || text[at] != '\\' || text[at + 1] != 'u') return false;
  const int unit = hex4(text, at + 2);
  return unit >= low && unit <= high;
}

// `text` with lone surrogate escapes replaced; empty if there were none.
std::string without_lone_surrogates(std::string_view text) {
  std::string out;
  bool changed = false;
  for (size_t i = 0; i < text.size();) {
    if (text[i] != '\\' || i + 1 >= text.size()) {
      out += text[i++];
    } else if (is_escape(text, i, 0xD800, 0xDBFF) && is_escape(text, i + 6, 0xDC00, 0xDFFF)) {
      out += text.substr(i, 12);
      i += 12;
    } else if (is_escape(text, i, 0xD800, 0xDFFF)) {
      out += "\\ufffd";
      changed = true;
      i += 6;
    } else {
      out += text.substr(i, 2);
      i += 2;
    }
  }
  return changed ? out : std::string();
}

}  // namespace

Result<nlohmann::json> parse_json(std::string_view text) {
  if (too_deep(text)) {
    return Error{ErrorCode::kInvalidArgument,
                 "JSON nested deeper than " + std::to_string(kMaxDepth)};
  }
  try {
    return nlohmann::json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::exception& e) {
    const std::string repaired = without_lone_surrogates(text);
    if (!repaired.empty()) {
      nlohmann::json json = nlohmann::json::parse(repaired, nullptr, /*allow_exceptions=*/false);
      if (!json.is_discarded()) return json;
    }
    return Error{ErrorCode::kInvalidArgument, std::string("malformed JSON: ") + e.what()};
  }
}

std::string dump_json(const nlohmann::json& json, int indent) {
  return json.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string string_member(const nlohmann::json& json, const char* key) {
  if (!json.is_object()) return "";
  const auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : "";
}

std::string quote_json(std::string_view text) { return dump_json(nlohmann::json(text)); }

}  // namespace fimd::lsp
