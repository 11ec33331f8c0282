// redact_secrets(): keys and tokens inside otherwise normal text.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "context/exclusion.h"

namespace fimd {
namespace {

constexpr std::string_view kMark = "REDACTED";
constexpr size_t npos = std::string_view::npos;

struct Span {
  size_t begin;
  size_t end;
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_token_byte(char c) { return is_digit(c) || is_alpha(c) || c == '_' || c == '-'; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

/// What a service's tokens begin with, and how many token bytes follow at least.
struct TokenForm {
  std::string_view prefix;
  size_t length;
};
constexpr TokenForm kTokens[] = {
    {"AKIA", 16},      {"ASIA", 16},           {"ghp_", 30},  {"gho_", 30},
    {"ghu_", 30},      {"ghs_", 30},           {"ghr_", 30},  {"github_pat_", 22},
    {"glpat-", 18},    {"xoxb-", 10},          {"xoxp-", 10}, {"xoxa-", 10},
    {"xoxr-", 10},     {"xoxs-", 10},          {"sk-", 20},   {"sk_live_", 16},
    {"sk_test_", 16},  {"rk_live_", 16},       {"AIza", 30},  {"ya29.", 20},
    {"npm_", 30},      {"pypi-", 40},          {"hf_", 30},   {"SG.", 20},
    {"dckr_pat_", 20}, {"AGE-SECRET-KEY-", 40}};

/// Parts of names whose literals are secrets.
constexpr std::string_view kSecretNames[] = {
    "password",   "passwd",    "passphrase",  "secret",      "apikey",    "accesskey",
    "privatekey", "authtoken", "accesstoken", "bearertoken", "credential"};

void find_private_keys(std::string_view text, std::vector<Span>* spans) {
  constexpr std::string_view kBegin = "-----BEGIN ";
  for (size_t at = text.find(kBegin); at != npos; at = text.find(kBegin, at + 1)) {
    const std::string_view line = text.substr(at, std::min<size_t>(80, text.size() - at));
    const size_t kind = line.find("PRIVATE KEY");
    if (kind == npos || line.substr(0, kind).find('\n') != npos) continue;
    size_t end = text.find("-----END ", at);
    if (end != npos) {
      end = std::min(text.find("-----", end + 9), text.size());
      end = std::min(end + 5, text.size());
    } else {
      // A block cut off: the lines that look like one.
      end = std::min(text.find('\n', at), text.size());
      while (end < text.size()) {
        const size_t next = std::min(text.find('\n', end + 1), text.size());
        const std::string_view body = text.substr(end + 1, next - end - 1);
        const bool key = body.size() >= 16 && body.find_first_of("(){};") == npos;
        if (!key) break;
        end = next;
      }
    }
    spans->push_back({at, end});
  }
}

void find_tokens(std::string_view text, std::vector<Span>* spans) {
  for (const TokenForm& form : kTokens) {
    for (size_t at = text.find(form.prefix); at != npos; at = text.find(form.prefix, at + 1)) {
      if (at > 0 && is_token_byte(text[at - 1])) continue;
      size_t end = at + form.prefix.size();
      bool digit = false;
      while (end < text.size() && (is_token_byte(text[end]) || text[end] == '.')) {
        digit = digit || is_digit(text[end]);
        ++end;
      }
      // Names in kebab case begin with sk- or npm_ too, but have no digits.
      if (end - at - form.prefix.size() >= form.length && digit) spans->push_back({at, end});
    }
  }
  // JSON web tokens: three base64url parts, the first two of which begin with `{"`.
  for (size_t at = text.find("eyJ"); at != npos; at = text.find("eyJ", at + 1)) {
    size_t end = at;
    while (end < text.size() && (is_token_byte(text[end]) || text[end] == '.')) ++end;
    const std::string_view token = text.substr(at, end - at);
    if (token.size() > 40 && token.find(".eyJ") != npos) spans->push_back({at, end});
  }
}

void find_url_passwords(std::string_view text, std::vector<Span>* spans) {
  for (size_t at = text.find("://"); at != npos; at = text.find("://", at + 1)) {
    const size_t user = at + 3;
    const size_t stop = std::min(text.find_first_of("/ \t\r\n\"'`<>@${}", user), text.size());
    if (stop >= text.size() || text[stop] != '@') continue;
    const size_t colon = text.substr(0, stop).find(':', user);
    if (colon != npos && stop - colon > 1) spans->push_back({colon + 1, stop});
  }
}

bool names_secret(std::string_view name) {
  std::string plain;
  for (const char c : name) {
    if (c != '_' && c != '-') plain.push_back(lower(c));
  }
  return std::any_of(std::begin(kSecretNames), std::end(kSecretNames),
                     [&](std::string_view part) { return plain.find(part) != std::string::npos; });
}

bool looks_random(std::string_view value) {
  const bool digit = std::any_of(value.begin(), value.end(), is_digit);
  const bool alpha = std::any_of(value.begin(), value.end(), is_alpha);
  return value.size() >= 8 && digit && alpha;
}

void find_assigned_literals(std::string_view text, std::vector<Span>* spans) {
  const auto skip_spaces = [&](size_t i) {
    while (i < text.size() && (text[i] == ' ' || text[i] == '\t')) ++i;
    return i;
  };
  for (size_t i = 0; i < text.size();) {
    if (!is_token_byte(text[i])) {
      ++i;
      continue;
    }
    const size_t begin = i;
    while (i < text.size() && is_token_byte(text[i])) ++i;
    const std::string_view name = text.substr(begin, i - begin);
    if (name.size() < 6 || name.size() > 64) continue;
    size_t at = i;
    if (at < text.size() && (text[at] == '"' || text[at] == '\'')) ++at;
    at = skip_spaces(at);
    if (at >= text.size() || (text[at] != '=' && text[at] != ':')) continue;
    if (!names_secret(name)) continue;
    while (at < text.size() && (text[at] == '=' || text[at] == ':' || text[at] == '>')) ++at;
    at = skip_spaces(at);
    if (at >= text.size()) break;
    const char quote = text[at];
    if (quote == '"' || quote == '\'' || quote == '`') {
      const size_t end = text.find_first_of(std::string{quote, '\n'}, at + 1);
      if (end == npos || text[end] != quote) continue;
      const std::string_view value = text.substr(at + 1, end - at - 1);
      if (looks_random(value) && value.find_first_of(" \t{$") == npos)
        spans->push_back({at + 1, end});
    } else {
      // Unquoted, as in YAML and INI: the rest of the line, if it is nothing like an expression.
      size_t end = std::min(text.find_first_of("\r\n", at), text.size());
      const size_t line_end = end;
      end = std::min(end, text.find_first_of(" \t", at));
      const std::string_view value = text.substr(at, end - at);
      const bool alone = skip_spaces(end) == line_end;
      if (alone && looks_random(value) && value.find_first_of("(){}[]<>.,;:$\"'`") == npos) {
        spans->push_back({at, end});
      }
    }
  }
}

}  // namespace

std::optional<std::string> redact_secrets(std::string_view text) {
  std::vector<Span> spans;
  find_private_keys(text, &spans);
  find_tokens(text, &spans);
  find_url_passwords(text, &spans);
  find_assigned_literals(text, &spans);
  if (spans.empty()) return std::nullopt;
  std::sort(spans.begin(), spans.end(),
            [](const Span& a, const Span& b) { return a.begin < b.begin; });
  std::string out;
  size_t done = 0;
  for (const Span& span : spans) {
    if (span.end <= done) continue;
    const size_t begin = std::max(span.begin, done);
    out.append(text.substr(done, begin - done)).append(kMark);
    // Line breaks stay, so that lines keep their numbers.
    for (size_t i = begin; i < span.end; ++i) {
      if (text[i] == '\n') out.append(begin == i ? "" : "\n");
    }
    done = span.end;
  }
  out.append(text.substr(done));
  return out;
}

}  // namespace fimd
