"""Registers the pages that a team works with, in place of the plain ones of the apps below."""

from django.contrib import admin

from portrait.console import jobs, journal, people, reviews, schedule, users  # noqa: F401  (they register their pages)

admin.site.index_template = "console/index.html"
