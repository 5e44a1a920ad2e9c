"""Every address of the service."""

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from portrait.core.login import LimitedLoginForm

admin.site.site_header = admin.site.site_title = "Portrait"
admin.site.index_title = "The portrait database"
admin.site.login_form = LimitedLoginForm


def home(request: HttpRequest) -> HttpResponse:
    """The front door leads to the admin."""
    return redirect("admin:index")


urlpatterns = [
    path("", home),
    path("", include("portrait.core.urls")),
    path("admin/", admin.site.urls),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("api/v1/", include("portrait.audit.urls")),
    path("api/v1/", include("portrait.privacy.urls")),
    path("api/v1/", include("portrait.cameras.urls")),
    path("api/v1/", include("portrait.gallery.urls")),
    path("api/v1/", include("portrait.jobs.urls")),
    path("api/v1/", include("portrait.sightings.urls")),
    path("api/v1/", include("portrait.scenes.urls")),
    path("api/v1/", include("portrait.transfer.urls")),
    path("api/v1/", include("portrait.curation.urls")),
    path("api/v1/", include("portrait.calibration.urls")),
    path("api/v1/", include("portrait.reindex.urls")),
]

if settings.PORTRAIT.smartav:
    urlpatterns.append(path("", include("portrait.compat.smartav.urls")))

handler400 = "portrait.core.api_errors.bad_request"
handler403 = "portrait.core.api_errors.permission_denied"
handler404 = "portrait.core.api_errors.not_found"
handler500 = "portrait.core.api_errors.server_error"
