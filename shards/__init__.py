"""Ids in, samples out: token files of the gpt-neox kind, what each sequence is, and the order of a run."""
