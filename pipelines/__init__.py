"""Documents in, documents out: catalog of the 22 components, download, deduplication, build, corpus."""

# Common names: another distribution may install a package of this one. `pile` looks for this line at its start.
__distribution__ = "pile-toolkit"
