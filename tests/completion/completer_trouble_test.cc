// What goes wrong: too slow, not worth it, excluded, no model, models and documents that go away.
#include "completion/completer.h"
#include "tests/completion/test_support.h"

namespace fimd {
namespace {

using testing::Session;

TEST_CASE("time is up") {
  Session session;
  session.open("x = <cursor>\n");
  const auto reply = session.ask();
  SUBCASE("with something said") {
    session.generator->say(0, "foo(a, b) + unfin");
    session.queue.run_ready();
    session.pass_time();
    CHECK(reply->text() == "foo(a, b) +");
  }
  SUBCASE("with nothing said") {
    session.pass_time();
    CHECK(reply->value().suggestions.empty());
    CHECK(reply->value().report.outcome == "timeout");
  }
  CHECK(session.generator->calls[0].cancelled);
}

TEST_CASE("requests that are not worth the model") {
  Session session;
  session.open("fo<cursor>o = 1\n");
  const auto inside = session.ask();
  CHECK(inside->value().suggestions.empty());
  CHECK(inside->value().report.source == "empty");
  CHECK(inside->value().report.outcome == "inside a word");
  CHECK(session.generator->calls.empty());
  session.ask(true);
  CHECK_FALSE(session.generator->calls.empty());
}

TEST_CASE("excluded documents get no completion and no prefill") {
  Session session;
  session.open("API_KEY=<cursor>\n", "plaintext", "file:///project/.env");
  session.type("a");
  const auto reply = session.ask(true);
  CHECK(reply->value().suggestions.empty());
  CHECK(reply->value().report.source == "excluded");
  CHECK(session.generator->calls.empty());
  CompletionRequest request{session.document, session.cursor};
  CHECK_FALSE(session.completer->explain(request).ok());

  CompletionOptions options;
  options.exclude = {"*.py"};
  Session own(options);
  own.open("x = <cursor>\n");
  CHECK(own.ask()->value().report.source == "excluded");
  own.completer->set_options({});
  own.ask();
  CHECK(own.generator->calls.size() == 1);
}

TEST_CASE("without a model there is an error that says so") {
  Session session;
  session.source = nullptr;
  session.open("x = <cursor>\n");
  session.type("o");
  const auto reply = session.ask();
  REQUIRE(reply->calls == 1);
  REQUIRE_FALSE(reply->result->ok());
  CHECK(reply->result->error().code == ErrorCode::kUnavailable);
  CHECK(reply->result->error().message.find("model") != std::string::npos);
}

TEST_CASE("a model that fails") {
  Session session;
  session.open("x = <cursor>\n");
  const auto reply = session.ask();
  session.generator->fail(0, Error{ErrorCode::kInternal, "broken"});
  session.queue.run_ready();
  REQUIRE(reply->calls == 1);
  REQUIRE_FALSE(reply->result->ok());
  CHECK(reply->result->error().message == "broken");
}

TEST_CASE("the model is replaced") {
  Session session;
  session.open("x = <cursor>\n");
  session.ask();
  session.answer("foo()");
  const auto old = session.generator;
  session.generator = std::make_shared<testing::ScriptedGenerator>();
  session.source = session.generator;
  const auto reply = session.ask();  // what the old one said is forgotten
  REQUIRE(session.generator->calls.size() == 1);
  session.answer("bar()");
  CHECK(reply->text() == "bar()");
  CHECK(old->calls.size() == 1);
}

TEST_CASE("the document is closed in mid-flight") {
  Session session;
  session.open("x = <cursor>\n");
  const auto reply = session.ask();
  session.completer->document_closed(session.uri);
  session.queue.run_ready();
  CHECK(reply->cancelled());
  CHECK(session.generator->calls[0].cancelled);
  session.completer->document_closed("file:///unknown");
}

TEST_CASE("the completer goes away in mid-flight") {
  Session session;
  session.open("x = <cursor>\n");
  const auto reply = session.ask(true);
  const auto sink = session.generator->calls[0].request.sink;
  session.generator->say(0, "foo");
  session.completer.reset();
  CHECK(reply->calls == 0);
  sink->on_text("late", -1.0F);
  sink->on_done(GenerationStats{});
  session.queue.run_ready();
  CHECK(reply->cancelled());
  session.pass_time();
}

TEST_CASE("bad requests") {
  Session session;
  session.open("x = <cursor>\n");
  int errors = 0;
  const auto expect_error = [&](CompletionRequest request) {
    session.completer->complete(std::move(request), nullptr, [&](Result<CompletionResult> result) {
      CHECK_FALSE(result.ok());
      ++errors;
    });
  };
  expect_error({});
  expect_error({session.document, 1000});
  CompletionRequest outside{session.document, session.cursor};
  outside.selected = CompletionRequest::Selected{session.cursor + 1, session.cursor + 1, "a"};
  expect_error(outside);
  session.queue.run_ready();
  CHECK(errors == 3);
  CHECK_FALSE(session.completer->explain({}).ok());
}

}  // namespace
}  // namespace fimd
