// The daemon and its proxies as processes: sharing, races, replacement, permissions, commands.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "tests/json.h"
#include "tests/lsp/process_peer.h"

namespace fimd::lsp {
namespace {

using nlohmann::json;

void initialize(ProcessPeer& editor) {
  editor.send({{"id", 0},
               {"method", "initialize"},
               {"params", {{"processId", nullptr}, {"capabilities", json::object()}}}});
}

void open(ProcessPeer& editor, const std::string& uri, const std::string& text) {
  editor.send({{"method", "initialized"}, {"params", json::object()}});
  editor.send({{"method", "textDocument/didOpen"},
               {"params",
                {{"textDocument",
                  {{"uri", uri}, {"languageId", "python"}, {"version", 1}, {"text", text}}}}}});
}

json ask(ProcessPeer& editor, int id, const std::string& uri) {
  editor.send({{"id", id},
               {"method", "textDocument/inlineCompletion"},
               {"params",
                {{"textDocument", {{"uri", uri}}},
                 {"position", {{"line", 0}, {"character", 3}}},
                 {"context", {{"triggerKind", 2}}}}}});
  return editor.answer(id);
}

void leave(ProcessPeer& editor) {
  editor.send({{"id", "bye"}, {"method", "shutdown"}});
  CHECK(editor.answer("bye").contains("result"));
  editor.send({{"method", "exit"}});
  CHECK(editor.wait_exit() == 0);
}

TEST_CASE("editors that start at once share one daemon and one model") {
  Home home;
  constexpr int kEditors = 4;
  ProcessPeer editors[kEditors];
  for (ProcessPeer& editor : editors) {
    editor.spawn(home, {"lsp"});
    initialize(editor);
  }
  for (ProcessPeer& editor : editors) {
    const json answer = editor.answer(0);
    REQUIRE_MESSAGE(answer.contains("result"), home.log());
  }
  const pid_t daemon = home.daemon_pid();
  REQUIRE(daemon > 0);
  for (int i = 0; i < kEditors; ++i) {
    const std::string uri = "file:///" + std::to_string(i) + ".py";
    open(editors[i], uri, "abc\n");
    const json answer = ask(editors[i], 1, uri);
    CHECK_MESSAGE(answer.contains("result"), test::dump_json(answer) << home.log());
  }
  // Documents are not shared: one editor's are unknown to the other.
  CHECK(ask(editors[0], 2, "file:///1.py")["error"]["code"] == -32602);
  const auto [code, text] = home.run({"status", "--json"});
  CHECK(code == 0);
  const json status = test::parse_json(text);
  CHECK(status["pid"] == daemon);
  CHECK(status["state"] == "ready");
  CHECK(status["editors"].size() == kEditors);
  CHECK(status["editors"][0]["documents"] == 1);
  CHECK(status["model"]["architecture"] == "qwen2");

  struct stat info = {};
  REQUIRE(::stat(home.socket().c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0600);
  REQUIRE(::stat((home.dir() + "/fimd").c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0700);
  REQUIRE(::stat((home.dir() + "/state/fimd/daemon.log").c_str(), &info) == 0);
  CHECK((info.st_mode & 077) == 0);

  for (ProcessPeer& editor : editors) leave(editor);
  CHECK(home.daemon_pid() == daemon);  // it stays
}

TEST_CASE("a second daemon leaves the first alone; stop ends it and removes the socket") {
  Home home;
  ProcessPeer editor;
  editor.spawn(home, {"lsp"});
  initialize(editor);
  REQUIRE(editor.answer(0).contains("result"));
  const pid_t daemon = home.daemon_pid();
  const auto [code, text] = home.run({"daemon"});
  CHECK(code == 1);
  CHECK(home.log().find("owns") != std::string::npos);
  CHECK(home.daemon_pid() == daemon);
  leave(editor);
  CHECK(home.run({"stop"}).first == 0);
  CHECK_FALSE(std::filesystem::exists(home.socket()));
  CHECK(home.run({"stop"}).first == 0);
  CHECK(home.run({"status"}).first == 1);
}

TEST_CASE("a stale socket is taken over") {
  Home home;
  {
    ProcessPeer editor;
    editor.spawn(home, {"lsp"});
    initialize(editor);
    REQUIRE(editor.answer(0).contains("result"));
    leave(editor);
  }
  const pid_t daemon = home.daemon_pid();
  REQUIRE(::kill(daemon, SIGKILL) == 0);
  ProcessPeer editor;
  editor.spawn(home, {"lsp"});
  initialize(editor);
  REQUIRE(editor.answer(0).contains("result"));
  CHECK(home.daemon_pid() != daemon);
  leave(editor);
}

TEST_CASE("fimd stop under connected editors: they start another daemon") {
  Home home;
  ProcessPeer first, second;
  for (ProcessPeer* editor : {&first, &second}) {
    editor->spawn(home, {"lsp"});
    initialize(*editor);
    REQUIRE(editor->answer(0).contains("result"));
    open(*editor, "file:///a.py", "abc\n");
    CHECK(ask(*editor, 1, "file:///a.py").contains("result"));
  }
  const pid_t old_daemon = home.daemon_pid();
  CHECK(home.run({"stop"}).first == 0);
  CHECK(ask(first, 2, "file:///a.py").contains("result"));
  CHECK(ask(second, 2, "file:///a.py").contains("result"));
  const pid_t new_daemon = home.daemon_pid();
  CHECK(new_daemon > 0);
  CHECK(new_daemon != old_daemon);
  leave(first);
  leave(second);
}

TEST_CASE("a daemon that nobody uses ends after its idle time, not before") {
  Home home;
  ProcessPeer daemon, editor;
  daemon.spawn(home, {"daemon", "--idle-seconds", "1"});
  REQUIRE(home.wait_for_daemon() > 0);
  editor.spawn(home, {"lsp"});
  initialize(editor);
  REQUIRE(editor.answer(0).contains("result"));
  open(editor, "file:///a.py", "abc\n");
  CHECK(ask(editor, 1, "file:///a.py").contains("result"));
  leave(editor);
  CHECK(daemon.wait_exit() == 0);
  CHECK(home.log().find("nobody used it") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(home.socket()));
}

TEST_CASE("a daemon that cannot start is a clear error to the editor") {
  Home home;
  std::ofstream(home.dir() + "/fimd") << "a file where the directory should be";
  ProcessPeer editor;
  editor.spawn(home, {"lsp"});
  initialize(editor);
  const json answer = editor.answer(0);
  REQUIRE(answer.contains("error"));
  CHECK(answer["error"]["message"].get<std::string>().find("is not a directory") !=
        std::string::npos);
  leave(editor);
}

TEST_CASE("an idle daemon of another build is replaced, a busy one is used") {
  Home home;
  const std::string old_fimd = home.dir() + "/old-fimd";
  std::filesystem::copy_file(FIMD_BINARY, old_fimd);  // another file: another build
  const auto start_old = [&] {
    ProcessPeer editor;
    editor.spawn_program(home, old_fimd, {"lsp"});
    initialize(editor);
    REQUIRE(editor.answer(0).contains("result"));
    leave(editor);
  };
  start_old();
  const pid_t old_daemon = home.daemon_pid();
  ProcessPeer editor;
  editor.spawn(home, {"lsp"});
  initialize(editor);
  REQUIRE(editor.answer(0).contains("result"));
  const pid_t new_daemon = home.daemon_pid();
  CHECK_MESSAGE(new_daemon != old_daemon, home.log());
  open(editor, "file:///a.py", "abc\n");
  open(editor, "file:///a.py", "abc\n");
  CHECK(ask(editor, 1, "file:///a.py").contains("result"));
  CHECK(ask(editor, 1, "file:///a.py").contains("result"));
  start_old();  // while the editor is connected
  CHECK(home.daemon_pid() == new_daemon);
  CHECK(ask(editor, 2, "file:///a.py").contains("result"));
  leave(editor);
}

TEST_CASE("a missing model is told, in the status and by request") {
  Home home;
  home.variables["FIMD_MODEL"] = "/no/such.gguf";
  ProcessPeer editor;
  editor.spawn(home, {"lsp"});
  initialize(editor);
  REQUIRE(editor.answer(0).contains("result"));
  open(editor, "file:///a.py", "abc\n");
  const json message = editor.notification("window/showMessage");
  REQUIRE(message != nullptr);
  CHECK(message["params"]["message"].get<std::string>().find("/no/such.gguf") != std::string::npos);
  CHECK(ask(editor, 1, "file:///a.py")["result"] == nullptr);
  CHECK(editor.notification("fimd/status")["params"]["state"] == "error");
  const auto [code, text] = home.run({"doctor"});
  CHECK(code == 1);
  CHECK(text.find("BAD model") != std::string::npos);
  CHECK(text.find("->") != std::string::npos);
  leave(editor);
}

TEST_CASE("mistakes in the configuration are shown to the editor, and it works") {
  Home home;
  std::filesystem::create_directories(home.dir() + "/config/fimd");
  std::ofstream(home.dir() + "/config/fimd/config.toml") << "[completion]\ntimeuot_ms = 5\n";
  ProcessPeer editor;
  editor.spawn(home, {"lsp"});
  initialize(editor);
  REQUIRE(editor.answer(0).contains("result"));
  open(editor, "file:///a.py", "abc\n");
  const json message = editor.notification("window/showMessage");
  CHECK(message["params"]["message"].get<std::string>().find(
            "config.toml:2: unknown key 'completion.timeuot_ms' (did you mean "
            "'completion.timeout_ms'?)") != std::string::npos);
  CHECK(ask(editor, 1, "file:///a.py").contains("result"));
  CHECK(home.run({"config", "--check"}).first == 1);
  leave(editor);
}

TEST_CASE("commands answer with and without a daemon") {
  Home home;
  const std::string file = home.dir() + "/code.py";
  std::ofstream(file) << "def add(a, b):\n    return a\n";
  for (const bool with_daemon : {false, true}) {
    CAPTURE(with_daemon);
    ProcessPeer editor;
    if (with_daemon) {
      editor.spawn(home, {"lsp"});
      initialize(editor);
      REQUIRE(editor.answer(0).contains("result"));
    }
    const auto [code, text] = home.run({"complete", "--explain", "--json", file + ":2:13"});
    CHECK_MESSAGE(code == 0, home.log());
    const json result = test::parse_json(text);
    CHECK(result["suggestions"].is_array());
    CHECK(result["report"]["promptTokens"].get<int>() > 0);
    CHECK(result["explanation"]["rendered"].get<std::string>().find("return a") !=
          std::string::npos);
    CHECK(home.run({"complete", file + ":99:1"}).first == 2);
    CHECK(home.run({"complete", "/no/such/file:1:1"}).first == 1);
    CHECK(home.run({"complete", "nonsense"}).first == 2);
    CHECK(home.run({"doctor"}).first == 0);
    if (with_daemon) leave(editor);
  }
  const auto [code, text] = home.run({"tokenize", "--count", file});
  CHECK(code == 0);
  CHECK(std::stoi(text) > 5);
  CHECK(home.run({"--version"}).second.starts_with("fimd "));
  for (const char* command :
       {"lsp", "daemon", "complete", "explain", "review", "refactor", "fix", "document", "status",
        "stop", "doctor", "bench", "tokenize", "config"}) {
    const auto [help_code, help] = home.run({command, "--help"});
    CHECK(help_code == 0);
    CHECK(help.find("Examples:") != std::string::npos);
  }
  CHECK(home.run({"no-such-command"}).first == 2);
  CHECK(home.run({}).first == 2);
}

TEST_CASE("the model that comes with fimd completes code") {
  if (!std::filesystem::exists("models/fimd-small.gguf")) return;
  Home home;
  home.variables["FIMD_MODEL"] = "";  // found by itself
  const std::string file = home.dir() + "/code.py";
  std::ofstream(file) << "import os\nimport sys\n\n\ndef main():\n    for i in ran\n";
  const auto [code, text] = home.run({"complete", "--json", file + ":6"});
  REQUIRE_MESSAGE(code == 0, home.log());
  const json result = test::parse_json(text);
  REQUIRE_MESSAGE(result["suggestions"].size() == 1, text);
  CHECK(result["suggestions"][0]["text"].get<std::string>().starts_with("ge("));
}

TEST_CASE("the model that comes with fimd documents code, and says what it cannot do") {
  if (!std::filesystem::exists("models/fimd-small.gguf")) return;
  Home home;
  home.variables["FIMD_MODEL"] = "";
  const std::string file = home.dir() + "/code.py";
  const std::string before =
      "import json\n\n\ndef read_config(path, default=None):\n    if not path:\n"
      "        return default\n    with open(path) as f:\n        return json.load(f)";
  std::ofstream(file) << before;
  const auto text_of = [&] {
    std::ifstream in(file);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  const auto [code, diff] = home.run({"document", file + ":6"});
  REQUIRE_MESSAGE(code == 0, home.log());
  CHECK(diff.find("@@ -2,6 +2,7 @@\n") != std::string::npos);
  CHECK(diff.find("\n+    \"\"\"") != std::string::npos);
  CHECK(text_of() == before);
  CHECK(home.run({"document", "--write", file + ":6"}).first == 0);
  const std::string after = text_of();
  REQUIRE(after.size() > before.size());
  const size_t at = before.find("    if not path");
  CHECK(after.starts_with(before.substr(0, at) + "    \"\"\""));
  CHECK(after.ends_with(before.substr(at)));
  CHECK(home.run({"document", "--write", file + ":6"}).first == 1);  // documented already
  CHECK(text_of() == after);
  const auto [refused, message] = home.run({"explain", file + ":6"});
  CHECK(refused == 1);
  CHECK(home.run({"document", file + ":99"}).first == 2);
  CHECK(home.run({"document", file + ":6-2"}).first == 2);
  CHECK(home.run({"document", "/no/such/file:1"}).first == 1);
  CHECK(home.run({"refactor", file + ":6"}).first == 2);  // it wants an instruction
}

TEST_CASE("a model that chats explains on the terminal, from a daemon and without one") {
  Home home;
  home.variables["FIMD_MODEL"] =
      std::filesystem::absolute("tests/fixtures/qwen3-chat-tiny.gguf").string();
  const std::string file = home.dir() + "/code.py";
  std::ofstream(file) << "def add(a, b):\n    return a + b\n";
  const auto [code, text] = home.run({"explain", file + ":2", "why?"});
  CHECK(code == 0);
  CHECK(text.size() > 20);
  ProcessPeer editor;
  editor.spawn(home, {"lsp"});
  initialize(editor);
  REQUIRE(editor.answer(0).contains("result"));
  CHECK(home.run({"explain", file + ":2", "why?"}) == std::pair{0, text});
  const auto [json_code, answer] = home.run({"explain", "--json", file + ":2", "why?"});
  CHECK(json_code == 0);
  CHECK(test::parse_json(answer)["kind"] == "markdown");
  CHECK(home.run({"refactor", file + ":2", "rename a"}).first == 1);  // noise is no code
  leave(editor);
}

TEST_CASE("an editor that does not read does not hurt the others") {
  Home home;
  ProcessPeer silent, other;
  for (ProcessPeer* editor : {&silent, &other}) {
    editor->spawn(home, {"lsp"});
    initialize(*editor);
    REQUIRE(editor->answer(0).contains("result"));
  }
  open(silent, "file:///a.py", "abc\n");
  for (int i = 1; i < 2000; ++i) {
    silent.send({{"id", i}, {"method", std::string(100, 'm')}});  // each is answered, none read
  }
  open(other, "file:///a.py", "abc\n");
  CHECK(ask(other, 1, "file:///a.py").contains("result"));
  CHECK(silent.answer(1999)["error"]["code"] == -32601);
  leave(silent);
  leave(other);
}

}  // namespace
}  // namespace fimd::lsp
