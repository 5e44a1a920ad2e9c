"""The reports of the checks, for people."""

import json

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from portrait.upkeep.models import UpkeepRun


@admin.register(UpkeepRun)
class UpkeepRunAdmin(ModelAdmin):
    """Read only: who wants a check now starts it under Schedule, or by `manage.py upkeep`."""

    list_display = ["kind", "started_at", "ended_at", "ok", "error"]
    list_filter = ["kind", "ok"]
    fields = ["kind", "started_at", "ended_at", "ok", "error", "told"]
    readonly_fields = ["told"]

    @admin.display(description="report")
    def told(self, run: UpkeepRun) -> SafeString:
        return format_html("<pre style='white-space:pre-wrap'>{}</pre>", json.dumps(run.report, indent=2))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: UpkeepRun | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: UpkeepRun | None = None) -> bool:
        return False
