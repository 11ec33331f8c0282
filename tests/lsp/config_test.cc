#include "lsp/config.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "lsp/paths.h"
#include "tests/json.h"

namespace fimd::lsp {
namespace {

using Problems = std::vector<ConfigProblem>;

Config from_toml(const std::string& text, Problems* problems) {
  Config config;
  config.merge_toml(text, "c.toml", problems);
  return config;
}

TEST_CASE("every key has a default within its own limits") {
  const Config config;
  Problems problems;
  Config again;
  std::string file;
  for (const ConfigKey& key : config_keys()) {
    CHECK(config.origin(key.name) == "default");
    CHECK(config.value_text(key.name) == key.initial);
    file += std::string(key.name) + " = " + key.initial + "\n";
  }
  again.merge_toml(file, "defaults", &problems);
  CHECK(problems.empty());
  CHECK(again.origin("engine.threads").starts_with("defaults:"));
}

TEST_CASE("the file is read section by section") {
  Problems problems;
  const Config config = from_toml(
      "[model]\npath = '/m.gguf'\n[completion]\nmulti_line = false\ntimeout_ms = 250\n"
      "exclude = ['*.secret', 'a b']\n[engine]\n",
      &problems);
  CHECK(problems.empty());
  CHECK(config.string("model.path") == "/m.gguf");
  CHECK_FALSE(config.completion_options().multi_line);
  CHECK(config.completion_options().timeout_ms == 250);
  CHECK(config.list("completion.exclude") == std::vector<std::string>{"*.secret", "a b"});
  CHECK(config.origin("completion.timeout_ms") == "c.toml:5");
}

TEST_CASE("mistakes are told with file, line and the nearest key; the rest counts") {
  Problems problems;
  const Config config = from_toml(
      "[completion]\ntimeuot_ms = 250\nmulti_line = 3\ncandidates = 99\nsnippets = false\n"
      "[engine]\nbackend = 'cup'\nthreads = 'many'\n[nonsense]\nx = 1\n[daemon]\nsockett = {}\n",
      &problems);
  REQUIRE(problems.size() == 7);
  CHECK(problems[0].where == "c.toml:2");
  CHECK(problems[0].message.find("'completion.timeout_ms'") != std::string::npos);
  CHECK(problems[1].text() == "c.toml:3: 'completion.multi_line' must be true or false, not 3");
  CHECK(problems[2].message.find("between 1 and 10") != std::string::npos);
  CHECK(problems[3].where == "c.toml:7");
  CHECK(problems[3].message.find("did you mean \"cpu\"") != std::string::npos);
  CHECK(problems[4].message.find("must be an integer") != std::string::npos);
  CHECK(problems[5].message == "unknown key 'nonsense.x'");
  CHECK(problems[6].message.find("'daemon.socket'") != std::string::npos);
  CHECK_FALSE(config.flag("completion.snippets"));
  CHECK(config.integer("completion.candidates") == 3);
}

TEST_CASE("numbers, from every place; integers will do") {
  const auto logprob = [](const Config& config) {
    return config.completion_options().min_mean_logprob;
  };
  Problems problems;
  CHECK(logprob(from_toml("completion.min_mean_logprob = -2.5", &problems)) == -2.5);
  CHECK(logprob(from_toml("completion.min_mean_logprob = -3", &problems)) == -3);
  Config config;
  config.merge_environment({{"FIMD_COMPLETION_MIN_MEAN_LOGPROB", "-0.25"}}, &problems);
  CHECK(logprob(config) == -0.25);
  CHECK(config.value_text("completion.min_mean_logprob") == "-0.25");
  config.merge_json(test::parse_json(R"({"completion":{"minMeanLogprob":-4}})"), "editor",
                    &problems);
  CHECK(logprob(config) == -4);
  CHECK(config.value_text("completion.min_mean_logprob") == "-4.0");
  CHECK(problems.empty());
  for (const char* wrong : {"'x'", "true", "1.5", "nan", "-1e9"}) {
    CAPTURE(wrong);
    Problems found;
    CHECK(logprob(from_toml("completion.min_mean_logprob = " + std::string(wrong), &found)) ==
          -1.2);
    CHECK(found.size() == 1);
  }
}

TEST_CASE("without settings the pipeline runs with its own defaults, and each key reaches it") {
  const CompletionOptions defaults;
  CHECK(Config().completion_options() == defaults);
  size_t reached = 0;
  for (const ConfigKey& key : config_keys()) {
    const std::string name = key.name;
    if (!name.starts_with("completion.") || name == "completion.enabled") continue;
    CAPTURE(name);
    std::string other;
    switch (key.type) {
      case ConfigType::kBool:
        other = key.initial == std::string("true") ? "false" : "true";
        break;
      case ConfigType::kInt:
        other = std::to_string(Config().integer(name) == key.max ? key.min : key.max);
        break;
      case ConfigType::kNumber:
        other = std::to_string(key.min);
        break;
      default:
        other = "['a']";
    }
    Problems problems;
    const Config config = from_toml(name + " = " + other, &problems);
    CHECK(problems.empty());
    CHECK_FALSE(config.completion_options() == defaults);
    ++reached;
  }
  CHECK(reached > 10);
}

TEST_CASE("a file that is not TOML is reported with its position") {
  Problems problems;
  from_toml("[completion\nx = 1", &problems);
  REQUIRE(problems.size() == 1);
  CHECK(problems[0].where.starts_with("c.toml:1:"));
}

TEST_CASE("a key in the wrong section finds its section") {
  Problems problems;
  from_toml("[daemon]\nkv_cache_mb = 10\n", &problems);
  REQUIRE(problems.size() == 1);
  CHECK(problems[0].message.find("'engine.kv_cache_mb'") != std::string::npos);
}

TEST_CASE("the environment overrides the file") {
  Problems problems;
  Config config = from_toml("[model]\npath = 'a'\n[completion]\nspeculate = true\n", &problems);
  config.merge_environment({{"FIMD_MODEL", "b"},
                            {"FIMD_COMPLETION_SPECULATE", "off"},
                            {"FIMD_COMPLETION_EXCLUDE", "*.a,*.b"},
                            {"FIMD_ENGINE_THREADS", "x"},
                            {"FIMD_COMPLETION_TIMEOUTMS", "5"},
                            {"FIMD_ISA", "portable"},
                            {"PATH", "/bin"}},
                           &problems);
  CHECK(config.string("model.path") == "b");
  CHECK(config.origin("model.path") == "environment FIMD_MODEL");
  CHECK_FALSE(config.flag("completion.speculate"));
  CHECK(config.list("completion.exclude").size() == 2);
  REQUIRE(problems.size() == 2);
  CHECK(problems[0].where == "environment FIMD_ENGINE_THREADS");
  CHECK(problems[1].message.find("FIMD_COMPLETION_TIMEOUT_MS") != std::string::npos);
}

TEST_CASE("editors may write settings nested, dotted, in camelCase or under fimd") {
  for (const char* text :
       {R"({"completion":{"timeout_ms":77}})", R"({"completion":{"timeoutMs":77}})",
        R"({"completion.timeoutMs":77})", R"({"fimd":{"completion":{"timeoutMs":77}}})",
        R"({"fimd.completion.timeout_ms":77,"model":{"path":null}})"}) {
    CAPTURE(text);
    Config config;
    Problems problems;
    config.merge_json(test::parse_json(text), "editor", &problems);
    CHECK(problems.empty());
    CHECK(config.integer("completion.timeout_ms") == 77);
    CHECK(config.origin("completion.timeout_ms") == "editor");
  }
  Config config;
  Problems problems;
  config.merge_json(test::parse_json(R"({"completion":{"timeoutMS":1,"snippets":[1]},"a":2})"),
                    "editor", &problems);
  CHECK(problems.size() == 3);
  config.merge_json(test::parse_json("[3]"), "editor", &problems);
  config.merge_json(nullptr, "editor", &problems);
  CHECK(problems.size() == 4);
}

TEST_CASE("docs/configuration.md is this table") {
  std::ifstream in("docs/configuration.md");
  std::ostringstream text;
  text << in.rdbuf();
  CHECK(text.str().find(config_markdown()) != std::string::npos);
}

TEST_CASE("places follow the XDG variables") {
  CHECK(config_file({{"HOME", "/h"}}) == "/h/.config/fimd/config.toml");
  CHECK(config_file({{"HOME", "/h"}, {"XDG_CONFIG_HOME", "/c"}}) == "/c/fimd/config.toml");
  CHECK(config_file({{"HOME", "/h"}, {"XDG_CONFIG_HOME", "relative"}}) ==
        "/h/.config/fimd/config.toml");
  CHECK(config_file({{"FIMD_CONFIG", "/x.toml"}}) == "/x.toml");
  const Config config;
  CHECK(socket_path({{"XDG_RUNTIME_DIR", "/run/u"}}, config) == "/run/u/fimd/fimd.sock");
  CHECK(socket_path({{"HOME", "/h"}}, config) == "/h/.cache/fimd/fimd.sock");
  CHECK(log_path({{"HOME", "/h"}}, config) == "/h/.local/state/fimd/daemon.log");
}

TEST_CASE("a configured model stands alone; the error says where was looked") {
  Problems problems;
  const Config config = from_toml("[model]\npath = '/no/such.gguf'\n", &problems);
  const auto model = find_model(config, "/usr/bin/fimd");
  REQUIRE_FALSE(model.ok());
  CHECK(model.error().message.find("/no/such.gguf (model.path, c.toml:2)") != std::string::npos);
  const auto places = model_places(Config(), "/opt/x/bin/fimd");
  REQUIRE(places.size() == 2);
  CHECK(places[0].path == "/opt/x/share/fimd/models/fimd-small.gguf");
}

TEST_CASE("paths and URIs agree") {
  for (const std::string path : {"/a/b c.py", "/ü/100%/#x?.c", "/plain-1.2_3~.rs"}) {
    CHECK(path_of_uri(uri_of_path(path)) == path);
  }
  CHECK(path_of_uri("file:///a%20b%zz%4") == "/a b%zz%4");
  CHECK(path_of_uri("untitled:Untitled-1").empty());
  CHECK(path_of_uri("file://").empty());
}

}  // namespace
}  // namespace fimd::lsp
