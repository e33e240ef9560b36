"""What an attack, a dusty lens or a shaken camera makes of a model."""
