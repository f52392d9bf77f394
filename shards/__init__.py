"""Ids in, samples out: token files of the gpt-neox kind, what each sequence is, and the order of a run."""

# Common names: another distribution may install a package of this one. `pile` looks for this line at its start.
__distribution__ = "pile-toolkit"
