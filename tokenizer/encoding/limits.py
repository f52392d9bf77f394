"""How large a tokenizer the merge tables take, known without importing a compiler."""

# A pair of symbols and the rank of their merge share 64 bits.
SYMBOL_BITS, RANK_BITS = 20, 24
LARGEST_VOCAB = (1 << SYMBOL_BITS) - 2
LARGEST_MERGES = (1 << RANK_BITS) - 1
