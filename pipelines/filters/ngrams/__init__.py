"""N-grams that occur again in one document."""
