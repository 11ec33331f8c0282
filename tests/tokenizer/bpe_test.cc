#include "engine/tokenizer/bpe.h"

#include <doctest/doctest.h>

#include <ctime>
#include <random>
#include <thread>

#include "tests/tokenizer/helpers.h"

namespace fimd {
namespace {

using test::decode;
using test::encode;
using test::SmallVocab;

/// The definition, word by word: the lowest rank anywhere, the leftmost of equal ones.
std::vector<TokenId> merge_by_definition(const MergeTable& table, std::vector<TokenId> symbols) {
  for (;;) {
    MergeTable::Merge best;
    size_t at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const MergeTable::Merge m = table.find(symbols[i], symbols[i + 1]);
      if (m.rank < best.rank) {
        best = m;
        at = i;
      }
    }
    if (best.rank == MergeTable::kNoMerge) return symbols;
    symbols[at] = best.result;
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(at) + 1);
  }
}

TEST_CASE("merging short and long sequences follows the definition") {
  std::mt19937 random(5);
  for (int round = 0; round < 60; ++round) {
    // A random table over 4 letters in which merges build on merges.
    MergeTable table;
    TokenId next = 4;
    for (uint32_t rank = 0; rank < 24; ++rank) {
      const auto a = static_cast<TokenId>(random() % static_cast<unsigned>(next));
      const auto b = static_cast<TokenId>(random() % static_cast<unsigned>(next));
      if (table.find(a, b).rank != MergeTable::kNoMerge) continue;
      table.add(a, b, rank % 7 == 3 ? rank - 1 : rank, next++);  // some ranks are equal
    }
    for (size_t n : {0, 1, 2, 3, 7, 20, 47, 48, 49, 50, 200, 1000}) {
      std::vector<TokenId> symbols(n);
      for (TokenId& s : symbols) s = static_cast<TokenId>(random() % 4);
      const std::vector<TokenId> expected = merge_by_definition(table, symbols);
      symbols.resize(table.apply(symbols.data(), n));
      REQUIRE(symbols == expected);
    }
  }
}

TEST_CASE("the first merge of a pair stays and an empty table merges nothing") {
  MergeTable table;
  CHECK(table.find(1, 2).rank == MergeTable::kNoMerge);
  table.add(1, 2, 5, 3);
  table.add(1, 2, 1, 4);
  CHECK(table.find(1, 2).result == 3);
  CHECK(table.size() == 1);
}

TEST_CASE("byte-level BPE merges by rank inside the pieces of the pre-tokenizer") {
  const auto t = SmallVocab().make();
  const TokenId hello = 256 + 3;
  const TokenId wor = 256 + 8;
  CHECK(encode(*t, "hello world") == std::vector<TokenId>{hello, wor, 'l', 'd'});
  CHECK(encode(*t, "ahe") == std::vector<TokenId>{'a', 256});
  CHECK(encode(*t, "").empty());
  CHECK(encode(*t, "12") == std::vector<TokenId>{'1', '2'});  // a merge exists; the splitter cuts
  CHECK(t->bytes(hello) == "hello");
  CHECK(t->bytes(wor) == " wor");
}

TEST_CASE("ignore_merges emits a piece that is a token though merges do not lead there") {
  SmallVocab small;
  VocabData data = small.data();
  data.tokens.push_back("zebra");
  data.types.push_back(TokenType::kNormal);
  const auto zebra = static_cast<TokenId>(data.tokens.size()) - 1;
  auto merged = make_tokenizer(data);
  REQUIRE(merged.ok());
  CHECK(encode(**merged, "zebra").size() == 5);
  data.ignore_merges = true;
  auto whole = make_tokenizer(data);
  REQUIRE(whole.ok());
  CHECK(encode(**whole, "zebra") == std::vector<TokenId>{zebra});
  data.ignore_merges = false;
  data.pre = "llama-bpe";
  auto implied = make_tokenizer(data);
  REQUIRE(implied.ok());
  CHECK(encode(**implied, "zebra") == std::vector<TokenId>{zebra});
  CHECK((*implied)->add_bos());
}

