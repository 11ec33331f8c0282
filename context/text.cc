#include "context/text.h"

#include <algorithm>
#include <cstring>

namespace fimd {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

bool is_continuation(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

// Length of the pure ASCII run at the start of text.
size_t ascii_run(std::string_view text) {
  size_t i = 0;
  while (i + 8 <= text.size()) {
    uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    if ((word & 0x8080808080808080ULL) != 0) break;
    i += 8;
  }
  while (i < text.size() && static_cast<uint8_t>(text[i]) < 0x80) ++i;
  return i;
}

void append_utf8(uint32_t cp, std::string* out) {
  if (cp < 0x80) {
    out->push_back(static_cast<char>(cp));
  } else if (cp < 0x800) {
    out->push_back(static_cast<char>(0xC0 | (cp >> 6)));
    out->push_back(static_cast<char>(0x80 | (cp & 0x3F)));
  } else if (cp < 0x10000) {
    out->push_back(static_cast<char>(0xE0 | (cp >> 12)));
    out->push_back(static_cast<char>(0x80 | ((cp >> 6) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (cp & 0x3F)));
  } else {
    out->push_back(static_cast<char>(0xF0 | (cp >> 18)));
    out->push_back(static_cast<char>(0x80 | ((cp >> 12) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | ((cp >> 6) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (cp & 0x3F)));
  }
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

CodePoint decode_utf8(std::string_view text, size_t offset) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(offset);
  if (lead < 0x80) return {lead, 1, true};
  int extra = 0;
  uint8_t low = 0x80;  // allowed range of the second byte: excludes overlong forms, surrogates
  uint8_t high = 0xBF;
  uint32_t value = 0;
  if (lead >= 0xC2 && lead <= 0xDF) {
    extra = 1;
    value = lead & 0x1F;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    extra = 2;
    value = lead & 0x0F;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    extra = 3;
    value = lead & 0x07;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {0xFFFD, 1, false};
  }
  for (int i = 1; i <= extra; ++i) {
    const size_t at = offset + static_cast<size_t>(i);
    if (at >= text.size() || byte(at) < low || byte(at) > high) {
      return {0xFFFD, static_cast<uint8_t>(i), false};
    }
    value = (value << 6) | (byte(at) & 0x3F);
    low = 0x80;
    high = 0xBF;
  }
  return {value, static_cast<uint8_t>(extra + 1), true};
}

bool is_valid_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    i += ascii_run(text.substr(i));
    if (i >= text.size()) break;
    const CodePoint cp = decode_utf8(text, i);
    if (!cp.valid) return false;
    i += cp.length;
  }
  return true;
}

std::string repair_utf8(std::string text) {
  if (is_valid_utf8(text)) return text;
  std::string out;
  out.reserve(text.size() + 16);
  const std::string_view view = text;
  for (size_t i = 0; i < view.size();) {
    const CodePoint cp = decode_utf8(view, i);
    out.append(cp.valid ? view.substr(i, cp.length) : kReplacement);
    i += cp.length;
  }
  return out;
}

size_t floor_to_code_point(std::string_view text, size_t offset) {
  offset = std::min(offset, text.size());
  if (offset == text.size()) return offset;
  for (int i = 0; i < 3 && offset > 0 && is_continuation(text[offset]); ++i) --offset;
  return offset;
}

size_t encoded_length(std::string_view text, PositionEncoding encoding) {
  if (encoding == PositionEncoding::kUtf8) return text.size();
  size_t units = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t run = ascii_run(text.substr(i));
    units += run;
    i += run;
    if (i >= text.size()) break;
    const CodePoint cp = decode_utf8(text, i);
    units += encoding == PositionEncoding::kUtf16 && cp.value >= 0x10000 ? 2 : 1;
    i += cp.length;
  }
  return units;
}

size_t byte_offset(std::string_view line, size_t units, PositionEncoding encoding) {
  if (encoding == PositionEncoding::kUtf8) return floor_to_code_point(line, units);
  size_t i = 0;
  while (i < line.size() && units > 0) {
    const size_t run = std::min(ascii_run(line.substr(i)), units);
    units -= run;
    i += run;
    if (i >= line.size() || units == 0) break;
    const CodePoint cp = decode_utf8(line, i);
    const size_t width = encoding == PositionEncoding::kUtf16 && cp.value >= 0x10000 ? 2 : 1;
    if (width > units) break;
    units -= width;
    i += cp.length;
  }
  return i;
}

std::u16string to_utf16(std::string_view text) {
  std::u16string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const CodePoint cp = decode_utf8(text, i);
    if (cp.value >= 0x10000) {
      out.push_back(static_cast<char16_t>(0xD800 + ((cp.value - 0x10000) >> 10)));
      out.push_back(static_cast<char16_t>(0xDC00 + ((cp.value - 0x10000) & 0x3FF)));
    } else {
      out.push_back(static_cast<char16_t>(cp.value));
    }
    i += cp.length;
  }
  return out;
}

std::string from_utf16(std::u16string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const uint32_t unit = text[i];
    const bool high = unit >= 0xD800 && unit < 0xDC00;
    if (high && i + 1 < text.size() && text[i + 1] >= 0xDC00 && text[i + 1] < 0xE000) {
      append_utf8(0x10000 + ((unit - 0xD800) << 10) + (text[i + 1] - 0xDC00U), &out);
      ++i;
    } else if (unit >= 0xD800 && unit < 0xE000) {
      out.append(kReplacement);
    } else {
      append_utf8(unit, &out);
    }
  }
  return out;
}

