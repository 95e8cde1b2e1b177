"""Jinja environments: the templates of one package, with the base page and macros of this one."""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from naevi.rendering.tables import escape_cell


def environment(package: str) -> Environment:
    """Return the templates in `<package>/templates`; an undefined name in one of them is an error.

    HTML is escaped. In Markdown, text with names from users needs the filter `markdown`. HTML pages extend
    base.html.j2 and import from macros.html.j2.
    """
    templates = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(__package__)]),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["markdown"] = escape_cell
    return templates
