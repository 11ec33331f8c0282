// Replays the sessions of tests/lsp/sessions against the real program: alone (fimd lsp
// --in-process), through the proxy and a daemon it starts (fimd lsp), and on the daemon's socket.
//
// A session is a text file, one step a line; '#' begins a comment.
//   modes: MODE...                       where it is replayed (alone, proxy, socket); default all
//   model: FILE                          instead of a tiny one
//   initialize ID CLIENT                 the captured request of tests/data/clients
//   send JSON                            any message ("jsonrpc" is added)
//   bytes "..."                          raw bytes, written as a JSON string
//   open URI LANGUAGE VERSION "TEXT"     textDocument/didOpen
//   type URI VERSION LINE CHAR "TEXT"    textDocument/didChange, an insertion
//   ask ID URI LINE CHAR [KIND]          textDocument/inlineCompletion; KIND 1 invoked, 2 automatic
//   expect JSON                          waits for a message with at least these members
//   never METHOD                         no such message has come so far
//   kill-daemon                          SIGKILL
//   close                                the input ends
//   exit CODE                            the process ends so (on the socket: the connection closes)
#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/json.h"
#include "tests/lsp/process_peer.h"

namespace fimd::lsp {
namespace {

using nlohmann::json;

class Replay {
 public:
  Replay(const std::string& file, const std::string& mode) : mode_(mode) {
    std::ifstream in(file);
    REQUIRE(in);
    for (std::string line; std::getline(in, line);) lines_.push_back(line);
    for (const std::string& line : lines_) {
      if (line.starts_with("modes:"))
        wanted_ = (" " + line + " ").find(" " + mode + " ") != std::string::npos;
      if (line.starts_with("model: ")) {
        home_.variables["FIMD_MODEL"] = std::filesystem::absolute(line.substr(7)).string();
      }
    }
  }

  void run() {
    if (!wanted_) return;
    if (mode_ == "alone") {
      peer_.spawn(home_, {"lsp", "--in-process"});
    } else if (mode_ == "proxy") {
      peer_.spawn(home_, {"lsp"});
    } else {
      daemon_.spawn(home_, {"daemon"});
      REQUIRE_MESSAGE(home_.wait_for_daemon() > 0, home_.log());
      peer_.connect(home_.socket());
    }
    for (size_t i = 0; i < lines_.size(); ++i) {
      const std::string step = "line " + std::to_string(i + 1) + ": " + lines_[i];
      INFO(step);
      run_step(lines_[i]);
    }
  }

 private:
  void run_step(const std::string& line) {
    std::istringstream in(line);
    std::string verb;
    in >> verb;
    if (verb.empty() || verb[0] == '#' || verb == "modes:" || verb == "model:") return;
    if (verb == "initialize") {
      std::string id, client;
      in >> id >> client;
      json params = test::read_json("tests/data/clients/" + client + "-initialize.json");
      params["processId"] = nullptr;
      peer_.send({{"id", test::parse_json(id)}, {"method", "initialize"}, {"params", params}});
    } else if (verb == "send") {
      peer_.send(rest(in));
    } else if (verb == "bytes") {
      peer_.send_bytes(rest(in).get<std::string>());
    } else if (verb == "open") {
      std::string uri, language;
      int version = 0;
      in >> uri >> language >> version;
      peer_.send({{"method", "textDocument/didOpen"},
                  {"params",
                   {{"textDocument",
                     {{"uri", uri},
                      {"languageId", language},
                      {"version", version},
                      {"text", rest(in)}}}}}});
    } else if (verb == "type") {
      std::string uri;
      int version = 0, row = 0, column = 0;
      in >> uri >> version >> row >> column;
      const json at = {{"line", row}, {"character", column}};
      const json change = {{"range", {{"start", at}, {"end", at}}}, {"text", rest(in)}};
      peer_.send({{"method", "textDocument/didChange"},
                  {"params",
                   {{"textDocument", {{"uri", uri}, {"version", version}}},
                    {"contentChanges", json::array({change})}}}});
    } else if (verb == "ask") {
      std::string id, uri;
      int row = 0, column = 0, kind = 2;
      in >> id >> uri >> row >> column;
      if (!(in >> kind)) kind = 2;
      peer_.send({{"id", test::parse_json(id)},
                  {"method", "textDocument/inlineCompletion"},
                  {"params",
                   {{"textDocument", {{"uri", uri}}},
                    {"position", {{"line", row}, {"character", column}}},
                    {"context", {{"triggerKind", kind}}}}}});
    } else if (verb == "expect") {
      const json expected = rest(in);
      const json found = peer_.wait_for([&](const json& m) { return matches(m, expected); });
      if (found == nullptr) {
        std::string seen;
        for (const json& message : peer_.inbox()) {
          seen += "\n  " + test::dump_json(message).substr(0, 300);
        }
        FAIL_CHECK("it never came; what did:" << seen << "\n" << home_.log());
        REQUIRE(false);
      }
    } else if (verb == "never") {
      std::string method;
      in >> method;
      for (const json& message : peer_.inbox()) {
        CHECK((!message.is_object() || message.value("method", "") != method));
      }
    } else if (verb == "kill-daemon") {
      const pid_t pid = home_.wait_for_daemon();
      REQUIRE(pid > 0);
      REQUIRE(::kill(pid, SIGKILL) == 0);
    } else if (verb == "close") {
      peer_.close_input();
    } else if (verb == "exit") {
      int code = 0;
      in >> code;
      CHECK(peer_.wait_exit() == (mode_ == "socket" ? 0 : code));
    } else {
      FAIL("unknown step");
    }
  }

  static json rest(std::istream& in) {
    std::string text;
    std::getline(in, text);
    CAPTURE(text);
    return test::parse_json(text);
  }

  std::string mode_;
  bool wanted_ = true;
  std::vector<std::string> lines_;
  Home home_;
  ProcessPeer daemon_;
  ProcessPeer peer_;
};

TEST_CASE("recorded sessions") {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator("tests/lsp/sessions")) {
    files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  REQUIRE(files.size() >= 5);
  for (const std::string& file : files) {
    for (const char* mode : {"alone", "proxy", "socket"}) {
      SUBCASE((file + " " + mode).c_str()) { Replay(file, mode).run(); }
    }
  }
}

}  // namespace
}  // namespace fimd::lsp
