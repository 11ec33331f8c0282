#include "context/exclusion.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "context/text.h"

namespace fimd {
namespace {

constexpr size_t kMaxPattern = 4096;
constexpr size_t kMaxAlternatives = 256;
constexpr size_t kMaxContent = 1 << 20;
constexpr size_t kMaxIgnoreFile = 256 << 10;

constexpr std::string_view kBuiltIn[] = {
    // Environments and credential files of common tools.
    ".env*", "*.env", ".dev.vars", ".netrc", "_netrc", ".npmrc", ".yarnrc", ".pypirc", ".pgpass",
    ".my.cnf", ".git-credentials", ".htpasswd", ".dockercfg", "**/.docker/config.json", ".aws/",
    ".gnupg/", ".ssh/", "**/.kube/config", "*.tfstate", "*.tfstate.*", "*.tfvars", ".vault-token",
    "secrets.*", ".secrets*", "secret.{json,yml,yaml,toml,ini,env,properties,xml,txt}",
    "credentials", ".credentials*",
    "*credentials*.{json,yml,yaml,toml,ini,env,properties,xml,txt,csv,enc,db}",
    "service-account*.json", "*.keystore.properties",
    // Keys and certificates.
    "*.pem", "*.key", "*.p8", "*.p12", "*.pfx", "*.cert", "*.crt", "*.cer", "*.der", "*.csr",
    "*.jks", "*.keystore", "*.kdbx", "*.kdb", "*.gpg", "*.pgp", "*.asc", "*.ppk", "*.ovpn",
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*",
    // Generated text that says nothing about how its project is written.
    "*.min.js", "*.min.css", "*.map", "package-lock.json", "yarn.lock", "pnpm-lock.yaml",
    "Cargo.lock", "poetry.lock", "go.sum",
    // A folder and its contents that are another project's.
    "node_modules/", ".git/"};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

std::string lowered(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

std::vector<std::string_view> split_path(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") parts.push_back(part);
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return parts;
}

/// End of the [...] that begins at `begin`; npos if it is not closed.
size_t class_end(std::string_view pattern, size_t begin) {
  size_t i = begin + 1;
  if (i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^')) ++i;
  if (i < pattern.size() && pattern[i] == ']') ++i;  // a first ] is a member
  while (i < pattern.size() && pattern[i] != ']') i += pattern[i] == '\\' ? 2 : 1;
  return i < pattern.size() ? i + 1 : std::string_view::npos;
}

bool class_matches(std::string_view members, char c) {
  bool negated = false;
  bool found = false;
  size_t i = 0;
  if (!members.empty() && (members[0] == '!' || members[0] == '^')) {
    negated = true;
    i = 1;
  }
  while (i < members.size()) {
    if (members[i] == '\\' && i + 1 < members.size()) ++i;
    const auto low = static_cast<unsigned char>(members[i]);
    auto high = low;
    if (i + 2 < members.size() && members[i + 1] == '-') {
      high = static_cast<unsigned char>(members[i + 2]);
      i += 2;
    }
    const auto u = static_cast<unsigned char>(c);
    found = found || (low <= u && u <= high);
    ++i;
  }
  return found != negated;
}

/// One path component against one pattern component; linear but for the last star's retries.
bool component_matches(std::string_view pattern, std::string_view name) {
  size_t p = 0;
  size_t n = 0;
  size_t star = std::string_view::npos;
  size_t star_name = 0;
  while (n < name.size()) {
    bool step = false;
    size_t width = 1;
    if (p < pattern.size()) {
      const char c = pattern[p];
      if (c == '*') {
        star = ++p;
        star_name = n;
        continue;
      }
      if (c == '[') {
        width = class_end(pattern, p) - p;
        step = class_matches(pattern.substr(p + 1, width - 2), name[n]);
      } else if (c == '\\' && p + 1 < pattern.size()) {
        width = 2;
        step = pattern[p + 1] == name[n];
      } else {
        step = c == '?' || c == name[n];
      }
    }
    if (step) {
      p += width;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star;
      n = ++star_name;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

/// reach[k]: the first k components of the path match all of the pattern.
std::vector<char> matching_prefixes(const std::vector<std::string>& pattern,
                                    const std::vector<std::string_view>& path) {
  std::vector<char> reach(path.size() + 1, 0);
  reach[0] = 1;
  for (const std::string& part : pattern) {
    std::vector<char> next(path.size() + 1, 0);
    if (part == "**") {
      char any = 0;
      for (size_t k = 0; k <= path.size(); ++k) next[k] = any = any || reach[k];
    } else {
      for (size_t k = 0; k < path.size(); ++k) {
        if (reach[k] && component_matches(part, path[k])) next[k + 1] = 1;
      }
    }
    reach = std::move(next);
  }
  return reach;
}

/// Replaces each {a,b} by its alternatives.
Status expand_braces(const std::string& pattern, std::vector<std::string>* out) {
  const Error too_many = {ErrorCode::kInvalidArgument, "pattern '" + pattern + "' has more than " +
                                                           std::to_string(kMaxAlternatives) +
                                                           " alternatives"};
  std::vector<std::string> pending = {pattern};
  while (!pending.empty()) {
    const std::string text = std::move(pending.back());
    pending.pop_back();
    size_t open = std::string::npos;
    for (size_t i = 0; i < text.size() && open == std::string::npos; ++i) {
      if (text[i] == '\\') {
        ++i;
      } else if (text[i] == '{') {
        open = i;
      }
    }
    if (open == std::string::npos) {
      out->push_back(text);
      if (out->size() + pending.size() > kMaxAlternatives) return too_many;
      continue;
    }
    int depth = 0;
    size_t piece = open + 1;
    std::vector<std::string_view> pieces;
    size_t close = std::string::npos;
    for (size_t i = open; i < text.size(); ++i) {
      if (text[i] == '\\') {
        ++i;
      } else if (text[i] == '{') {
        ++depth;
      } else if (text[i] == '}' && --depth == 0) {
        close = i;
      }
      if ((text[i] == ',' && depth == 1) || close != std::string::npos) {
        pieces.push_back(std::string_view(text).substr(piece, i - piece));
        piece = i + 1;
      }
      if (close != std::string::npos) break;
    }
    if (close == std::string::npos) {
      return Error{ErrorCode::kInvalidArgument,
                   "pattern '" + pattern + "' has a '{' without its '}'"};
    }
    for (auto it = pieces.rbegin(); it != pieces.rend(); ++it) {
      pending.push_back(text.substr(0, open) + std::string(*it) + text.substr(close + 1));
    }
    if (out->size() + pending.size() > kMaxAlternatives) return too_many;
  }
  return {};
}

/// A folder's own name as a pattern that matches only it.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view("*?[]{}\\!#").find(c) != std::string_view::npos) out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

}  // namespace

Result<Glob> Glob::parse(std::string_view pattern) {
  const std::string shown(pattern.substr(0, 100));
  const auto bad = [&](const std::string& what) {
    return Error{ErrorCode::kInvalidArgument, "pattern '" + shown + "' " + what};
  };
  if (pattern.size() > kMaxPattern) return bad("is longer than 4096 bytes");
  Glob glob;
  if (pattern.starts_with('!')) {
    glob.negated_ = true;
    pattern.remove_prefix(1);
  }
  if (pattern.ends_with('/')) {
    glob.folder_ = true;
    pattern.remove_suffix(1);
  }
  if (pattern.empty()) return bad("matches nothing");
  std::vector<std::string> expanded;
  FIMD_RETURN_IF_ERROR(expand_braces(lowered(pattern), &expanded));
  for (const std::string& text : expanded) {
    std::vector<std::string> parts;
    // Without a slash a pattern matches at any depth.
    if (text.find('/') == std::string::npos) parts.emplace_back("**");
    for (const std::string_view part : split_path(text)) parts.emplace_back(part);
    for (const std::string& part : parts) {
      for (size_t i = 0; i < part.size(); ++i) {
        if (part[i] == '\\') {
          ++i;
        } else if (part[i] == '[') {
          const size_t end = class_end(part, i);
          if (end == std::string_view::npos) return bad("has a '[' without its ']'");
          i = end - 1;
        }
      }
    }
    if (parts.empty()) return bad("matches nothing");
    glob.alternatives_.push_back(std::move(parts));
  }
  return glob;
}

bool Glob::matches(std::string_view path) const {
  const std::string text = lowered(path);
  const std::vector<std::string_view> parts = split_path(text);
  for (const std::vector<std::string>& pattern : alternatives_) {
    const std::vector<char> reach = matching_prefixes(pattern, parts);
    // A pattern that matches a folder holds for all below it.
    const size_t last = folder_ && !parts.empty() ? parts.size() - 1 : parts.size();
    for (size_t k = 1; k <= last; ++k) {
      if (reach[k]) return true;
    }
  }
  return false;
}

Exclusion::Exclusion() {
  for (const std::string_view pattern : kBuiltIn) {
    auto glob = Glob::parse(pattern);
    if (glob.ok()) globs_.push_back(std::move(glob).value());
  }
}

Result<Exclusion> Exclusion::make(const std::vector<std::string>& user_globs) {
  Exclusion exclusion;
  for (const std::string& pattern : user_globs) {
    FIMD_ASSIGN_OR_RETURN(Glob glob, Glob::parse(pattern));
    exclusion.globs_.push_back(std::move(glob));
  }
  return exclusion;
}

std::vector<std::string> Exclusion::add_ignore_file(std::string_view folder,
                                                    std::string_view text) {
  std::vector<std::string> invalid;
  std::string prefix;
  for (const std::string_view part : split_path(folder)) prefix += escaped(part) + "/";
  for (std::string_view line : split_lines(text)) {
    while (!line.empty() && (line.back() == ' ' || line.back() == '\t')) line.remove_suffix(1);
    if (line.empty() || line.starts_with('#')) continue;
    std::string_view body = line;
    const bool negated = body.starts_with('!');
    if (negated) body.remove_prefix(1);
    const bool anchored = body.substr(0, body.size() - (body.ends_with('/') ? 1 : 0)).find('/') !=
                          std::string_view::npos;
    while (body.starts_with('/')) body.remove_prefix(1);
    std::string pattern = negated ? "!" : "";
    if (!prefix.empty() || anchored) pattern += prefix.empty() ? "/" : prefix;
    if (!prefix.empty() && !anchored) pattern += "**/";
    auto glob = body.empty() ? Result<Glob>(Error{}) : Glob::parse(pattern.append(body));
    if (glob.ok()) {
      globs_.push_back(std::move(glob).value());
    } else {
      invalid.emplace_back(line);
    }
  }
  return invalid;
}

std::vector<std::string> Exclusion::add_ignore_files(const Workspace& workspace) {
  std::vector<std::string> messages;
  for (const std::string& folder : workspace.folders()) {
    const std::string path = folder + "/.fimdignore";
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error)) continue;
    std::ifstream in(path, std::ios::binary);
    std::string text(kMaxIgnoreFile, '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(std::max<std::streamsize>(in.gcount(), 0)));
    for (const std::string& line : add_ignore_file("", text)) {
      messages.push_back(path + ": '" + line + "' is no valid pattern");
    }
  }
  return messages;
}

bool Exclusion::excludes_path(std::string_view path) const {
  std::string normal(path);
  std::replace(normal.begin(), normal.end(), '\\', '/');
  for (auto glob = globs_.rbegin(); glob != globs_.rend(); ++glob) {
    if (glob->matches(normal)) return !glob->negated();
  }
  return false;
}

std::string_view Exclusion::reason(std::string_view path, std::string_view text) const {
  if (excludes_path(path)) return "excluded path";
  return unsuitable_content(text);
}

std::string_view Exclusion::reason(const Workspace& workspace, const Document& document) const {
  // Outside of every folder a relative path is a mere name, which hides ~/.ssh and the like.
  if (!document.path().empty() && excludes_path(document.path())) {
    // A pattern that takes back an exclusion is usually meant from the workspace's root.
    if (excludes_path(workspace.relative_path(document))) return "excluded path";
    if (workspace.folder_name(document).empty()) return "excluded path";
  }
  return reason(workspace.relative_path(document), document.text());
}

std::string_view unsuitable_content(std::string_view text) {
  if (text.size() > kMaxContent) return "too large";
  const std::string_view head = text.substr(0, 64 << 10);
  if (head.find('\0') != std::string_view::npos) return "binary";
  size_t replaced = 0;
  for (size_t i = head.find("\xEF\xBF\xBD"); i != std::string_view::npos;
       i = head.find("\xEF\xBF\xBD", i + 3)) {
    ++replaced;
  }
  if (replaced > 16 && replaced * 3 * 20 > head.size()) return "binary";  // 5% of its bytes
  size_t lines = 1;
  size_t longest = 0;
  size_t begin = 0;
  for (size_t i = head.find('\n'); i != std::string_view::npos; i = head.find('\n', begin)) {
    longest = std::max(longest, i - begin);
    begin = i + 1;
    ++lines;
  }
  longest = std::max(longest, head.size() - begin);
  const size_t mean = head.size() / lines;
  if (head.size() > 1000 && (mean > 400 || (longest > 5000 && mean > 150))) return "minified";
  return "";
}

}  // namespace fimd
