// Exclusion: which files, and which lines of otherwise normal files, must never enter a prompt.
//
// Owner: one per editor session, rebuilt when its configuration changes. Immutable after set-up and
// then readable from any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "context/document.h"
#include "context/workspace.h"
#include "support/result.h"

namespace fimd {

/// One compiled glob in .gitignore's manner: `*`, `?`, `[a-z]`, `[!a]`, `{a,b}`, `**`; a pattern
/// without a slash matches a name at any depth, a trailing slash a folder and all below it, a
/// leading `!` takes back what an earlier pattern excluded. Matching ignores ASCII case.
class Glob {
 public:
  static Result<Glob> parse(std::string_view pattern);

  bool negated() const { return negated_; }
  /// `path` uses forward slashes and has no leading slash.
  bool matches(std::string_view path) const;

 private:
  std::vector<std::vector<std::string>> alternatives_;  // braces expanded, split at slashes, lower
                                                        // case
  bool negated_ = false;
  bool folder_ = false;
};

class Exclusion {
 public:
  /// Built-in patterns only (keys, certificates, .env and other credential files).
  Exclusion();
  /// Built-in patterns, then the user's; the last match decides.
  static Result<Exclusion> make(const std::vector<std::string>& user_globs);

  /// Adds the lines of an ignore file (`#` comments, blank lines) found in `folder`, given relative
  /// to the workspace ("" for its root). Lines that are no valid pattern are returned.
  std::vector<std::string> add_ignore_file(std::string_view folder, std::string_view text);

  /// Adds `.fimdignore` of each workspace folder, as far as there is one. Returns a message for
  /// each line that is no valid pattern.
  std::vector<std::string> add_ignore_files(const Workspace& workspace);

  /// `path` relative to the workspace, or absolute: then it is matched as if the workspace were the
  /// root folder.
  bool excludes_path(std::string_view path) const;

  /// Why a document's text must stay out ("excluded path", "binary", "minified", "too large");
  /// empty if it may be used.
  std::string_view reason(std::string_view path, std::string_view text) const;
  /// The same for an open document, by its path in the workspace or, outside of it, its whole path.
  std::string_view reason(const Workspace& workspace, const Document& document) const;

 private:
  std::vector<Glob> globs_;
};

/// Why this content is no source text a person reads ("binary", "minified", "too large"); else "".
/// Looks at the size, at the first 64 KiB and at line lengths: cheap, but call it once per version.
std::string_view unsuitable_content(std::string_view text);

/// `text` with private key blocks and recognisable tokens (cloud and forge tokens, JSON web tokens,
/// passwords in URLs, long literals assigned to names such as `password` or `api_key`) replaced by
/// `REDACTED`; line breaks are kept. Absent if there was nothing to replace.
std::optional<std::string> redact_secrets(std::string_view text);

}  // namespace fimd
