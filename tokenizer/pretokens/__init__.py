"""UTF-8 in, the ends of pre-tokens out: GPT-2's regular expression and runs of spaces, without an engine for either."""
