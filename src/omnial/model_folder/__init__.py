"""The format of model folders and export folders: what is in which file, and how it is checked."""
