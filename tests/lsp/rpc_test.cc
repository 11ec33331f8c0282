#include "lsp/rpc.h"

#include <doctest/doctest.h>

#include <optional>

#include "lsp/json_text.h"
#include "tests/lsp/memory_transport.h"

namespace fimd::lsp {

struct Number {
  int value = 0;
};
Status decode(const Json& json, Number* out) {
  if (!json.is_object() || !json.contains("value") || !json["value"].is_number_integer()) {
    return Error{ErrorCode::kInvalidArgument, "params.value must be an integer"};
  }
  out->value = json["value"].get<int>();
  return {};
}
std::string encode(const Number& number) { return std::to_string(number.value); }

namespace {

struct Fixture {
  std::shared_ptr<MemoryPeer> peer = std::make_shared<MemoryPeer>();
  Binder binder;
  std::vector<Reply<Number>> kept;  // requests of "later"
  int notified = 0;
  bool closed = false;
  std::optional<RpcConnection> rpc;

  Fixture() {
    binder.request<Number, Number>(
        "double", [](Number n, Reply<Number> reply) { reply(Number{2 * n.value}); });
    binder.request<Nothing, Number>(
        "later", [this](Nothing, Reply<Number> reply) { kept.push_back(std::move(reply)); });
    binder.request<Nothing, Number>("forget", [](Nothing, Reply<Number>) {});
    binder.notification<Number>("note", [this](Number n) { notified += n.value; });
    RpcConnection::Options options;
    options.closed = [this](const Status&) { closed = true; };
    rpc.emplace(std::make_unique<MemoryTransport>(peer), &binder, std::move(options));
    rpc->start();
  }

