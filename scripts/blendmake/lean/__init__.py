"""Libraries without the parts of them that nothing here uses."""
