"""Fill a page's template: HTML that is one file and loads nothing, or Markdown."""

import base64
import hashlib
from importlib.resources import files
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from omnial._version import __version__


class Script(NamedTuple):
    """A script inside a page, which the page's content policy allows by its digest."""

    text: Markup
    digest: str
    """`sha256-` and base64."""


def script(name: str) -> Script:
    """A page's script, a file in `templates/`."""
    text = (files("omnial.reporting") / "templates" / name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return Script(Markup(text), f"sha256-{digest}")


def render(template: str, **values: object) -> str:
    """The text of a page from a file in `templates/`; a missing variable is an error."""
    loader = PackageLoader("omnial.reporting")
    templates = Environment(
        loader=loader,
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # The style sheet is the project's own markup; every other value of an HTML page is escaped.
    style = Markup(loader.get_source(templates, "report.css")[0])
    return templates.get_template(template).render(style=style, version=__version__, **values)


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """A file as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
