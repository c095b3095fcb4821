"""The code graph: what is defined, used, called and imported where, read with tree-sitter."""
