"""blendmake: make for model blends."""
