"""The course's web site, from the sources that exist: lessons, manifest, docstrings, docs/.

`sources.write` makes a folder of Markdown and notebooks, with nothing but the standard library and
the course; `command.site` has Sphinx turn that folder into HTML; `verify.faults` reads the HTML.
"""
