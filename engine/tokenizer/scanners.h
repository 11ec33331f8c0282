// Hand-written scanners for the regular expressions that most code models use.
//
// Each splits exactly as its patterns in pretokenizer.cc do, several times faster. Any thread.
#pragma once

#include <memory>

#include "engine/tokenizer/pretokenizer.h"

namespace fimd {

std::unique_ptr<PreTokenizer> make_gpt2_scanner();
std::unique_ptr<PreTokenizer> make_starcoder_scanner();       // single digits, then gpt-2
std::unique_ptr<PreTokenizer> make_qwen2_scanner();           // numbers one by one
std::unique_ptr<PreTokenizer> make_qwen35_scanner();          // ... and marks belong to words
std::unique_ptr<PreTokenizer> make_llama3_scanner();          // numbers in threes
std::unique_ptr<PreTokenizer> make_deepseek_coder_scanner();  // five steps

/// Runs steps one after another, each on the pieces of the one before.
std::unique_ptr<PreTokenizer> make_sequence(std::vector<std::unique_ptr<PreTokenizer>> steps);

}  // namespace fimd
