"""From a template and values to a page that is one file: style inside, nothing loaded."""

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from omnial._version import __version__


def render(template: str, **values: object) -> str:
    """Fill a template that extends `base.html`.

    Args:
        template: Its file name.
        values: What it needs beside the style sheet and the version; a missing one is an error.

    Returns:
        The page's text.
    """
    loader = PackageLoader("omnial.reporting")
    templates = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Drawings and style sheet are the project's own markup; every other value is escaped.
    templates.filters["own_markup"] = Markup
    return templates.get_template(template).render(
        style=loader.get_source(templates, "report.css")[0], version=__version__, **values
    )
