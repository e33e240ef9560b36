"""The service: inspection over HTTP, a web page, and a history of what was inspected."""
