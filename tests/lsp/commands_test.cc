// Commands and code actions of a Session with a real engine: a tiny model that chats, and one that
// only fills in.
#include <chrono>

#include "completion/task_queue.h"
#include "engine/load.h"
#include "support/log.h"
#include "tests/json.h"
#include "tests/lsp/damage.h"
#include "tests/lsp/session_fixture.h"

namespace fimd::lsp {
namespace {

std::shared_ptr<Generator> load(const std::string& name) {
  EngineOptions options;
  options.model_path = "tests/fixtures/" + name + ".gguf";
  options.threads = 1;
  options.kv_cache_bytes = int64_t{64} << 20;
  auto generator = load_generator(options, nullptr);
  REQUIRE(generator.ok());
  return std::move(generator).value();
}

class QueuedHost : public Host {
 public:
  TaskQueue* queue = nullptr;
  Executor executor() override { return queue->executor(); }
};

struct Editor {
  TaskQueue queue;
  QueuedHost host;
  std::shared_ptr<MemoryPeer> peer = std::make_shared<MemoryPeer>();
  std::shared_ptr<Session> session;
  int next_id = 0;
  Json capabilities;

  explicit Editor(const std::string& model, const std::string& encoding = "utf-16",
                  bool shows_results = true, Json options = nullptr) {
    log::set_level(log::Level::kOff);
    host.queue = &queue;
    if (model.empty()) {
      host.state.phase = ModelState::Phase::kLoading;
    } else {
      set_model(model);
    }
    session = std::make_shared<Session>(&host, 1, std::make_unique<MemoryTransport>(peer));
    session->start();
    Json client = {{"general", {{"positionEncodings", {encoding}}}}};
    if (shows_results) client["experimental"] = {{"fimdCommands", true}};
    const int id = send(
        "initialize",
        {{"processId", nullptr}, {"capabilities", client}, {"initializationOptions", options}});
    capabilities = wait(id)["result"]["capabilities"];
    notify("initialized", Json::object());
  }
  void set_model(const std::string& model) {
    host.state.phase = ModelState::Phase::kReady;
    host.state.generator = load(model);
  }
  int send(const std::string& method, const Json& params) {
    peer->receive({{"id", ++next_id}, {"method", method}, {"params", params}});
    return next_id;
  }
  void notify(const std::string& method, const Json& params) {
    peer->receive({{"method", method}, {"params", params}});
  }
  Json wait(int id) {
    Json answer;
    const bool came = queue.run_until(
        [&] {
          if (answer == nullptr) answer = peer->take_answer(id);
          return answer != nullptr;
        },
        std::chrono::seconds(60));
    REQUIRE(came);
    return answer;
  }
  void open(const std::string& text, const std::string& language = "python") {
    notify("textDocument/didOpen",
           {{"textDocument",
             {{"uri", "file:///a"}, {"languageId", language}, {"version", 5}, {"text", text}}}});
  }
  static Json range(int line, int character = 0, int end_line = -1, int end_character = 0) {
    return {{"start", {{"line", line}, {"character", character}}},
            {"end",
             {{"line", end_line < 0 ? line : end_line},
              {"character", end_line < 0 ? character : end_character}}}};
  }
  int command(const std::string& name, const Json& where, Json more = Json::object(),
              Json token = nullptr) {
    Json argument = {{"textDocument", {{"uri", "file:///a"}}}, {"range", where}};
    argument.update(more);
    Json params = {{"command", "fimd." + name}, {"arguments", {argument}}};
    if (token != nullptr) params["workDoneToken"] = token;
    return send("workspace/executeCommand", params);
  }
  std::vector<Json> progress(const Json& token) {
    std::vector<Json> values;
    for (const Json& message : peer->sent) {
      if (message.value("method", "") != "$/progress") continue;
      if (message["params"]["token"] == token) values.push_back(message["params"]["value"]);
    }
    return values;
  }
  Json actions(const Json& where, const Json& context) {
    return wait(send("textDocument/codeAction", {{"textDocument", {{"uri", "file:///a"}}},
                                                 {"range", where},
                                                 {"context", context}}))["result"];
  }
};

const std::string kFile = "def add(a, b):\n    return a + b\n\n\nx = 1\n";

TEST_CASE("an answer streams, piece by piece, into what the result holds") {
  Editor editor("qwen3-chat-tiny");
  editor.open(kFile);
  const Json answer = editor.wait(
      editor.command("explain", Editor::range(1, 4), {{"partialResultToken", "part"}}, 17));
  REQUIRE(answer.contains("result"));
  CHECK(answer["result"]["kind"] == "markdown");
  const std::vector<Json> parts = editor.progress("part");
  REQUIRE(parts.size() > 5);
  CHECK(parts[0]["kind"] == "start");
  std::string text;
  for (size_t i = 1; i < parts.size(); ++i) {
    CHECK(parts[i]["kind"] == "text");
    text += parts[i]["text"].get<std::string>();
  }
  const std::string result = answer["result"]["text"];
  CHECK(result.size() > 20);
  CHECK(text.starts_with(result));
  const std::vector<Json> work = editor.progress(17);
  REQUIRE(work.size() == 3);
  CHECK(work[0]["kind"] == "begin");
  CHECK(work[0]["cancellable"] == true);
  CHECK(work[1]["kind"] == "report");
  CHECK(work[2]["kind"] == "end");
  // The same again, without streaming.
  editor.peer->sent.clear();
  const Json again = editor.wait(editor.command("explain", Editor::range(1, 4)));
  CHECK(again["result"] == answer["result"]);
  CHECK(editor.peer->take("$/progress") == nullptr);
}

TEST_CASE("noise is no edit, and the message says so") {
  Editor editor("qwen3-chat-tiny");
  editor.open(kFile);
  for (const char* name : {"refactor", "fix", "document"}) {
    const Json answer =
        editor.wait(editor.command(name, Editor::range(0), {{"instruction", "rename"}}));
    REQUIRE(answer.contains("error"));
    CHECK(answer["error"]["code"] == rpc::kRequestFailed);
    const std::string message = answer["error"]["message"];
    CHECK((message.find("cut off") != std::string::npos ||
           message.find("without code") != std::string::npos));
  }
}

TEST_CASE("a command is cancelled at once, and the next one runs") {
  Editor editor("qwen3-chat-tiny");
  editor.open(kFile);
  const int id =
      editor.command("explain", Editor::range(1, 4), {{"partialResultToken", "part"}}, "work");
  REQUIRE(editor.queue.run_until([&] { return editor.progress("part").size() >= 3; },
                                 std::chrono::seconds(60)));
  editor.notify("$/cancelRequest", {{"id", id}});
  CHECK(editor.wait(id)["error"]["code"] == rpc::kRequestCancelled);
  CHECK(editor.progress("work").back()["kind"] == "end");
  const int by_token = editor.command("review", Editor::range(1, 4), Json::object(), 99);
  editor.notify("window/workDoneProgress/cancel", {{"token", "nobody's"}});
  editor.notify("window/workDoneProgress/cancel", {{"token", 99}});
  CHECK(editor.wait(by_token)["error"]["code"] == rpc::kRequestCancelled);
  const size_t said = editor.progress("part").size();
  const Json next = editor.wait(editor.command("review", Editor::range(1, 4)));
  CHECK(next.contains("result"));
  CHECK(editor.progress("part").size() == said);
  // A newer one of the same name takes an older one's place; other names do not.
  const int review = editor.command("review", Editor::range(1, 4));
  const int older = editor.command("explain", Editor::range(1, 4));
  const int newer = editor.command("explain", Editor::range(4));
  CHECK(editor.wait(older)["error"]["code"] == rpc::kServerCancelled);
  CHECK(editor.wait(newer).contains("result"));
  CHECK(editor.wait(review).contains("result"));
  // Closing the document ends what runs for it.
  const int orphan = editor.command("explain", Editor::range(1, 4));
  editor.notify("textDocument/didClose", {{"textDocument", {{"uri", "file:///a"}}}});
  CHECK(editor.wait(orphan)["error"]["code"] == rpc::kServerCancelled);
}

TEST_CASE("wrong arguments, unknown documents and other versions are told apart") {
  Editor editor("qwen3-chat-tiny");
  editor.open(kFile);
  const auto code = [&](int id) { return editor.wait(id)["error"]["code"].get<int>(); };
  CHECK(code(editor.command("dance", Editor::range(0))) == rpc::kInvalidParams);
  CHECK(code(editor.send("workspace/executeCommand", {{"command", "fimd.explain"}})) ==
        rpc::kInvalidParams);
  for (const Json& argument :
       {Json("x"), Json(Json::object()), Json{{"textDocument", {{"uri", "file:///a"}}}},
        Json{{"textDocument", {{"uri", 5}}}, {"range", Editor::range(0)}},
        Json{{"textDocument", {{"uri", "file:///a"}}}, {"range", "all"}}}) {
    CHECK(code(editor.send("workspace/executeCommand",
                           {{"command", "fimd.explain"}, {"arguments", {argument}}})) ==
          rpc::kInvalidParams);
  }
  CHECK(code(editor.command("explain", Editor::range(0), {{"instruction", 5}})) ==
        rpc::kInvalidParams);
  CHECK(code(editor.command("explain", Editor::range(0), {{"diagnostics", {1}}})) ==
        rpc::kInvalidParams);
  CHECK(code(editor.command("explain", Editor::range(0), {{"partialResultToken", {1}}})) ==
        rpc::kInvalidParams);
  CHECK(code(editor.command("explain", Editor::range(99))) == rpc::kInvalidParams);
  CHECK(code(editor.command("explain", Editor::range(2, 0, 0, 0))) == rpc::kInvalidParams);
  CHECK(code(editor.command("refactor", Editor::range(0))) == rpc::kInvalidParams);
  CHECK(code(editor.command("explain", Editor::range(0),
                            {{"textDocument", {{"uri", "file:///a"}, {"version", 4}}}})) ==
        rpc::kContentModified);
  CHECK(code(editor.command("explain", Editor::range(0),
                            {{"textDocument", {{"uri", "file:///b"}}}})) == rpc::kContentModified);
  CHECK(code(editor.command("explain", Editor::range(3))) == rpc::kRequestFailed);
}

TEST_CASE("a model that only fills in: what it does, and what it says of the rest") {
  Editor editor("qwen2-tiny");
  editor.open(kFile);
  const Json answer = editor.wait(editor.command("explain", Editor::range(1)));
  CHECK(answer["error"]["code"] == rpc::kRequestFailed);
  const std::string message = answer["error"]["message"];
  CHECK(message.find("qwen2-tiny.gguf") != std::string::npos);
  CHECK(message.find("model.path") != std::string::npos);
  // Its noise passes no check.
  const Json documented = editor.wait(editor.command("document", Editor::range(1)));
  CHECK(documented["error"]["code"] == rpc::kRequestFailed);
}

TEST_CASE("a command waits for the model, or hears why there is none") {
  Editor editor("");
  editor.open(kFile);
  const int id = editor.command("explain", Editor::range(1));
  const int dropped = editor.command("review", Editor::range(1));
  editor.notify("$/cancelRequest", {{"id", dropped}});
  CHECK(editor.wait(dropped)["error"]["code"] == rpc::kRequestCancelled);
  editor.set_model("qwen3-chat-tiny");
  editor.session->model_changed();
  CHECK(editor.wait(id).contains("result"));
  editor.host.state.phase = ModelState::Phase::kFailed;
  editor.host.state.message = "the model is broken";
  CHECK(editor.wait(editor.command("explain", Editor::range(1)))["error"]["message"] ==
        "the model is broken");
}

TEST_CASE("damaged commands are refused, and every request is answered once") {
  Editor editor("qwen2-tiny");
  std::mt19937 random(7);
  const Json diagnostic = {{"range", Editor::range(1)}, {"severity", 1}, {"message", "wrong"}};
  const Json where = {{"textDocument", {{"uri", "file:///a"}, {"version", 5}}},
                      {"range", Editor::range(1, 4, 2, 0)}};
  Json argument = where;
  argument["instruction"] = "rename";
  argument["diagnostics"] = {diagnostic};
  argument["partialResultToken"] = "t";
  Json action = where;
  action["context"] = {{"diagnostics", {diagnostic}}, {"only", {"quickfix"}}, {"triggerKind", 1}};
  for (int round = 0; round < 600; ++round) {
    editor.open(kFile);
    const bool command = random() % 3 != 0;
    Json params = action;
    if (command) {
      params = {{"command", random() % 2 == 0 ? "fimd.document" : "fimd.refactor"},
                {"arguments", {argument}},
                {"workDoneToken", 3}};
    }
    for (int i = 0; i < 2; ++i) damage(&params, &random);
    CAPTURE(test::dump_json(params));
    const int id =
        editor.send(command ? "workspace/executeCommand" : "textDocument/codeAction", params);
    REQUIRE(editor.wait(id) != nullptr);
    editor.queue.run_ready();
    REQUIRE(editor.peer->take_answer(id) == nullptr);
    editor.peer->sent.clear();
  }
}

TEST_CASE("code actions: which are offered, where, and to whom") {
  Editor editor("qwen3-chat-tiny");
  CHECK(editor.capabilities["codeActionProvider"]["codeActionKinds"].size() == 2);
  editor.open(kFile);
  const auto names = [](const Json& actions) {
    std::vector<std::string> found;
    for (const Json& action : actions) found.push_back(action["command"]["command"]);
    return found;
  };
  using Names = std::vector<std::string>;
  const Json diagnostic = {{"range", Editor::range(1, 11, 1, 12)},
                           {"severity", 1},
                           {"message", "wrong"},
                           {"data", {{"x", 1}}}};
  CHECK(names(editor.actions(Editor::range(1), {{"diagnostics", Json::array()}})) ==
        Names{"fimd.explain", "fimd.refactor", "fimd.document", "fimd.review"});
  const Json all = editor.actions(Editor::range(1), {{"diagnostics", {diagnostic}}});
  CHECK(names(all) ==
        Names{"fimd.explain", "fimd.refactor", "fimd.fix", "fimd.document", "fimd.review"});
  CHECK(all[2]["kind"] == "quickfix");
  CHECK(all[2]["diagnostics"] == Json::array({diagnostic}));
  CHECK(all[2]["command"]["arguments"] == Json::array({{{"textDocument", {{"uri", "file:///a"}}},
                                                        {"range", Editor::range(1)},
                                                        {"diagnostics", {diagnostic}}}}));
  // The arguments are ready to be sent.
  Json params = {{"command", "fimd.fix"}, {"arguments", all[2]["command"]["arguments"]}};
  CHECK(editor.wait(editor.send("workspace/executeCommand", params))["error"]["code"] ==
        rpc::kRequestFailed);  // noise
  CHECK(names(editor.actions(Editor::range(1), {{"diagnostics", {diagnostic}},
                                                {"triggerKind", 2}})) == Names{"fimd.fix"});
  CHECK(editor.actions(Editor::range(1), {{"diagnostics", Json::array()}, {"triggerKind", 2}})
            .empty());
  CHECK(names(editor.actions(Editor::range(1),
                             {{"diagnostics", {diagnostic}}, {"only", {"refactor"}}})) ==
        Names{"fimd.refactor", "fimd.document"});
  CHECK(names(editor.actions(Editor::range(4), {{"diagnostics", Json::array()}})) ==
        Names{"fimd.explain", "fimd.refactor", "fimd.review"});  // x = 1 has no docstring
  CHECK(editor.actions(Editor::range(3), {{"diagnostics", Json::array()}}).empty());
  CHECK(editor.actions(Editor::range(77), {{"diagnostics", Json::array()}}).empty());

  Editor fills("qwen2-tiny");
  fills.open(kFile);
  CHECK(names(fills.actions(Editor::range(1), {{"diagnostics", {diagnostic}}})) ==
        Names{"fimd.document"});
  Editor plain("qwen3-chat-tiny", "utf-16", false);
  CHECK_FALSE(plain.capabilities.contains("codeActionProvider"));
  plain.open(kFile);
  CHECK(plain.actions(Editor::range(1), {{"diagnostics", {diagnostic}}}).empty());
  Editor wants("qwen3-chat-tiny", "utf-16", false, {{"editor", {{"code_actions", "on"}}}});
  CHECK(wants.capabilities.contains("codeActionProvider"));
}

}  // namespace
}  // namespace fimd::lsp
