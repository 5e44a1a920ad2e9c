"""Addresses of the audit log."""

from django.urls import path

from portrait.audit.api import AuditView

urlpatterns = [path("audit", AuditView.as_view(), name="audit-list")]
