"""One copy of the tree, near or far, behind one interface."""