void append_line_starts(std::string_view text, size_t begin, size_t end,
                        std::vector<size_t>* starts) {
  for (size_t i = begin; i < end; ++i) {
    const char c = text[i];
    if (c == '\n' || (c == '\r' && (i + 1 >= text.size() || text[i + 1] != '\n'))) {
      starts->push_back(i + 1);
    }
  }
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<size_t> starts = {0};
  append_line_starts(text, 0, text.size(), &starts);
  std::vector<std::string_view> lines;
  lines.reserve(starts.size());
  for (size_t i = 0; i < starts.size(); ++i) {
    size_t end = i + 1 < starts.size() ? starts[i + 1] : text.size();
    if (i + 1 < starts.size()) {
      --end;
      if (text[end] == '\n' && end > starts[i] && text[end - 1] == '\r') --end;
    }
    lines.push_back(text.substr(starts[i], end - starts[i]));
  }
  return lines;
}

size_t indentation(std::string_view line) {
  size_t width = 0;
  for (const char c : line) {
    if (c == ' ') {
      ++width;
    } else if (c == '\t') {
      width = width / 4 * 4 + 4;
    } else {
      break;
    }
  }
  return width;
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\f\v") == std::string_view::npos;
}

std::string percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
        hex_digit(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::string uri_to_path(std::string_view uri) {
  constexpr std::string_view kScheme = "file:";
  if (uri.size() < kScheme.size()) return "";
  for (size_t i = 0; i < kScheme.size(); ++i) {
    const char c = uri[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c) != kScheme[i]) return "";
  }
  std::string_view rest = uri.substr(kScheme.size());
  rest = rest.substr(0, rest.find_first_of("?#"));
  std::string host;
  if (rest.starts_with("//")) {
    rest.remove_prefix(2);
    const size_t slash = std::min(rest.find('/'), rest.size());
    host = std::string(rest.substr(0, slash));
    rest.remove_prefix(slash);
  }
  std::string path = percent_decode(rest);
  // file:///c%3A/x and file:///C:/x name the drive; its leading slash is not part of the path.
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (path.size() >= 3 && path[0] == '/' && is_letter(path[1]) && path[2] == ':') path.erase(0, 1);
  if (!host.empty() && host != "localhost") path = "//" + percent_decode(host) + path;
  return repair_utf8(std::move(path));
}

}  // namespace fimd