TEST_CASE("any bytes decode to themselves") {
  std::mt19937 random(3);
  for (const char* pre : {"gpt-2", "qwen2", "qwen35", "llama-bpe", "starcoder", "deepseek-coder",
                          "deepseek-v3", "deepseek-llm", "tekken", "gpt-4o", "default"}) {
    CAPTURE(pre);
    SmallVocab small;
    small.pre = pre;
    const auto t = small.make();
    for (int i = 0; i < 150; ++i) {
      const std::string bytes = i % 2 == 0 ? test::random_bytes(&random, random() % 200)
                                           : test::random_text(&random, random() % 60, true);
      CAPTURE(bytes);
      REQUIRE(decode(*t, encode(*t, bytes)) == bytes);
    }
  }
}

TEST_CASE("lines that end in a line break encode apart as they do together") {
  // qwen2 cuts after line breaks unless spaces or line breaks follow.
  const auto t = SmallVocab().make();
  std::mt19937 random(4);
  for (int i = 0; i < 200; ++i) {
    const std::string a = "hello " + test::random_text(&random, 8, false) + ";\n";
    const std::string b = "if (" + test::random_text(&random, 8, false);
    std::vector<TokenId> apart = encode(*t, a);
    t->encode(b, &apart);
    CHECK(apart == encode(*t, a + b));
  }
}

TEST_CASE("text of one repeated character encodes in less than quadratic time") {
  const auto t = SmallVocab().make();
  for (const char* atom : {"a", " ", "\n", "é", "\xc3", "("}) {
    std::string text;
    while (text.size() < (1U << 20)) text += atom;
    CAPTURE(atom);
    const std::clock_t start = std::clock();  // processor time: the machine may be busy
    const std::vector<TokenId> ids = encode(*t, text);
    const double took = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    CHECK(decode(*t, ids) == text);
    CHECK(took < 20.0);  // quadratic: hours; here: well below a second
  }
}

TEST_CASE("threads that encode at once agree") {
  const auto t = SmallVocab().make();
  std::mt19937 random(6);
  const std::string text = test::random_text(&random, 2000, true);
  const std::vector<TokenId> expected = encode(*SmallVocab().make(), text);
  std::vector<std::vector<TokenId>> found(4);
  std::vector<std::thread> threads;
  for (auto& ids : found) threads.emplace_back([&] { t->encode(text, &ids); });
  for (auto& thread : threads) thread.join();
  for (const auto& ids : found) CHECK(ids == expected);
}

TEST_CASE("a byte without a token is dropped, or is the unknown token") {
  const test::QuietLog quiet;
  VocabData data;
  data.pre = "gpt-2";
  data.tokens = {"a", "b", "<unk>"};
  auto dropping = make_tokenizer(data);
  REQUIRE(dropping.ok());
  CHECK(encode(**dropping, "axb") == std::vector<TokenId>{0, 1});
  data.unknown = 2;
  auto unknown = make_tokenizer(data);
  REQUIRE(unknown.ok());
  CHECK(encode(**unknown, "axb") == std::vector<TokenId>{0, 2, 1});
}

TEST_CASE("contradictory vocabularies are errors") {
  const test::QuietLog quiet;
  const auto code = [](VocabData data) {
    auto made = make_tokenizer(std::move(data));
    REQUIRE_FALSE(made.ok());
    return made.error().code;
  };
  const VocabData good = SmallVocab().data();
  CHECK(code(VocabData{}) == ErrorCode::kCorrupt);
  VocabData bad = good;
  bad.types.pop_back();
  CHECK(code(bad) == ErrorCode::kCorrupt);
  bad = good;
  bad.scores = {1.0F};
  CHECK(code(bad) == ErrorCode::kCorrupt);
  for (const TokenId id : {-1, 100000}) {
    bad = good;
    bad.eos = id;
    CHECK(code(bad) == ErrorCode::kCorrupt);
    bad = good;
    bad.bos = id;
    CHECK(code(bad) == ErrorCode::kCorrupt);
    bad = good;
    bad.unknown = id;
    CHECK(code(bad) == ErrorCode::kCorrupt);
    bad = good;
    bad.fim_ids = {id};
    CHECK(code(bad) == ErrorCode::kCorrupt);
  }
  bad = good;
  bad.merges.emplace_back("ab");
  CHECK(code(bad) == ErrorCode::kCorrupt);
  bad = good;
  bad.pre = "no-such";
  CHECK(code(bad) == ErrorCode::kUnsupported);
  bad = good;
  bad.merges.emplace_back("no token");  // of texts that are no tokens: left out
  CHECK(make_tokenizer(bad).ok());
}

}  // namespace
}  // namespace fimd
