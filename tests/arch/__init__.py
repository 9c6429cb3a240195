"""The shape of the tree: layers, sizes, packaging, documents."""
