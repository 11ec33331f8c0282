// Replaced by the first tokenizer.
