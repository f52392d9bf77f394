"""Text in, token ids out: byte-level BPE of the GPT-2 / GPT-NeoX kind, trained, loaded, compared and shown.

Importing the package costs nothing: its modules are imported by who needs them.
"""

# Common names: another distribution may install a package of this one. `pile` looks for this line at its start.
__distribution__ = "pile-toolkit"
