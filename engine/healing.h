// Token healing: how many tokens to take back from the end of a prompt that stops anywhere, so that
// the model can choose them again together with what follows.
//
// A tokenizer cuts "self.na" differently from "self.name"; a model that is made to continue after
// the tokens of the first has hardly ever seen them there. So the last tokens are taken back and
// the generation is constrained to begin with their bytes.
#pragma once

#include <span>

#include "engine/tokenizer/tokenizer.h"

namespace fimd {

/// Tokens to take back from the end of `ids`, the tokens of the prompt's last text: at least one
/// (unless there is none that can be), and one more for as long as the vocabulary has a token that
/// spans the boundary, or the boundary lies within a word; at most kMaxTakenBack.
int tokens_to_take_back(const Tokenizer& tokenizer, std::span<const TokenId> ids);

inline constexpr int kMaxTakenBack = 4;

}  // namespace fimd
