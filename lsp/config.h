// Configuration: one table of keys, filled in layers (defaults, TOML file, environment, editor).
//
// The table drives parsing, error messages, `fimd config` and docs/configuration.md. A bad value
// or an unknown key is a problem to report; the layer's other keys still count. Owner: values,
// copied freely. Thread: any.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "completion/completer.h"
#include "engine/load.h"
#include "support/result.h"

namespace fimd::lsp {

using Env = std::map<std::string, std::string, std::less<>>;
Env process_environment();

using ConfigValue = std::variant<bool, int64_t, double, std::string, std::vector<std::string>>;
enum class ConfigType { kBool, kInt, kNumber, kString, kList };  // in the variant's order

struct ConfigKey {
  const char* name;  // "completion.timeout_ms"
  ConfigType type;
  const char* initial;  // as written in TOML
  int64_t min = 0;      // of kInt and kNumber
  int64_t max = 0;
  const char* choices = "";  // of kString: "auto cpu", empty: any text
  const char* description;
};

std::span<const ConfigKey> config_keys();
/// The variable that sets a key: FIMD_COMPLETION_TIMEOUT_MS.
std::string environment_name(std::string_view key);

struct ConfigProblem {
  std::string where;    // "/home/u/.config/fimd/config.toml:3", "environment", "editor settings"
  std::string message;  // "unknown key 'completion.timeuot_ms' (did you mean ...?)"
  std::string text() const { return where + ": " + message; }
};

class Config {
 public:
  Config();  // the defaults

  void merge_toml(std::string_view text, const std::string& file,
                  std::vector<ConfigProblem>* problems);
  /// FIMD_* variables; FIMD_MODEL, FIMD_SOCKET and FIMD_LOG are short forms.
  void merge_environment(const Env& env, std::vector<ConfigProblem>* problems);
  /// initializationOptions or workspace/configuration: nested or dotted keys, snake_case or
  /// camelCase, with or without a "fimd" level around them.
  void merge_json(const nlohmann::json& json, const std::string& where,
                  std::vector<ConfigProblem>* problems);

  /// `key` must be in the table.
  bool flag(std::string_view key) const;
  int64_t integer(std::string_view key) const;
  double number(std::string_view key) const;
  const std::string& string(std::string_view key) const;
  const std::vector<std::string>& list(std::string_view key) const;

  std::string value_text(std::string_view key) const;     // as TOML
  const std::string& origin(std::string_view key) const;  // "default" or where it was set

  CompletionOptions completion_options() const;
  /// Without the model's path: see find_model.
  EngineOptions engine_options() const;

 private:
  struct Entry {
    ConfigValue value;
    std::string origin;
  };
  const Entry& entry(std::string_view key) const;
  void set(std::string_view key, ConfigValue value, const std::string& where,
           std::vector<ConfigProblem>* problems);

  std::map<std::string, Entry, std::less<>> entries_;
};

struct LoadedConfig {
  Config config;
  std::vector<ConfigProblem> problems;
  std::string file;
  bool file_exists = false;
};

/// Defaults, then the file ($FIMD_CONFIG or $XDG_CONFIG_HOME/fimd/config.toml), then `env`.
LoadedConfig load_config(const Env& env);

/// The table as docs/configuration.md shows it.
std::string config_markdown();

/// The candidate nearest to `word` if it is near enough to be meant, else "".
std::string nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace fimd::lsp
