"""HTML reports, figures and contact sheets."""
