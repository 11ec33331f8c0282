#include "lsp/config.h"

#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "lsp/paths.h"

namespace fimd::lsp {
namespace {

// Variables that are not keys of the table.
constexpr std::string_view kOtherVariables[] = {"FIMD_CONFIG", "FIMD_MODEL", "FIMD_SOCKET",
                                                "FIMD_LOG", "FIMD_ISA"};

const ConfigKey* find_key(std::string_view name) {
  for (const ConfigKey& key : config_keys()) {
    if (name == key.name) return &key;
  }
  return nullptr;
}

std::string unknown_key(std::string_view name) {
  std::vector<std::string> names;
  for (const ConfigKey& key : config_keys()) names.emplace_back(key.name);
  std::string message = "unknown key '" + std::string(name) + "'";
  if (const std::string near = nearest(name, names); !near.empty()) {
    message += " (did you mean '" + near + "'?)";
  }
  return message;
}

std::vector<std::string> words(std::string_view text, char separator) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    if (end > 0) out.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

// As TOML writes it: a number that is no integer has a point.
std::string number_text(double value) {
  char text[64];
  const auto [end, error] = std::to_chars(std::begin(text), std::end(text), value);
  std::string out(text, error == std::errc() ? end : text);
  return out.find_first_of(".en") == std::string::npos ? out + ".0" : out;
}

std::string to_text(const ConfigValue& value) {
  if (const auto* b = std::get_if<bool>(&value)) return *b ? "true" : "false";
  if (const auto* i = std::get_if<int64_t>(&value)) return std::to_string(*i);
  if (const auto* d = std::get_if<double>(&value)) return number_text(*d);
  if (const auto* s = std::get_if<std::string>(&value)) return quote(*s);
  std::string out = "[";
  for (const auto& item : std::get<std::vector<std::string>>(value)) {
    if (out.size() > 1) out += ", ";
    out += quote(item);
  }
  return out + "]";
}

// What is wrong with `value` for `key`; "" if nothing.
std::string check(const ConfigKey& key, const ConfigValue& value) {
  const std::string name = key.name;
  if (value.index() != static_cast<size_t>(key.type)) {
    constexpr const char* kNames[] = {"true or false", "an integer", "a number", "a string",
                                      "a list of strings"};
    return "'" + name + "' must be " + kNames[static_cast<size_t>(key.type)] + ", not " +
           to_text(value);
  }
  if (key.type == ConfigType::kInt) {
    const int64_t i = std::get<int64_t>(value);
    if (i < key.min || i > key.max) {
      return "'" + name + "' must be between " + std::to_string(key.min) + " and " +
             std::to_string(key.max) + ", not " + std::to_string(i);
    }
  }
  if (key.type == ConfigType::kNumber) {
    const double d = std::get<double>(value);
    // Written so that it refuses what is not a number, too.
    if (!(d >= static_cast<double>(key.min) && d <= static_cast<double>(key.max))) {
      return "'" + name + "' must be between " + std::to_string(key.min) + " and " +
             std::to_string(key.max) + ", not " + number_text(d);
    }
  }
  if (key.type == ConfigType::kString && *key.choices != '\0') {
    const auto choices = words(key.choices, ' ');
    const auto& text = std::get<std::string>(value);
    if (std::find(choices.begin(), choices.end(), text) == choices.end()) {
      std::string message = "'" + name + "' must be one of";
      for (const auto& choice : choices) message += " " + quote(choice);
      message += ", not " + quote(text);
      if (const std::string near = nearest(text, choices); !near.empty()) {
        message += " (did you mean " + quote(near) + "?)";
      }
      return message;
    }
  }
  return "";
}

// A value written as plain text, as environment variables are.
std::optional<ConfigValue> from_text(ConfigType type, const std::string& text) {
  switch (type) {
    case ConfigType::kBool:
      if (text == "1" || text == "true" || text == "yes" || text == "on") return true;
      if (text == "0" || text == "false" || text == "no" || text == "off") return false;
      return std::nullopt;
    case ConfigType::kInt: {
      int64_t value = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
      return value;
    }
    case ConfigType::kNumber: {
      double value = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
      return value;
    }
    case ConfigType::kString:
      return text;
    case ConfigType::kList:
      return words(text, ',');
  }
  return std::nullopt;
}

std::optional<ConfigValue> from_toml(const toml::node& node) {
  if (const auto* b = node.as_boolean()) return b->get();
  if (const auto* i = node.as_integer()) return i->get();
  if (const auto* f = node.as_floating_point()) return f->get();
  if (const auto* s = node.as_string()) return s->get();
  if (const auto* array = node.as_array()) {
    std::vector<std::string> items;
    for (const toml::node& item : *array) {
      const auto* s = item.as_string();
      if (s == nullptr) return std::nullopt;
      items.push_back(s->get());
    }
    return items;
  }
  return std::nullopt;
}

std::optional<ConfigValue> from_json(const nlohmann::json& json) {
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  if (json.is_array()) {
    std::vector<std::string> items;
    for (const auto& item : json) {
      if (!item.is_string()) return std::nullopt;
      items.push_back(item.get<std::string>());
    }
    return items;
  }
  return std::nullopt;
}

// maxTokens -> max_tokens
std::string snake_case(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c >= 'A' && c <= 'Z') {
      if (!out.empty() && out.back() != '.' && out.back() != '_') out += '_';
      out += static_cast<char>(c - 'A' + 'a');
    } else {
      out += c;
    }
  }
  return out;
}

