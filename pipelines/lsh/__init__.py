"""Band hashes of signatures in, clusters out, in bounded memory. Its modules are imported where they are needed."""
