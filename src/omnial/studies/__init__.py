"""The paper's tables, each a study: which rows, at which budget, beside which published figures."""
