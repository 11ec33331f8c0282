// A Session against a scripted Completer: what editors send, and what they get.
#include "lsp/session.h"

#include "tests/json.h"
#include "tests/lsp/session_fixture.h"

namespace fimd::lsp {
namespace {

TEST_CASE("before initialize only initialize and exit are understood") {
  Fixture f;
  CHECK(f.request("shutdown", nullptr)["error"]["code"] == rpc::kServerNotInitialized);
  CHECK(f.request("textDocument/inlineCompletion", f.ask_params(0, 0))["error"]["code"] ==
        rpc::kServerNotInitialized);
  CHECK(f.request("no/such", nullptr)["error"]["code"] == rpc::kServerNotInitialized);
  f.open("ignored");
  CHECK(f.request("initialize", nullptr)["error"]["code"] == rpc::kInvalidParams);
  CHECK(f.request("fimd/hello", nullptr)["result"]["build"] == "b");
  f.initialize();
  CHECK(f.request("textDocument/inlineCompletion", f.ask_params(0, 0))["error"]["code"] ==
        rpc::kInvalidParams);  // didOpen was ignored
  CHECK(f.request("initialize", {{"capabilities", Json::object()}})["error"]["code"] ==
        rpc::kInvalidRequest);
  CHECK(f.request("no/such", nullptr)["error"]["code"] == rpc::kMethodNotFound);
}

TEST_CASE("after shutdown nothing but exit is understood; the exit codes") {
  Fixture f;
  f.initialize();
  CHECK(f.request("shutdown", nullptr)["result"] == nullptr);
  CHECK(f.request("shutdown", nullptr)["error"]["code"] == rpc::kInvalidRequest);
  f.notify("exit", nullptr);
  CHECK(f.host.ended == 0);
  Fixture g;
  g.initialize();
  g.notify("exit", nullptr);
  CHECK(g.host.ended == 1);
  Fixture h;
  h.notify("exit", nullptr);
  CHECK(h.host.ended == 1);
}

TEST_CASE("the captured initialize requests of real editors are understood") {
  struct Expected {
    const char* file;
    const char* encoding;
    bool completion;
  };
  for (const auto& [file, encoding, completion] :
       {Expected{"nvim-0.12", "utf-8", false}, Expected{"vscode", "utf-16", false},
        Expected{"emacs-lsp-mode-10", "utf-32", false}, Expected{"nvim-0.7.2", "utf-16", false}}) {
    CAPTURE(file);
    Fixture f;
    Json params = test::read_json("tests/data/clients/" + std::string(file) + "-initialize.json");
    const Json answer = f.request("initialize", params);
    const Json& capabilities = answer["result"]["capabilities"];
    CHECK(capabilities["positionEncoding"] == encoding);
    CHECK(capabilities.contains("inlineCompletionProvider"));
    CHECK(capabilities.contains("completionProvider") == completion);
    CHECK(capabilities["textDocumentSync"]["change"] == 2);
    f.notify("initialized", Json::object());
    f.open("x");
    f.ask(0, 1);
    CHECK(f.host.completer->asked.size() == 1);
  }
}

TEST_CASE("positions are in the negotiated encoding, in both directions") {
  // "a😀é|" : the cursor after é is byte 7, UTF-16 unit 4, character 3.
  for (const auto& [encoding, cursor] :
       {std::pair{"utf-8", 7}, std::pair{"utf-16", 4}, std::pair{"utf-32", 3}}) {
    CAPTURE(encoding);
    Fixture f;
    f.initialize(encoding);
    f.open("a😀é\n");
    const int id = f.ask(0, cursor);
    auto asked = f.host.completer->take();
    CHECK(asked.request.offset == 7);
    CHECK_FALSE(asked.request.invoked);
    asked.done(one("x", 7, 7));
    const Json item = f.peer->take_answer(id)["result"]["items"][0];
    CHECK(item["insertText"] == "x");
    CHECK(item["filterText"] == "filter x");
    CHECK(item["range"]["start"]["character"] == cursor);
    CHECK(item["range"]["end"]["character"] == cursor);
    CHECK(item["command"]["command"] == "fimd.accepted");
    CHECK(item["command"]["arguments"] == Json::array({"id1", 1}));
  }
}

TEST_CASE("changes reach the completer; wrong ones make the document unknown") {
  Fixture f;
  f.initialize();
  f.open("hello\nworld\n", 3);
  f.change(4, 1, 5, 5, "!");
  CHECK(f.host.completer->changed == std::vector<std::string>{"file:///a.txt", "file:///a.txt@12"});
  f.change(2, 0, 0, 5, "");  // older than what we have: ignored
  CHECK(f.host.completer->changed.size() == 2);
  f.ask(1, 6);
  CHECK(f.host.completer->take().request.document->text() == "hello\nworld!\n");

  f.change(5, 77, 0, 0, "?");  // there is no such line
  CHECK(f.peer->take("window/logMessage")["params"]["type"] == 1);
  CHECK(f.peer->take_answer(f.ask(0, 0))["error"]["code"] == rpc::kContentModified);
  f.change(6, 0, 0, 0, "still unknown");
  CHECK(f.peer->take_answer(f.ask(0, 0))["error"]["code"] == rpc::kContentModified);
  f.notify("textDocument/didChange", {{"textDocument", {{"uri", "file:///a.txt"}, {"version", 7}}},
                                      {"contentChanges", Json::array({{{"text", "known"}}})}});
  f.ask(0, 5);
  CHECK(f.host.completer->take().request.document->text() == "known");

  f.notify("textDocument/didClose", {{"textDocument", {{"uri", "file:///a.txt"}}}});
  CHECK(f.host.completer->closed.back() == "file:///a.txt");
  CHECK(f.peer->take_answer(f.ask(0, 0))["error"]["code"] == rpc::kInvalidParams);
}

TEST_CASE("a request for another version or an impossible position is refused") {
  Fixture f;
  f.initialize();
  f.open("x", 5);
  Json params = f.ask_params(0, 1);
  params["textDocument"]["version"] = 4;
  CHECK(f.request("textDocument/inlineCompletion", params)["error"]["code"] ==
        rpc::kContentModified);
  params["textDocument"]["version"] = 5;
  f.request("textDocument/inlineCompletion", params);
  CHECK(f.host.completer->asked.size() == 1);
  CHECK(f.peer->take_answer(f.ask(9, 0))["error"]["code"] == rpc::kInvalidParams);
  params["position"] = {{"line", -1}, {"character", 0}};
  CHECK(f.request("textDocument/inlineCompletion", params)["error"]["code"] == rpc::kInvalidParams);
  params["position"] = "here";
  CHECK(f.request("textDocument/inlineCompletion", params)["error"]["code"] == rpc::kInvalidParams);
}

TEST_CASE("the prompt of a place in an open document is told, and nothing is computed for it") {
  Fixture f;
  f.initialize("utf-16");
  f.open("x = 😀y");
  const Json params = f.ask_params(0, 6);
  const Json result = f.request("fimd/prompt", params)["result"];
  CHECK(result["rendered"] == "<scripted>");
  CHECK(result["parts"][0]["name"] == "prefix");
  CHECK(result["parts"][0]["text"] == "x = 😀");
  CHECK(f.host.completer->asked.empty());
  Json other = params;
  other["textDocument"]["uri"] = "file:///not/open";
  CHECK(f.request("fimd/prompt", other).contains("error"));
  CHECK(f.request("fimd/prompt", Json::object())["error"]["code"] == rpc::kInvalidParams);
}

TEST_CASE("superseded is answered with null, cancelled with the error") {
  Fixture f;
  f.initialize();
  f.open("x");
  const int first = f.ask(0, 1);
  const int second = f.ask(0, 1, 1);
  auto superseded = f.host.completer->take();
  auto newest = f.host.completer->take();
  CHECK(newest.request.invoked);
  superseded.done(Error{ErrorCode::kCancelled, "newer"});
  const Json answer = f.peer->take_answer(first);
  CHECK(answer.contains("result"));
  CHECK(answer["result"] == nullptr);
  f.notify("$/cancelRequest", {{"id", second}});
  CHECK(f.host.completer->cancelled == std::vector<CompletionId>{newest.id});
  newest.done(Error{ErrorCode::kCancelled, "by the client"});
  CHECK(f.peer->take_answer(second)["error"]["code"] == rpc::kRequestCancelled);
  const int third = f.ask(0, 1);
  f.host.completer->take().done(Error{ErrorCode::kInternal, "broken"});
  CHECK(f.peer->take_answer(third)["error"]["code"] == rpc::kInternalError);
}

TEST_CASE("the entry selected in the suggest widget is passed on") {
  Fixture f;
  f.initialize();
  f.open("pri");
  Json params = f.ask_params(0, 3);
  params["context"]["selectedCompletionInfo"] = {
      {"range",
       {{"start", {{"line", 0}, {"character", 0}}}, {"end", {{"line", 0}, {"character", 3}}}}},
      {"text", "print"}};
  f.request("textDocument/inlineCompletion", params);
  const auto asked = f.host.completer->take();
  REQUIRE(asked.request.selected);
  CHECK(asked.request.selected->begin == 0);
  CHECK(asked.request.selected->end == 3);
  CHECK(asked.request.selected->text == "print");
}

TEST_CASE("with a partial result token everything is streamed and the reply is empty") {
  Fixture f;
  f.initialize();
  f.open("x");
  Json params = f.ask_params(0, 1);
  params["partialResultToken"] = "p1";
  f.request("textDocument/inlineCompletion", params);
  auto asked = f.host.completer->take();
  REQUIRE(asked.partial);
  asked.partial({"id1", 1, 1, "he", ""});
  asked.partial({"id1", 1, 1, "hello", ""});
  asked.done(one("hello()", 1, 1));
  for (const char* text : {"he", "hello", "hello()"}) {
    const Json progress = f.peer->take("$/progress");
    CHECK(progress["params"]["token"] == "p1");
    CHECK(progress["params"]["value"][0]["insertText"] == text);
  }
  CHECK(f.peer->take_answer(f.next_id)["result"]["items"].empty());
}

TEST_CASE("editors without inline completion get menu items that begin with the word") {
  Fixture f;
  const Json capabilities = f.initialize("utf-16");
  CHECK(capabilities.contains("completionProvider"));
  f.open("  foo.ba\n");
  const int id = ++f.next_id;
  f.peer->receive(
      {{"id", id}, {"method", "textDocument/completion"}, {"params", f.ask_params(0, 8, 1)}});
  f.host.completer->take().done(one("r(1)\n  next", 8, 8));
  const Json result = f.peer->take_answer(id)["result"];
  CHECK(result["isIncomplete"] == true);
  const Json item = result["items"][0];
  CHECK(item["textEdit"]["newText"] == "bar(1)\n  next");
  CHECK(item["textEdit"]["range"]["start"]["character"] == 6);
  CHECK(item["textEdit"]["range"]["end"]["character"] == 8);
  CHECK(item["filterText"] == "bar(1)");
  CHECK(item["label"] == "bar(1) …");
  CHECK(item["preselect"] == true);
  CHECK(item["documentation"]["value"].get<std::string>().find("next") != std::string::npos);
  const int empty = ++f.next_id;
  f.peer->receive(
      {{"id", empty}, {"method", "textDocument/completion"}, {"params", f.ask_params(0, 8, 1)}});
  f.host.completer->take().done(Error{ErrorCode::kCancelled, ""});
  CHECK(f.peer->take_answer(empty)["result"]["items"].empty());
}

TEST_CASE("what was shown and accepted is passed on, lengths in UTF-16 units of the text") {
  Fixture f;
  f.initialize();
  const Json item = {{"insertText", "a😀b"},
                     {"command", {{"command", "fimd.accepted"}, {"arguments", {"id7", 6}}}}};
  f.notify("textDocument/didShowCompletion", {{"item", item}});
  f.notify("textDocument/didPartiallyAcceptCompletion", {{"item", item}, {"acceptedLength", 3}});
  f.notify("textDocument/didPartiallyAcceptCompletion", {{"item", item}, {"acceptedLength", 999}});
  f.notify("textDocument/didShowCompletion", {{"item", 3}});  // nonsense is ignored
  CHECK(f.host.completer->shown == std::vector<std::string>{"id7"});
  CHECK(f.request("workspace/executeCommand",
                  {{"command", "fimd.accepted"}, {"arguments", {"id7", 6}}})["result"] == nullptr);
  CHECK(f.host.completer->accepted ==
        std::vector<std::pair<std::string, size_t>>{{"id7", 5}, {"id7", 6}, {"id7", 6}});
  CHECK(f.request("workspace/executeCommand", {{"command", "rm"}})["error"]["code"] ==
        rpc::kInvalidParams);
  // Counted once each, however often and in however many parts.
  f.notify("textDocument/didShowCompletion", {{"item", item}});
  CHECK(f.host.counted.shown == 1);
  CHECK(f.host.counted.accepted == 1);
  CHECK(f.host.counted.accepted_bytes == 6);
  Json other = item;
  other["command"]["arguments"][0] = "id8";
  f.notify("textDocument/didShowCompletion", {{"item", other}});
  f.notify("textDocument/didPartiallyAcceptCompletion", {{"item", other}, {"acceptedLength", 1}});
  CHECK(f.host.counted.shown == 2);
  CHECK(f.host.counted.accepted == 2);
  CHECK(f.host.counted.accepted_bytes == 7);
}

TEST_CASE("settings come from initializationOptions and from workspace/configuration") {
  Fixture f;
  const Json answer =
      f.request("initialize", {{"capabilities", {{"workspace", {{"configuration", true}}}}},
                               {"initializationOptions", {{"completion", {{"timeoutMs", 123}}}}}});
  CHECK(f.host.completer->options.timeout_ms == 123);
  f.notify("initialized", Json::object());
  const Json pull = f.peer->take("workspace/configuration");
  f.peer->sent.clear();
  CHECK(pull["params"]["items"][0]["section"] == "fimd");
  f.peer->receive(
      {{"id", pull["id"]},
       {"result", Json::array({{{"completion", {{"timeoutMs", 456}, {"snipets", 1}}}}})}});
  CHECK(f.host.completer->options.timeout_ms == 456);
  const Json told = f.peer->take("window/showMessage");
  CHECK(told["params"]["type"] == 2);
  f.notify("workspace/didChangeConfiguration", {{"settings", nullptr}});
  const Json again = f.peer->take("workspace/configuration");
  REQUIRE(again != nullptr);
  f.peer->receive({{"id", again["id"]}, {"result", Json::array({nullptr})}});
  CHECK(f.host.completer->options.timeout_ms == 123);
  CHECK(f.host.engines.empty());
}

TEST_CASE("editors that do not answer workspace/configuration push their settings") {
  Fixture f;
  f.initialize();
  f.notify("workspace/didChangeConfiguration",
           {{"settings", {{"fimd", {{"completion", {{"enabled", false}}}}}}}});
  f.open("x");
  CHECK(f.peer->take_answer(f.ask(0, 1))["result"] == nullptr);
  CHECK(f.host.completer->asked.empty());
  f.ask(0, 1, 1);  // explicit: asked for all the same
  CHECK(f.host.completer->asked.size() == 1);
}

TEST_CASE("an editor that names a model has it loaded") {
  Fixture f;
  const std::string model = "tests/fixtures/qwen2-tiny.gguf";
  f.initialize("utf-16", {{"model", {{"path", model}}}});
  REQUIRE(f.host.engines.size() == 1);
  CHECK(f.host.engines[0].model_path == model);
  Fixture g;
  g.request("initialize", {{"capabilities", Json::object()},
                           {"initializationOptions", {{"model.path", "/no/such"}}}});
  g.notify("initialized", Json::object());
  CHECK(g.host.engines.empty());
  CHECK(g.peer->take("window/showMessage")["params"]["type"] == 1);
}

TEST_CASE("while the model loads, progress is shown and the newest request waits") {
  Fixture f;
  f.host.state.phase = ModelState::Phase::kLoading;
  f.host.state.message = "m.gguf";
  f.request(
      "initialize",
      {{"capabilities",
        {{"window", {{"workDoneProgress", true}}}, {"experimental", {{"fimdStatus", true}}}}}});
  f.notify("initialized", Json::object());
  const Json create = f.peer->take("window/workDoneProgress/create");
  REQUIRE(create != nullptr);
  const Json status = f.peer->take("fimd/status");
  CHECK(status["params"]["state"] == "loading");
  CHECK(status["params"]["percent"] == 0);
  CHECK(f.peer->take("didChangeStatus")["params"]["busy"] == true);
  f.peer->receive({{"id", create["id"]}, {"result", nullptr}});
  CHECK(f.peer->take("$/progress")["params"]["value"]["kind"] == "begin");
  f.peer->take("$/progress");
  f.host.state.progress = 0.5;
  f.session->model_changed();
  CHECK(f.peer->take("$/progress")["params"]["value"]["percentage"] == 50);

  f.open("x");
  const int first = f.ask(0, 1);
  CHECK(f.peer->take_answer(first) == nullptr);
  const int second = f.ask(0, 0);
  CHECK(f.peer->take_answer(first).contains("result"));
  f.notify("$/cancelRequest", {{"id", second}});
  CHECK(f.peer->take_answer(second)["error"]["code"] == rpc::kRequestCancelled);
  const int third = f.ask(0, 1);
  CHECK(f.host.completer->asked.empty());

  f.host.state.phase = ModelState::Phase::kFailed;
  f.host.state.message = "cannot load the model";
  f.session->model_changed();
  CHECK(f.peer->take("$/progress")["params"]["value"]["kind"] == "end");
  CHECK(f.peer->take("window/showMessage")["params"]["type"] == 1);
  CHECK(f.peer->take("didChangeStatus")["params"]["kind"] != "Error");  // generating came first
  REQUIRE(f.host.completer->asked.size() == 1);
  f.host.completer->take().done(Error{ErrorCode::kUnavailable, "no model"});
  CHECK(f.peer->take_answer(third)["result"] == nullptr);
}

TEST_CASE("the trace is sent when it is switched on") {
  Fixture f;
  f.initialize();
  f.open("x");
  CHECK(f.peer->take("$/logTrace") == nullptr);
  f.notify("$/setTrace", {{"value", "verbose"}});
  f.notify("textDocument/didFocus", {{"textDocument", {{"uri", "file:///a.txt"}}}});
  const Json trace = f.peer->take("$/logTrace");
  REQUIRE(trace != nullptr);
  CHECK(trace["params"]["verbose"].get<std::string>().find("didFocus") != std::string::npos);
  f.notify("$/setTrace", {{"value", "off"}});
  f.peer->sent.clear();
  f.notify("textDocument/didFocus", Json::object());
  CHECK(f.peer->sent.empty());
}

}  // namespace
}  // namespace fimd::lsp
