"""The composition roots: the only places that build the parts and order their end."""
