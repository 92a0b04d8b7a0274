"""A small world that is broken on purpose, and the books that are compared when it has come to rest."""