struct Leaf {
  std::string key;
  std::optional<ConfigValue> value;
  int line = 0;
};

void toml_leaves(const toml::table& table, const std::string& prefix, std::vector<Leaf>* out) {
  for (const auto& [name, node] : table) {
    const std::string key = prefix + std::string(name.str());
    if (const auto* inner = node.as_table()) {
      if (inner->empty() && find_key(key) == nullptr) {
        // An empty section: right if any key lies in it.
        const bool known = std::any_of(
            config_keys().begin(), config_keys().end(),
            [&](const ConfigKey& k) { return std::string_view(k.name).starts_with(key + "."); });
        if (known) continue;
      }
      if (!inner->empty()) {
        toml_leaves(*inner, key + ".", out);
        continue;
      }
    }
    out->push_back({key, from_toml(node), static_cast<int>(node.source().begin.line)});
  }
}

void json_leaves(const nlohmann::json& json, const std::string& prefix, std::vector<Leaf>* out) {
  for (const auto& [name, value] : json.items()) {
    const std::string key = prefix + snake_case(name);
    if (value.is_null()) continue;  // "not set", as editors say it
    if (value.is_object() && find_key(key) == nullptr) {
      json_leaves(value, key + ".", out);
    } else {
      out->push_back({key, from_json(value), 0});
    }
  }
}

}  // namespace

Env process_environment() {
  Env env;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals == text.npos) continue;
    env.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return env;
}

Config::Config() {
  for (const ConfigKey& key : config_keys()) {
    std::string text = key.initial;
    if (key.type == ConfigType::kString) text = text.substr(1, text.size() - 2);
    if (key.type == ConfigType::kList) text = "";
    entries_[key.name] = {*from_text(key.type, text), "default"};
  }
}

void Config::set(std::string_view name, ConfigValue value, const std::string& where,
                 std::vector<ConfigProblem>* problems) {
  const ConfigKey* key = find_key(name);
  if (key == nullptr) {
    problems->push_back({where, unknown_key(name)});
    return;
  }
  // An integer is a number, too.
  if (const auto* i = std::get_if<int64_t>(&value); i && key->type == ConfigType::kNumber) {
    value = static_cast<double>(*i);
  }
  if (std::string wrong = check(*key, value); !wrong.empty()) {
    problems->push_back({where, wrong});
    return;
  }
  entries_[key->name] = {std::move(value), where};
}

void Config::merge_toml(std::string_view text, const std::string& file,
                        std::vector<ConfigProblem>* problems) {
  std::vector<Leaf> leaves;
  try {
    const toml::table table = toml::parse(text, file);
    toml_leaves(table, "", &leaves);
  } catch (const toml::parse_error& e) {
    problems->push_back({file + ":" + std::to_string(e.source().begin.line) + ":" +
                             std::to_string(e.source().begin.column),
                         std::string(e.description())});
    return;
  }
  std::sort(leaves.begin(), leaves.end(),
            [](const Leaf& a, const Leaf& b) { return a.line < b.line; });
  for (Leaf& leaf : leaves) {
    const std::string where = file + ":" + std::to_string(leaf.line);
    if (leaf.value) {
      set(leaf.key, std::move(*leaf.value), where, problems);
    } else if (find_key(leaf.key) == nullptr) {
      problems->push_back({where, unknown_key(leaf.key)});
    } else {
      problems->push_back({where, "'" + leaf.key + "' has a value of a wrong type"});
    }
  }
}

