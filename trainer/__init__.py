"""Token shards in, trained GPT-NeoX-type models out. torch is imported in this package only."""

# Common names: another distribution may install a package of this one. `pile` looks for this line at its start.
__distribution__ = "pile-toolkit"
