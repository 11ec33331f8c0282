// Messages damaged at random places.
#include <random>

#include "tests/json.h"
#include "tests/lsp/damage.h"
#include "tests/lsp/session_fixture.h"

namespace fimd::lsp {
namespace {

TEST_CASE("damaged messages are refused or ignored, and every request is answered once") {
  std::mt19937 random(11);
  Fixture f;
  f.initialize("utf-16");
  const Json item = {{"insertText", "a"},
                     {"command", {{"command", "fimd.accepted"}, {"arguments", {"id7", 1}}}}};
  Json selected = f.ask_params(0, 1);
  selected["context"]["selectedCompletionInfo"] = {
      {"range",
       {{"start", {{"line", 0}, {"character", 0}}}, {"end", {{"line", 0}, {"character", 1}}}}},
      {"text", "x"}};
  selected["partialResultToken"] = 3;
  const std::vector<std::pair<std::string, Json>> notifications = {
      {"textDocument/didOpen",
       {{"textDocument",
         {{"uri", "file:///a.txt"}, {"languageId", "python"}, {"version", 1}, {"text", "abc\n"}}}}},
      {"textDocument/didChange",
       {{"textDocument", {{"uri", "file:///a.txt"}, {"version", 2}}},
        {"contentChanges",
         Json::array({{{"range", selected["context"]["selectedCompletionInfo"]["range"]},
                       {"text", "é"}}})}}},
      {"textDocument/didClose", {{"textDocument", {{"uri", "file:///a.txt"}}}}},
      {"textDocument/didShowCompletion", {{"item", item}}},
      {"textDocument/didPartiallyAcceptCompletion", {{"item", item}, {"acceptedLength", 1}}},
      {"workspace/didChangeConfiguration", {{"settings", {{"completion", {{"timeoutMs", 99}}}}}}},
      {"workspace/didChangeWorkspaceFolders",
       {{"event",
         {{"added", Json::array({{{"uri", "file:///x"}, {"name", "x"}}})},
          {"removed", Json::array()}}}}},
      {"$/cancelRequest", {{"id", 5}}},
      {"$/setTrace", {{"value", "off"}}},
      {"textDocument/didFocus", {{"textDocument", {{"uri", "file:///a.txt"}}}}}};
  const std::vector<std::pair<std::string, Json>> requests = {
      {"textDocument/inlineCompletion", selected},
      {"textDocument/completion", f.ask_params(0, 1)},
      {"workspace/executeCommand", {{"command", "fimd.accepted"}, {"arguments", {"a", 1}}}},
      {"initialize", {{"capabilities", {{"general", {{"positionEncodings", {"utf-8"}}}}}}}}};
  for (int round = 0; round < 3000; ++round) {
    f.open("abc\nd😀f\n");
    if (random() % 2 == 0) {
      auto [method, params] = notifications[random() % notifications.size()];
      damage(&params, &random);
      f.notify(method, params);
      continue;
    }
    auto [method, params] = requests[random() % requests.size()];
    damage(&params, &random);
    const int id = ++f.next_id;
    f.peer->receive({{"id", id}, {"method", method}, {"params", params}});
    while (!f.host.completer->asked.empty()) f.host.completer->take().done(one("t", 0, 0));
    CAPTURE(method);
    CAPTURE(test::dump_json(params));
    REQUIRE(f.peer->take_answer(id) != nullptr);
    REQUIRE(f.peer->take_answer(id) == nullptr);
    f.peer->sent.clear();
  }
}

}  // namespace
}  // namespace fimd::lsp