void Config::merge_environment(const Env& env, std::vector<ConfigProblem>* problems) {
  const auto take = [&](const std::string& variable, const char* name) {
    const auto it = env.find(variable);
    if (it == env.end() || it->second.empty()) return;
    const ConfigKey* key = find_key(name);
    const std::string where = "environment " + variable;
    if (auto value = from_text(key->type, it->second)) {
      set(name, std::move(*value), where, problems);
    } else {
      problems->push_back({where, check(*key, ConfigValue(it->second))});
    }
  };
  take("FIMD_MODEL", "model.path");
  take("FIMD_SOCKET", "daemon.socket");
  take("FIMD_LOG", "log.level");
  std::vector<std::string> known(std::begin(kOtherVariables), std::end(kOtherVariables));
  for (const ConfigKey& key : config_keys()) {
    known.push_back(environment_name(key.name));
    take(known.back(), key.name);
  }
  for (auto it = env.lower_bound("FIMD_"); it != env.end() && it->first.starts_with("FIMD_");
       ++it) {
    if (std::find(known.begin(), known.end(), it->first) != known.end()) continue;
    // Other programs may have variables of that name too: only a likely slip is reported.
    if (const std::string near = nearest(it->first, known); !near.empty()) {
      problems->push_back(
          {"environment " + it->first, "unknown variable (did you mean '" + near + "'?)"});
    }
  }
}

void Config::merge_json(const nlohmann::json& json, const std::string& where,
                        std::vector<ConfigProblem>* problems) {
  if (json.is_null()) return;
  if (!json.is_object()) {
    problems->push_back({where, "the settings must be an object"});
    return;
  }
  std::vector<Leaf> leaves;
  json_leaves(json, "", &leaves);
  for (Leaf& leaf : leaves) {
    if (leaf.key.starts_with("fimd.")) leaf.key.erase(0, 5);
    if (leaf.value) {
      set(leaf.key, std::move(*leaf.value), where, problems);
    } else if (find_key(leaf.key) == nullptr) {
      problems->push_back({where, unknown_key(leaf.key)});
    } else {
      problems->push_back({where, "'" + leaf.key + "' has a value of a wrong type"});
    }
  }
}

const Config::Entry& Config::entry(std::string_view key) const {
  const auto it = entries_.find(key);
  assert(it != entries_.end() && "not a configuration key");
  return it->second;
}

bool Config::flag(std::string_view key) const { return std::get<bool>(entry(key).value); }
int64_t Config::integer(std::string_view key) const { return std::get<int64_t>(entry(key).value); }
double Config::number(std::string_view key) const { return std::get<double>(entry(key).value); }
const std::string& Config::string(std::string_view key) const {
  return std::get<std::string>(entry(key).value);
}
const std::vector<std::string>& Config::list(std::string_view key) const {
  return std::get<std::vector<std::string>>(entry(key).value);
}
std::string Config::value_text(std::string_view key) const { return to_text(entry(key).value); }
const std::string& Config::origin(std::string_view key) const { return entry(key).origin; }

CompletionOptions Config::completion_options() const {
  const auto count = [this](std::string_view key) { return static_cast<int>(integer(key)); };
  CompletionOptions options;
  options.max_tokens_single_line = count("completion.max_tokens_single_line");
  options.max_tokens_multi_line = count("completion.max_tokens_multi_line");
  options.multi_line = flag("completion.multi_line");
  options.candidates = count("completion.candidates");
  options.prefix_tokens = count("completion.prefix_tokens");
  options.suffix_tokens = count("completion.suffix_tokens");
  options.snippet_tokens = count("completion.snippet_tokens");
  options.snippets = flag("completion.snippets");
  options.speculate = flag("completion.speculate");
  options.prefill_on_change = flag("completion.prefill_on_change");
  options.typing_through = flag("completion.typing_through");
  options.min_mean_logprob = number("completion.min_mean_logprob");
  options.beam_width = count("completion.beam_width");
  options.timeout_ms = count("completion.timeout_ms");
  options.exclude = list("completion.exclude");
  return options;
}

EngineOptions Config::engine_options() const {
  EngineOptions options;
  options.backend = string("engine.backend");
  options.threads = static_cast<int>(integer("engine.threads"));
  options.kv_cache_bytes = integer("engine.kv_cache_mb") << 20;
  options.kv_type = string("engine.kv_type");
  options.state_cache_bytes = integer("engine.state_cache_mb") << 20;
  options.context_length = static_cast<int>(integer("engine.context_length"));
  options.prefill_chunk = static_cast<int>(integer("engine.prefill_chunk"));
  return options;
}

LoadedConfig load_config(const Env& env) {
  LoadedConfig loaded;
  loaded.file = config_file(env);
  std::ifstream in(loaded.file, std::ios::binary);
  if (in) {
    loaded.file_exists = true;
    std::ostringstream text;
    text << in.rdbuf();
    loaded.config.merge_toml(text.str(), loaded.file, &loaded.problems);
  } else if (env.contains("FIMD_CONFIG") && !env.find("FIMD_CONFIG")->second.empty()) {
    loaded.problems.push_back({loaded.file, "the file that FIMD_CONFIG names cannot be read"});
  }
  loaded.config.merge_environment(env, &loaded.problems);
  return loaded;
}

}  // namespace fimd::lsp