  int error_code(const std::string& body) {
    peer->sent.clear();
    peer->receive_text(body);
    if (peer->sent.size() != 1 || !peer->sent[0].contains("error")) return 0;
    return peer->sent[0]["error"]["code"].get<int>();
  }
};

TEST_CASE("a request is decoded, handled and answered") {
  Fixture f;
  f.peer->receive({{"id", 1}, {"method", "double"}, {"params", {{"value", 21}}}});
  CHECK(f.peer->take_answer(1)["result"] == 42);
  f.peer->receive({{"id", "a-b"}, {"method", "double"}, {"params", {{"value", 1}}}});
  CHECK(f.peer->take_answer("a-b")["result"] == 2);
  f.peer->receive({{"method", "note"}, {"params", {{"value", 5}}}});
  CHECK(f.notified == 5);
  CHECK(f.peer->sent.empty());
}

TEST_CASE("malformed messages get the codes of JSON-RPC") {
  Fixture f;
  CHECK(f.error_code("{") == rpc::kParseError);
  CHECK(f.error_code("") == rpc::kParseError);
  CHECK(f.error_code("\xff\xfe") == rpc::kParseError);
  CHECK(f.error_code(std::string(100000, '[')) == rpc::kParseError);
  CHECK(f.error_code("7") == rpc::kInvalidRequest);
  CHECK(f.error_code("[]") == rpc::kInvalidRequest);
  CHECK(f.error_code(R"({"id":1,"method":"double"})") == rpc::kInvalidRequest);
  CHECK(f.error_code(R"({"jsonrpc":"2.0","id":1,"method":3})") == rpc::kInvalidRequest);
  CHECK(f.error_code(R"({"jsonrpc":"2.0","id":{},"method":"double"})") == rpc::kInvalidRequest);
  CHECK(f.error_code(R"({"jsonrpc":"2.0","id":1.5,"method":"double"})") == rpc::kInvalidRequest);
  CHECK(f.error_code(R"({"jsonrpc":"2.0","id":1,"method":"double","params":3})") ==
        rpc::kInvalidRequest);
  CHECK(f.error_code(R"({"jsonrpc":"2.0","id":1,"method":"nothing"})") == rpc::kMethodNotFound);
  CHECK(f.error_code(R"({"jsonrpc":"2.0","id":1,"method":"double","params":{}})") ==
        rpc::kInvalidParams);
  // What is no request gets no answer.
  f.peer->sent.clear();
  f.peer->receive_text(R"({"jsonrpc":"2.0","method":"nothing"})");
  f.peer->receive_text(R"({"jsonrpc":"2.0","method":"note","params":{"value":"x"}})");
  f.peer->receive_text(R"({"jsonrpc":"2.0","id":99,"result":1})");
  f.peer->receive_text(R"({"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":99}})");
  f.peer->receive_text(R"({"jsonrpc":"2.0","method":"$/cancelRequest"})");
  CHECK(f.peer->sent.empty());
}

TEST_CASE("half an emoji in a string does not break the message") {
  const auto json = parse_json(R"({"text":"a\ud83db \ud83d\ude00 \\ud83d"})");
  REQUIRE(json.ok());
  CHECK((*json)["text"] ==
        "a\xEF\xBF\xBD"
        "b \xF0\x9F\x98\x80 \\ud83d");
}

TEST_CASE("a forgotten request is answered with an error, once") {
  Fixture f;
  f.peer->receive({{"id", 1}, {"method", "forget"}});
  REQUIRE(f.peer->sent.size() == 1);
  CHECK(f.peer->take_answer(1)["error"]["code"] == rpc::kInternalError);
}

TEST_CASE("a kept request is answered later and only once; moving keeps the duty") {
  Fixture f;
  f.peer->receive({{"id", 1}, {"method", "later"}});
  f.peer->receive({{"id", 2}, {"method", "later"}});
  CHECK(f.peer->sent.empty());
  f.kept[1](Number{20});
  Reply<Number> moved = std::move(f.kept[0]);
  CHECK(moved.pending());
  CHECK_FALSE(f.kept[0].pending());
  moved(Number{10});
  CHECK_FALSE(moved.pending());
  f.kept.clear();
  REQUIRE(f.peer->sent.size() == 2);
  CHECK(f.peer->take_answer(2)["result"] == 20);
  CHECK(f.peer->take_answer(1)["result"] == 10);
}

TEST_CASE("an id may be used again only when it was answered") {
  Fixture f;
  f.peer->receive({{"id", 1}, {"method", "later"}});
  f.peer->receive({{"id", 1}, {"method", "later"}});
  CHECK(f.peer->take_answer(1)["error"]["code"] == rpc::kInvalidRequest);
  f.kept[0](Number{1});
  CHECK(f.peer->take_answer(1)["result"] == 1);
  f.peer->receive({{"id", 1}, {"method", "double"}, {"params", {{"value", 4}}}});
  CHECK(f.peer->take_answer(1)["result"] == 8);
}

TEST_CASE("cancelling runs the hook of an open request") {
  Fixture f;
  f.peer->receive({{"id", 1}, {"method", "later"}});
  f.peer->receive({{"id", "1"}, {"method", "later"}});
  int cancelled = 0;
  f.kept[0].on_cancel([&] { ++cancelled; });
  f.peer->receive({{"method", "$/cancelRequest"}, {"params", {{"id", "1"}}}});
  CHECK(cancelled == 0);  // the number and the string are different ids
  f.peer->receive({{"method", "$/cancelRequest"}, {"params", {{"id", 1}}}});
  f.peer->receive({{"method", "$/cancelRequest"}, {"params", {{"id", 1}}}});
  CHECK(cancelled == 1);
  f.kept[0].error(RpcError{rpc::kRequestCancelled, "cancelled"});
  f.peer->receive({{"method", "$/cancelRequest"}, {"params", {{"id", 1}}}});
  CHECK(cancelled == 1);
  CHECK(f.peer->take_answer(1)["error"]["code"] == rpc::kRequestCancelled);
}

TEST_CASE("a batch is answered with one array when all its requests are") {
  Fixture f;
  f.peer->receive_text(R"([{"jsonrpc":"2.0","id":1,"method":"double","params":{"value":1}},
                      {"jsonrpc":"2.0","method":"note","params":{"value":7}},
                      {"jsonrpc":"2.0","id":2,"method":"later"},
                      {"jsonrpc":"2.0","id":3,"method":"nothing"}, 5])");
  CHECK(f.notified == 7);
  CHECK(f.peer->sent.empty());
  f.kept[0](Number{9});
  f.kept.clear();
  REQUIRE(f.peer->sent.size() == 1);
  const Json answers = f.peer->sent[0];
  REQUIRE(answers.is_array());
  REQUIRE(answers.size() == 4);
  CHECK(answers[0]["result"] == 2);
  CHECK(answers[3]["result"] == 9);
  f.peer->sent.clear();
  f.peer->receive_text(R"([{"jsonrpc":"2.0","method":"note","params":{"value":1}}])");
  CHECK(f.peer->sent.empty());
}

TEST_CASE("requests of ours get their answers, also when the connection ends") {
  Fixture f;
  std::vector<std::string> answers;
  const auto keep = [&](const Result<RawJson>& r) {
    answers.push_back(r.ok() ? r->text : "error " + r.error().message);
  };
  f.rpc->call("ask", Nothing{}, keep);
  f.rpc->call("ask", Nothing{}, keep);
  f.rpc->call("ask", Nothing{}, keep);
  REQUIRE(f.peer->sent.size() == 3);
  f.peer->receive({{"id", f.peer->sent[1]["id"]}, {"result", {1, 2}}});
  f.peer->receive({{"id", f.peer->sent[0]["id"]}, {"error", {{"code", 1}, {"message", "no"}}}});
  CHECK(answers == std::vector<std::string>{"[1,2]", "error no"});
  f.peer->handlers.closed({});
  CHECK(answers.back() == "error the connection closed");
  CHECK(f.closed);
}

TEST_CASE("replies may outlive the connection") {
  Fixture f;
  f.peer->receive({{"id", 1}, {"method", "later"}});
  f.rpc.reset();
  f.kept[0](Number{1});
  f.kept.clear();
  CHECK(f.peer->sent.empty());
}

TEST_CASE("framing errors are answered without an id") {
  Fixture f;
  f.peer->handlers.framing_error({FrameEvent::Kind::kError, "bad"});
  f.peer->handlers.framing_error({FrameEvent::Kind::kTooLarge, "large"});
  REQUIRE(f.peer->sent.size() == 2);
  CHECK(f.peer->sent[0]["id"] == nullptr);
  CHECK(f.peer->sent[0]["error"]["code"] == rpc::kParseError);
  CHECK(f.peer->sent[1]["error"]["code"] == rpc::kInvalidRequest);
}

}  // namespace
}  // namespace fimd::lsp
