#include "completion/foresight.h"

#include <cmath>

#include "completion/stop_rules.h"
#include "tests/completion/test_support.h"

namespace fimd {
namespace {

using testing::context_of;
using testing::ScriptedGenerator;
using testing::Session;

FimFormat format() { return choose_fim_format(ScriptedGenerator().info()); }

PromptParts parts(const std::string& prefix, const std::string& typed, const std::string& suffix) {
  PromptParts parts;
  parts.path = "a.py";
  parts.prefix = prefix;
  parts.typed = typed;
  parts.suffix = suffix;
  return parts;
}

/// The end of what is read, as far as it is scored.
std::string scored(const Reading& reading) {
  const std::string& text = reading.prompt.back().text;
  return text.substr(text.size() - reading.scored_bytes);
}

TEST_CASE("a text is read in its place, with the beginning of what follows") {
  const Foresight foresight(format(), parts("import os\n", "x = ", "\n\ny = x + 1\nz = 2\n"),
                            context_of("import os\nx = <cursor>\n\ny = x + 1\nz = 2\n"));
  const auto reading = foresight.reading("os.getcwd()");
  REQUIRE(reading.has_value());
  CHECK(scored(*reading) == " os.getcwd()\n\ny = x + 1\n");
  CHECK(spell_out(reading->prompt) ==
        "<|file_sep|>a.py\n<|fim_prefix|>import os\nx = os.getcwd()\n\ny = x + 1\n");
  // Up to the suffix it is the prompt, token by token.
  const Prompt prompt = render_prompt(format(), parts("import os\n", "x = ", "\n\ny = x + 1\n"));
  REQUIRE(reading->prompt.size() == 5);
  for (size_t i = 0; i + 1 < reading->prompt.size(); ++i) {
    CHECK(reading->prompt[i] == prompt[i]);
  }
}

TEST_CASE("the word at the cursor is scored too, as its tokens may change") {
  const Foresight foresight(format(), parts("", "x = self.na", "\ny\n"),
                            context_of("x = self.na<cursor>\ny\n"));
  CHECK(scored(*foresight.reading("me")) == ".name\ny\n");
}

TEST_CASE("what the suggestion replaces does not follow it") {
  const Foresight foresight(format(), parts("", "f(", ")\ng()\n"),
                            context_of("f(<cursor>)\ng()\n"));
  CHECK(scored(*foresight.reading("a, b)")) == "(a, b)\n");
  CHECK(scored(*foresight.reading("a, b")) == "(a, b)\n");
}

TEST_CASE("long lines are read in part, and nothing is foreseen where nothing follows") {
  const std::string line(300, 'a');
  const Foresight foresight(format(), parts("", "x = ", "\n" + line + "\n"),
                            context_of("x = <cursor>\n" + line + "\n"));
  CHECK(scored(*foresight.reading("1")) == " 1\n" + std::string(32, 'a'));
  const Foresight last(format(), parts("", "x = ", "\n  \n"), context_of("x = <cursor>\n  \n"));
  CHECK_FALSE(last.reading("1").has_value());
  FimFormat suffix_first = format();
  suffix_first.order = FimOrder::kSuffixPrefixMiddle;
  const Foresight mellum(suffix_first, parts("", "x = ", "\ny\n"), context_of("x = <cursor>\ny\n"));
  CHECK_FALSE(mellum.reading("1").has_value());
}

TextCandidate candidate(std::string text, double p) { return {std::move(text), std::log(p), 3}; }

TEST_CASE("choices: dropped ones go, equal ones add up, few are left") {
  const CursorContext context = context_of("def f():\n    <cursor>\n    return value\n");
  const std::vector<TextCandidate> found = {
      candidate("return value", 0.3),  // the next line
      candidate("a = 1", 0.2),        candidate("b = 2", 0.15), candidate("b = 2  ", 0.1),
      candidate("c = 3", 0.05),       candidate("d = 4", 0.04)};
  const auto choices = choices_of(found, context);
  REQUIRE(choices.size() == kMostChoices);
  CHECK(choices[0].text == "b = 2");
  CHECK(choices[0].logprob == doctest::Approx(std::log(0.25)));
  CHECK(choices[1].text == "a = 1");
  CHECK(choices[2].text == "c = 3");
  const std::vector<TextCandidate> none = {candidate("return value", 0.3)};
  CHECK(choices_of(none, context).size() == 1);  // it gives the reason why nothing is shown
  // Nothing may be the best continuation of a line.
  const std::vector<TextCandidate> blank = {candidate("", 0.6), candidate(" + 1", 0.1)};
  CHECK(choices_of(blank, context_of("x = 1<cursor>\ny\n")).front().text.empty());
}

TEST_CASE("sure choices are not read") {
  const std::vector<TextCandidate> sure = {candidate("a", 0.9), candidate("b", 0.05)};
  const std::vector<TextCandidate> unsure = {candidate("a", 0.5), candidate("b", 0.3)};
  CHECK_FALSE(worth_reading(sure));
  CHECK(worth_reading(unsure));
  CHECK_FALSE(worth_reading(std::span(unsure).first(1)));
}

TEST_CASE("verdicts on the texts of a search") {
  using Kind = TextVerdict::Kind;
  const CursorContext empty_line = context_of("def f():\n    x = 1\n<cursor>\n    return x\n");
  CHECK(line_verdict("    y", false, empty_line).kind == Kind::kOpen);
  CHECK(line_verdict("    y", true, empty_line).kind == Kind::kComplete);
  const TextVerdict line = line_verdict("    y = 2\n    z", false, empty_line);
  CHECK(line.kind == Kind::kComplete);
  CHECK(line.length == 9);
  // An empty line wants something.
  CHECK(line_verdict("", true, empty_line).kind == Kind::kRejected);
  CHECK(line_verdict("\n\n\n", false, empty_line).kind == Kind::kRejected);
  CHECK(line_verdict("    return x\n", false, empty_line).kind == Kind::kRejected);
  const CursorContext finished = context_of("x = 1<cursor>\ny\n");
  CHECK(line_verdict("", true, finished).kind == Kind::kComplete);
  CHECK(line_verdict("", false, finished).kind == Kind::kOpen);
}

// ---- With a completer ----

struct Search {
  Search() {
    session.generator->info().beam_search = true;
    session.open("def f(a, b):\n    total = <cursor>\n    return total + a\n");
    reply = session.ask();
    REQUIRE(session.generator->calls.size() == 1);
  }
  GenerationRequest& call(size_t index) { return session.generator->calls.at(index).request; }
  void find(std::vector<TextCandidate> found) {
    call(0).sink->on_candidates(std::move(found));
    session.generator->end(0);
    session.queue.run_ready();
  }
  void read(size_t index, double logprob) {
    GenerationStats stats;
    stats.scored_logprob = logprob;
    stats.prefilled_tokens = 10;
    session.generator->calls.at(index).done = true;
    call(index).sink->on_done(stats);
    session.queue.run_ready();
  }

