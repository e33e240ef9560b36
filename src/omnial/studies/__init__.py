"""The paper's tables, each a study: rows at an equal budget next to published figures."""
