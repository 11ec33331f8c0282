// The pipeline with a generator that the test steers: order, reuse, cancelling and errors.
#include "completion/completer.h"

#include <random>

#include "tests/completion/test_support.h"

namespace fimd {
namespace {

using testing::applied;
using testing::Session;

std::string prompt_of(const Session& session, size_t index) {
  std::string out;
  for (const PromptSegment& segment : session.generator->calls.at(index).request.prompt) {
    out += segment.text;
  }
  return out;
}

TEST_CASE("a request is answered from the model") {
  Session session;
  session.open("import os\nx = <cursor>\n");
  const auto reply = session.ask();
  REQUIRE(session.generator->calls.size() == 1);
  CHECK(prompt_of(session, 0).ends_with("<|fim_suffix|>\n<|fim_middle|>x = "));
  CHECK(session.generator->calls[0].request.params.heal);
  CHECK_FALSE(reply->answered());
  session.answer("os.getcwd()\ny = 1");
  CHECK(reply->text() == "os.getcwd()");
  const Suggestion& suggestion = reply->value().suggestions.front();
  CHECK(suggestion.begin == session.cursor);
  CHECK(suggestion.end == session.cursor);
  CHECK(suggestion.filter_text == "os.getcwd()");
  CHECK(reply->value().report.source == "model");
  CHECK(reply->value().report.outcome == "shown");
  CHECK(reply->value().report.ended_by == "end of line");
  CHECK(session.generator->calls[0].stopped);
}

TEST_CASE("partial results grow and agree with the reply") {
  Session session;
  session.open("x = <cursor>\n");
  const auto reply = session.ask();
  session.generator->say(0, "foo(bar)[0]");
  session.queue.run_ready();
  CHECK(reply->partials.size() >= 3);
  session.generator->end(0);
  session.queue.run_ready();
  CHECK(reply->text() == "foo(bar)[0]");
  for (size_t i = 0; i < reply->partials.size(); ++i) {
    CHECK(reply->text().starts_with(reply->partials[i].text));
    if (i > 0) CHECK(reply->partials[i].text.size() > reply->partials[i - 1].text.size());
  }
}

TEST_CASE("typing through a suggestion needs no model") {
  Session session;
  session.open("x = <cursor>\n");
  session.ask();
  session.answer("foo(bar)");
  const size_t calls = session.generator->calls.size();
  std::string left = "foo(bar)";
  while (left.size() > 1) {
    session.type(left.substr(0, 1));
    left.erase(0, 1);
    const auto reply = session.ask();
    CHECK(reply->text() == left);
    CHECK(reply->value().report.source == "typing-through");
  }
  session.backspace(3);
  CHECK(session.ask()->text() == "bar)");
  CHECK(session.generator->calls.size() == calls);
}

TEST_CASE("a running generation is kept as long as typed text agrees with it") {
  Session session;
  session.open("x = <cursor>\n");
  const auto first = session.ask();
  session.generator->say(0, "foo");
  session.queue.run_ready();
  session.type("fo");
  const auto second = session.ask();
  CHECK(first->cancelled());
  CHECK_FALSE(session.generator->calls[0].cancelled);
  CHECK(second->partials.size() == 1);  // what it has said already
  session.generator->say(0, "(bar)");
  session.generator->end(0);
  session.queue.run_ready();
  CHECK(second->text() == "o(bar)");
  CHECK(second->value().report.source == "in-flight");
  CHECK(session.generator->generations().size() == 1);
}

TEST_CASE("typing faster than the model still agrees until it is known not to") {
  Session session;
  session.open("x = <cursor>\n");
  session.ask();
  session.type("foo(b");
  const auto reply = session.ask();
  CHECK_FALSE(session.generator->calls[0].cancelled);
  session.generator->say(0, "foo");
  session.queue.run_ready();
  CHECK_FALSE(reply->answered());
  SUBCASE("it agrees") {
    session.generator->say(0, "(bar)");
    session.generator->end(0);
    session.queue.run_ready();
    CHECK(reply->text() == "ar)");
    CHECK(session.generator->generations().size() == 1);
  }
  SUBCASE("it does not") {
    session.generator->say(0, "[1]");
    session.queue.run_ready();
    CHECK(session.generator->calls[0].cancelled);
    REQUIRE(session.generator->generations().size() == 2);
    session.answer("az)");
    CHECK(reply->text() == "az)");
    CHECK(reply->value().report.source == "model");
  }
  SUBCASE("it ends before") {
    session.generator->end(0);
    session.queue.run_ready();
    REQUIRE(session.generator->generations().size() == 2);
    session.answer("az)");
    CHECK(reply->text() == "az)");
  }
}

TEST_CASE("a generation that the typed text contradicts is cancelled at once") {
  Session session;
  session.open("x = <cursor>\n");
  const auto reply = session.ask();
  session.generator->say(0, "foo");
  session.queue.run_ready();
  session.type("g");
  CHECK(session.generator->calls[0].cancelled);
  session.queue.run_ready();
  CHECK(reply->cancelled());
}

TEST_CASE("newest wins per document") {
  Session session;
  session.open("x = <cursor>\n");
  const auto first = session.ask();
  const auto second = session.ask();
  const auto third = session.ask();
  CHECK(first->cancelled());
  CHECK(second->cancelled());
  session.answer("1");
  CHECK(third->text() == "1");
}

TEST_CASE("documents do not disturb each other") {
  Session session;
  session.open("x = <cursor>\n", "python", "file:///project/a.py");
  const auto a = session.ask();
  session.open("y = <cursor>\n", "python", "file:///project/b.py");
  const auto b = session.ask();
  REQUIRE(session.generator->calls.size() == 2);
  session.generator->say(1, "2");
  session.generator->end(1);
  session.generator->say(0, "1");
  session.generator->end(0);
  session.queue.run_ready();
  CHECK(a->text() == "1");
  CHECK(b->text() == "2");
}

TEST_CASE("a cancelled request's generation waits a little for its successor") {
  Session session;
  session.open("x = <cursor>\n");
  const auto first = session.ask();
  session.generator->say(0, "foo(");
  session.queue.run_ready();
  session.completer->cancel(session.last_id);
  session.queue.run_ready();
  CHECK(first->cancelled());
  CHECK_FALSE(session.generator->calls[0].cancelled);
  SUBCASE("which comes") {
    session.type("f");
    const auto second = session.ask();
    session.generator->say(0, ")");
    session.generator->end(0);
    session.queue.run_ready();
    CHECK(second->text() == "oo()");
    session.pass_time();
  }
  SUBCASE("which does not come") {
    session.pass_time();
    CHECK(session.generator->calls[0].cancelled);
  }
  session.completer->cancel(12345);  // unknown ids are ignored
}

TEST_CASE("prefill starts when the document changes") {
  Session session;
  session.open("x = <cursor>\n");
  session.type("o");
  REQUIRE(session.generator->calls.size() == 1);
  const auto& prefill = session.generator->calls[0].request;
  CHECK(prefill.params.max_tokens == 0);
  CHECK(prefill.priority == Priority::kBackground);
  session.type("s");
  CHECK(session.generator->calls[0].cancelled);  // the newer one takes its place
  session.ask();
  CHECK(session.generator->calls[1].cancelled);
  const auto& request = session.generator->calls[2].request;
  CHECK(request.prompt == session.generator->calls[1].request.prompt);
  CHECK(request.priority == Priority::kInteractive);
}

TEST_CASE("prefill can be switched off, and is not sent twice") {
  CompletionOptions options;
  options.prefill_on_change = false;
  Session off(options);
  off.open("x = <cursor>\n");
  off.type("o");
  CHECK(off.generator->calls.empty());
  Session on;
  on.open("x = <cursor>\n");
  on.completer->document_changed(on.document, on.cursor);
  on.completer->document_changed(on.document, on.cursor);
  CHECK(on.generator->calls.size() == 1);
}

TEST_CASE("the next suggestion is computed as if the shown one were accepted") {
  Session session;
  session.open("def f(a):\n    x = <cursor>\n    return x\n");
  session.ask();
  session.answer("a + 1");
  REQUIRE(session.generator->generations().size() == 1);
  session.pass_time();
  REQUIRE(session.generator->generations().size() == 2);
  const auto& ahead = session.generator->calls[session.generator->last()].request;
  CHECK(ahead.priority == Priority::kBackground);
  CHECK(testing::split_cursor("<cursor>").second == 0);
  SUBCASE("and known when it is") {
    session.answer("\n    y = x");
    session.type("a + 1");
    const auto next = session.ask();
    CHECK(next->text() == "\n    y = x");
    CHECK(next->value().report.source == "typing-through");
  }
  SUBCASE("and taken over when it is still running") {
    session.generator->say(session.generator->last(), "\n    y");
    session.type("a + 1");
    const auto next = session.ask();
    session.generator->say(session.generator->last(), " = x");
    session.generator->end(session.generator->last());
    session.queue.run_ready();
    CHECK(next->text() == "\n    y = x");
    CHECK(next->value().report.source == "in-flight");
    CHECK(session.generator->generations().size() == 2);
  }
  SUBCASE("and given up when something else is typed") {
    session.type("b");
    session.ask();
    CHECK(session.generator->calls[session.generator->generations()[1]].cancelled);
  }
  SUBCASE("and kept while the shown one is typed") {
    session.type("a");
    CHECK(session.ask()->text() == " + 1");
    CHECK_FALSE(session.generator->calls[session.generator->last()].done);
    session.pass_time();
    CHECK(session.generator->generations().size() == 2);
  }
}

TEST_CASE("speculation waits for an idle model and can be switched off") {
  CompletionOptions options;
  options.speculate = false;
  Session off(options);
  off.open("x = <cursor>\n");
  off.ask();
  off.answer("1");
  off.pass_time();
  CHECK(off.generator->generations().size() == 1);

  Session busy;
  busy.open("x = <cursor>\n", "python", "file:///project/a.py");
  busy.ask();
  busy.answer("1");
  busy.open("y = <cursor>\n", "python", "file:///project/b.py");
  busy.ask();
  busy.pass_time(20);
  CHECK(busy.generator->generations().size() == 2);
}

TEST_CASE("asked for, several candidates come, distinct and ranked") {
  Session session;
  session.open("x = <cursor>\n");
  const auto reply = session.ask(true);
  REQUIRE(session.generator->calls.size() == 3);
  CHECK(session.generator->calls[0].request.params.sampling.temperature == 0);
  CHECK(session.generator->calls[1].request.params.sampling.temperature > 0);
  CHECK(session.generator->calls[1].request.params.sampling.seed !=
        session.generator->calls[2].request.params.sampling.seed);
  session.generator->say(0, "foo()", -0.5F);
  session.generator->end(0);
  session.generator->say(1, "bar()", -0.2F);
  session.generator->end(1);
  session.queue.run_ready();
  CHECK_FALSE(reply->answered());
  session.generator->say(2, "foo()", -0.9F);
  session.generator->end(2);
  session.queue.run_ready();
  const auto& suggestions = reply->value().suggestions;
  REQUIRE(suggestions.size() == 2);
  CHECK(suggestions[0].text == "bar()");
  CHECK(suggestions[1].text == "foo()");
  CHECK(suggestions[0].id != suggestions[1].id);
  // They are remembered.
  session.type("f");
  CHECK(session.ask()->text() == "oo()");
}

TEST_CASE("cycling adds candidates to the one on screen") {
  Session session;
  session.open("x = <cursor>\n");
  session.ask();
  session.answer("foo()");
  const auto reply = session.ask(true);
  REQUIRE(session.generator->generations().size() == 3);
  session.generator->say(1, "bar()");
  session.generator->end(1);
  session.generator->say(2, "baz()");
  session.generator->end(2);
  session.queue.run_ready();
  CHECK(reply->value().suggestions.size() == 3);
}

TEST_CASE("the entry selected in the suggest widget is completed") {
  Session session;
  session.open("x = os.ge<cursor>\n");
  const size_t word = session.cursor - 2;
  const auto reply =
      session.ask(false, CompletionRequest::Selected{word, session.cursor, "getcwd"});
  CHECK(prompt_of(session, 0).ends_with("<|fim_middle|>x = os.getcwd"));
  session.answer("() + 1");
  const Suggestion& suggestion = reply->value().suggestions.front();
  CHECK(suggestion.text == "getcwd() + 1");
  CHECK(suggestion.begin == word);
  CHECK(suggestion.end == session.cursor);
  CHECK(suggestion.filter_text == "getcwd() + 1");
  CHECK(applied(*session.document, suggestion) == "x = os.getcwd() + 1\n");
}

TEST_CASE("brackets that the editor closed are replaced") {
  Session session;
  session.open("if (<cursor>)\n", "javascript", "file:///project/a.js");
  const auto reply = session.ask();
  session.answer("a) {\n");
  const Suggestion& suggestion = reply->value().suggestions.front();
  CHECK(applied(*session.document, suggestion) == "if (a) {\n");
  CHECK(suggestion.end == session.cursor + 1);
}

TEST_CASE("typing through with brackets that the editor closes") {
  Session session;
  session.open("x = <cursor>\n", "javascript", "file:///project/a.js");
  session.ask();
  session.answer("foo(a, b);");
  session.replace(0, 0, "foo()", 4);
  const auto reply = session.ask();
  CHECK(reply->value().report.source == "typing-through");
  CHECK(applied(*session.document, reply->value().suggestions.front()) == "x = foo(a, b);\n");
  session.type("a, b");
  const auto last = session.ask();  // only ";" is left to insert
  CHECK(applied(*session.document, last->value().suggestions.front()) == "x = foo(a, b);\n");
}

TEST_CASE("documents with other line breaks get their own") {
  Session session;
  session.open("def f():\r\n    <cursor>\r\n");
  const auto reply = session.ask();
  session.answer("a = 1\n    return a\n\nx");
  CHECK(reply->text() == "a = 1\r\n    return a");
}

TEST_CASE("hopeless suggestions are not shown of their own accord") {
  Session session;
  session.open("x = <cursor>\n");
  const auto reply = session.ask();
  session.answer("qqq", -6.0F);
  CHECK(reply->value().suggestions.empty());
  CHECK(reply->value().report.outcome == "low confidence");
  CompletionOptions options;
  options.min_mean_logprob = -100;
  Session keeps(options);
  keeps.open("x = <cursor>\n");
  const auto shown = keeps.ask();
  keeps.answer("qqq", -6.0F);
  CHECK(shown->text() == "qqq");
}

TEST_CASE("an answer of nothing is remembered") {
  Session session;
  session.open("x = 1<cursor>\n");
  const auto first = session.ask();
  session.answer("");
  CHECK(first->value().suggestions.empty());
  const auto second = session.ask();
  CHECK(second->value().suggestions.empty());
  CHECK(second->value().report.source == "typing-through");
  CHECK(session.generator->generations().size() == 1);
}

TEST_CASE("explain shows the prompt") {
  Session session;
  session.open("import os\nx = <cursor>\n");
  const auto explained = session.completer->explain({session.document, session.cursor});
  REQUIRE(explained.ok());
  CHECK(explained->fim_format == "qwen-coder");
  CHECK_FALSE(explained->multi_line);
  CHECK(explained->rendered.ends_with("<|fim_middle|>x = "));
  REQUIRE(explained->parts.size() == 3);
  CHECK(explained->parts[0].text == "import os\n");
  CHECK(explained->parts[0].tokens == 3);
  CHECK(session.generator->calls.empty());
}

TEST_CASE("random editing never breaks the pipeline") {
  std::mt19937 random(11);
  for (int round = 0; round < 40; ++round) {
    Session session;
    session.open("def f(a):\n    <cursor>\n    return a\n");
    std::vector<std::shared_ptr<Session::Reply>> replies;
    for (int step = 0; step < 60; ++step) {
      switch (random() % 9) {
        case 0:
        case 1:
          session.type(std::string(1, "abx(){}\n\"= "[random() % 11]));
          break;
        case 2:
          if (session.cursor > 20) session.backspace(1);
          break;
        case 3:
        case 4:
          replies.push_back(session.ask(random() % 8 == 0));
          break;
        case 5:
          session.completer->cancel(session.last_id);
          break;
        case 6:
          session.pass_time();
          break;
        default:
          for (size_t i = 0; i < session.generator->calls.size(); ++i) {
            auto& call = session.generator->calls[i];
            if (call.done) continue;
            if (call.request.params.max_tokens > 0 && random() % 2 == 0) {
              session.generator->say(i, random() % 2 == 0 ? "a(b" : ") = x\n    y\n");
            } else {
              session.generator->end(i);
            }
          }
      }
      session.queue.run_ready();
    }
    session.completer.reset();
    session.queue.run_ready();
    for (const auto& reply : replies) CHECK(reply->calls == 1);
  }
}

}  // namespace
}  // namespace fimd