  Session session;
  std::shared_ptr<Session::Reply> reply;
};

TEST_CASE("of several texts the one that fits what follows is shown") {
  Search search;
  CHECK(search.call(0).params.beam.width == 4);
  search.find({candidate("b + 1", 0.4), candidate("b", 0.3)});
  CHECK_FALSE(search.reply->answered());
  REQUIRE(search.session.generator->calls.size() == 3);
  CHECK(search.call(1).params.max_tokens == 0);
  CHECK(search.call(1).prompt.back().text.ends_with("total = b + 1\n    return total + a\n"));
  CHECK(search.call(2).prompt.back().text.ends_with("total = b\n    return total + a\n"));
  search.read(2, -4.0);
  CHECK_FALSE(search.reply->answered());
  search.read(1, -6.0);
  CHECK(search.reply->text() == "b");
  CHECK(search.reply->value().report.stats.scored_tokens == 20);
  CHECK(search.reply->value().report.mean_logprob == doctest::Approx(std::log(0.3) / 3));
}

TEST_CASE("the likeliest text is shown where it is sure, or a reading fails") {
  Search sure;
  sure.find({candidate("b + 1", 0.8), candidate("b", 0.01)});
  CHECK(sure.reply->text() == "b + 1");
  CHECK(sure.session.generator->calls.size() == 1);
  Search failed;
  failed.find({candidate("b + 1", 0.4), candidate("b", 0.3)});
  failed.session.generator->fail(2, Error{ErrorCode::kResourceExhausted, "the KV cache is full"});
  failed.session.queue.run_ready();
  CHECK(failed.reply->text() == "b + 1");
}

TEST_CASE("what would be hidden anyway is not read") {
  Search search;
  search.find({candidate("b + 1", 0.01), candidate("b", 0.009)});
  CHECK(search.session.generator->calls.size() == 1);
  CHECK(search.reply->value().suggestions.empty());
  CHECK(search.reply->value().report.outcome == "low confidence");
}

TEST_CASE("a timeout takes the likeliest text, typing something else cancels the readings") {
  Search late;
  late.find({candidate("b + 1", 0.4), candidate("b", 0.3)});
  late.session.pass_time();
  CHECK(late.reply->text() == "b + 1");
  Search typed;
  typed.find({candidate("b + 1", 0.4), candidate("b", 0.3)});
  typed.call(0);
  typed.session.type("q");
  typed.session.ask();
  CHECK(typed.reply->answered());
}

TEST_CASE("streamed text is what all texts begin with") {
  Search search;
  search.session.generator->say(0, "sum(", 0.0F);
  search.session.queue.run_ready();
  REQUIRE_FALSE(search.reply->partials.empty());
  CHECK(search.reply->partials.back().text == "sum(");
  search.find({candidate("sum(a)", 0.4), candidate("sum(a, b)", 0.3)});
  search.read(1, -9.0);
  search.read(2, -1.0);
  CHECK(search.reply->text() == "sum(a, b)");
}

TEST_CASE("no search where it would cost too much, or where it was switched off") {
  for (const bool slow : {false, true}) {
    CompletionOptions options;
    options.beam_width = slow ? 4 : 1;
    Session session(options);
    session.generator->info().beam_search = true;
    session.generator->prompt_ms_per_token = slow ? 5 : 0;
    session.open("x = <cursor>\n");
    session.ask();
    CHECK(session.generator->calls.at(0).request.params.beam.width == 1);
  }
  Session block;
  block.generator->info().beam_search = true;
  block.open("def f():<cursor>\n");
  block.ask();
  CHECK(block.generator->calls.at(0).request.params.beam.width == 1);
}

}  // namespace
}  // namespace fimd
